import type {RetentionRequest} from '../backup/request.js';
import {defaultBackupName, hasCodes, type NameKind, problemOfName} from '../backup-set/naming.js';
import type {InputReader} from './reader.js';

/** The inputs that say how many backups stay; one of them makes a backup step remove the others. */
export const keepInputs = ['keep-last', 'keep-daily', 'keep-weekly', 'keep-monthly'] as const;

/** Reads which backups stay; undefined: all do. */
export function readRetention(reader: InputReader): RetentionRequest | undefined {
  const counts = keepInputs.map(
    (name) => [name.slice('keep-'.length), reader.integer(name, {min: 1, max: 100_000})] as const,
  );
  const rules = Object.fromEntries(counts.filter(([, count]) => count !== undefined));
  const names = reader.text('keep-names');
  if (Object.keys(rules).length > 0) return {rules, kind: readKind(reader, names)};
  // A count that is wrong was told already.
  if (names !== undefined && keepInputs.every((name) => reader.text(name) === undefined))
    reader.reject('keep-names', `it is used with ${keepInputs.join(', ')} only`);
  return undefined;
}

/** A name without codes is every directory's own, so that there would never be another of its kind. */
function readKind(reader: InputReader, names: string | undefined): NameKind {
  const codes = reader.text('backup-name') ?? defaultBackupName;
  if (names === undefined) {
    if (!hasCodes(codes) && (reader.text('storage') ?? 'artifact') !== 'artifact')
      reader.reject(
        'keep-names',
        `it is not set, and ${JSON.stringify(codes)} has no codes that would tell which other backups are of its kind: put %Y%m%d-%H%M%S into backup-name, or set keep-names to a pattern such as nightly-*`,
      );
    return {codes};
  }
  const problem = problemOfName(names.replaceAll(/[*?]/g, 'x'));
  if (problem !== undefined) reader.reject('keep-names', `${JSON.stringify(names)} ${problem}`);
  return {pattern: names};
}
