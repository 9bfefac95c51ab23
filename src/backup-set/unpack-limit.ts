import type {BackupFiles} from './archive.js';
import {lsnPosition, type Manifest} from './manifest.js';

/** What tar adds to a file: a header, one more for a long name or for times, and the padding of the last block. */
const fileOverheadBytes = 2560;

/** For directories, which no manifest lists, for files that it leaves out, and for the padding at the end. */
const slackBytes = 16 * 2 ** 20;

/** WAL is in whole segments of 1 GiB at most (initdb --wal-segsize), and the last one may be a spare. */
const walSlackBytes = 2 * 2 ** 30;

/** Which archive of a backup: the data directory's, that of its WAL, or a tablespace's by its oid. */
export type ArchiveRole = 'base' | 'wal' | {readonly oid: string};

/** Most bytes that an archive may unpack to: what its manifest promises, and what tar adds to that. */
export function unpackLimit(
  manifest: Manifest,
  files: BackupFiles & {kind: 'tar'},
  role: ArchiveRole,
): number {
  const apart = new Set(files.tablespaces.map(({oid}) => oid));
  const isHere = (oid: string) => (role === 'base' ? !apart.has(oid) : role !== 'wal' && oid === role.oid);
  const dataBytes = [...manifest.files.values()]
    .filter(({path}) => isHere(/^pg_tblspc\/(\d+)\//.exec(path)?.[1] ?? ''))
    .reduce((sum, {sizeBytes}) => sum + sizeBytes + fileOverheadBytes, 0);
  const mayHoldWal = role === 'wal' || (role === 'base' && files.wal === undefined);
  const rangeBytes = Number(lsnPosition(manifest.endLsn) - lsnPosition(manifest.startLsn));
  return dataBytes + slackBytes + (mayHoldWal ? Math.max(0, rangeBytes) + walSlackBytes : 0);
}
