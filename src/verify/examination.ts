import {loadChecksums, loadCrc32c} from '../backup-set/checksum.js';
import type {Manifest} from '../backup-set/manifest.js';
import type {Metadata} from '../backup-set/metadata.js';
import type {BackupSource} from '../backup-set/source.js';
import type {ContentSink} from '../backup-set/tar.js';
import type {Host} from '../host/host.js';
import {Contents} from './contents.js';
import {Inventory} from './inventory.js';
import type {Problems} from './problems.js';
import type {StoredFiles} from './stored-files.js';
import {WalCheck} from './wal.js';

/** A backup that is being verified, file by file. */
export interface Examination {
  readonly runner: Host;
  readonly source: BackupSource;
  readonly stored: StoredFiles;
  readonly manifest: Manifest;
  readonly metadata: Metadata | undefined;
  readonly inventory: Inventory;
  readonly contents: Contents;
  readonly wal: WalCheck;
  readonly problems: Problems;
}

/** Makes ready to compare a backup with its manifest. */
export async function startExamination(
  known: Omit<Examination, 'inventory' | 'contents' | 'wal'>,
): Promise<Examination> {
  const {manifest, problems} = known;
  const ranges = manifest.walRanges.map(async (range) => ({...range, startChecksum: await loadCrc32c()}));
  return {
    ...known,
    inventory: new Inventory(manifest, {checksums: await loadChecksums(), problems}),
    contents: new Contents(),
    wal: new WalCheck(await Promise.all(ranges), problems),
  };
}

/** Takes a file of the cluster by its path in the data directory, and returns what its content goes to. */
export function openFile(
  {inventory, contents, wal}: Examination,
  path: string,
  sizeBytes: number,
): ContentSink | undefined {
  if (path.startsWith('pg_wal/')) return wal.open(path.slice('pg_wal/'.length), sizeBytes);
  return contents.keep(path, sizeBytes, inventory.open(path, sizeBytes));
}
