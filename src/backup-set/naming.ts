import strftime from 'strftime';

/** The name that means the newest backup whose restore was proven. */
export const latestVerified = 'latest-verified';

/** The name of a backup that the user did not name. */
export const defaultBackupName = 'basebackup-%Y%m%d-%H%M%S';

/** Fills in strftime codes such as `%Y%m%d-%H%M%S`, in UTC. */
export function nameAt(pattern: string, time: Date): string {
  return strftime.utc()(pattern, time);
}

/** What each of strftime's codes can become (strftime 0.10.3 with its default locale); `.+` for all others. */
const codes: Readonly<Record<string, string>> = {
  ...Object.fromEntries([...'mdHMSyCIUW'].map((code) => [code, '\\d{1,2}'])),
  ...Object.fromEntries([...'ekl'].map((code) => [code, '[ \\d]?\\d'])),
  ...Object.fromEntries([...'aAbBhpP'].map((code) => [code, '[A-Za-z]{1,10}'])),
  ...Object.fromEntries([...'jL'].map((code) => [code, '\\d{1,3}'])),
  ...Object.fromEntries([...'uw'].map((code) => [code, '\\d'])),
  F: '\\d{4}-\\d\\d-\\d\\d',
  Y: '\\d{4}',
  s: '\\d{9,11}',
  '%': '%',
};

/** Whether a pattern has a code that makes names differ from one time to another. */
export function hasCodes(pattern: string): boolean {
  return /%/.test(pattern.replaceAll('%%', ''));
}

/** Whether a name could be what a pattern with strftime codes became at some time. */
export function couldBe(name: string, pattern: string): boolean {
  const parts = pattern.split(/%[-_0^:]*(.)/s);
  const expression = parts.map((part, index) =>
    index % 2 === 1 ? (codes[part] ?? '.+') : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'),
  );
  return new RegExp(`^${expression.join('')}$`, 's').test(name);
}

/** Which backups are of a kind, by their names: what strftime codes can become, or a pattern with `*` and `?`. */
export type NameKind = {readonly codes: string} | {readonly pattern: string};

/** Whether a backup of that name is of the kind. */
export function isOfKind(name: string, kind: NameKind): boolean {
  return 'codes' in kind ? couldBe(name, kind.codes) : matchesName(name, kind.pattern);
}

/** Whether a wanted name is a pattern with `*` or `?`, of which the newest backup that matches is meant. */
export function isPattern(wanted: string): boolean {
  return /[*?]/.test(wanted);
}

/** Whether a name is the wanted one: `latest` means every name, `*` any characters, `?` one. */
export function matchesName(name: string, wanted: string): boolean {
  if (wanted === 'latest') return true;
  const escaped = wanted
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${escaped}$`, 's').test(name);
}

/**
 * What is wrong with a backup's name, or undefined: it is a directory's name and, with a file's name behind it,
 * an artifact's, which may hold none of `" : < > | * ? \ /` (@actions/artifact, path-and-artifact-name-validation).
 */
export function problemOfName(name: string): string | undefined {
  if (name === '' || name === '.' || name === '..') return 'is not a name';
  if (name === 'latest') return 'is reserved: in restore mode it means the newest backup';
  if (name === latestVerified)
    return 'is reserved: in restore mode it means the newest backup that is proven';
  if (name.endsWith('.proof')) return 'must not end in .proof, which is the end of a proof’s name';
  if (name.endsWith('.report')) return 'must not end in .report, which is the end of a report’s name';
  if (name.startsWith('.') || name.startsWith('-')) return 'must not start with . or -';
  const forbidden = /["*:<>|?\\/]|\p{Cc}/u.exec(name)?.[0];
  if (forbidden !== undefined) return `must not contain ${JSON.stringify(forbidden)}`;
  // 255 bytes for a file's name on Linux, less what we append: `.partial`, `.16384.tar.zst`.
  return Buffer.byteLength(name) > 200 ? 'is longer than 200 bytes' : undefined;
}
