import strftime from 'strftime';

/** The name of a backup that the user did not name. */
export const defaultBackupName = 'basebackup-%Y%m%d-%H%M%S';

/** Fills in strftime codes such as `%Y%m%d-%H%M%S`, in UTC. */
export function nameAt(pattern: string, time: Date): string {
  return strftime.utc()(pattern, time);
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
  if (name.startsWith('.') || name.startsWith('-')) return 'must not start with . or -';
  const forbidden = /["*:<>|?\\/]|\p{Cc}/u.exec(name)?.[0];
  if (forbidden !== undefined) return `must not contain ${JSON.stringify(forbidden)}`;
  // 255 bytes for a file's name on Linux, less what we append: `.partial`, `.16384.tar.zst`.
  return Buffer.byteLength(name) > 200 ? 'is longer than 200 bytes' : undefined;
}
