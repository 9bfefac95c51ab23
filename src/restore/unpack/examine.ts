import type {BackupFiles} from '../../backup-set/archive.js';
import {type BackupLabel, parseBackupLabel, requireFull} from '../../backup-set/backup-label.js';
import {damaged} from '../../backup-set/digest.js';
import {
  formatTablespaceMap,
  readTablespaceMap,
  type TablespaceDirectories,
} from '../../backup-set/tablespace-map.js';
import {segmentSizeOf} from '../../backup-set/wal-segment.js';
import {UserError} from '../../errors.js';
import type {Host} from '../../host/host.js';
import type {RestoreRequest} from '../request.js';

/** More than any text that we read of a data directory has: a backup of a stranger may be made to fill our memory. */
export const smallFileBytes = 16 * 2 ** 20;

/** An extracted data directory that has the parts of a backup. */
export interface Extracted {
  readonly dataDirectory: string;
  readonly major: number;
  readonly label: BackupLabel;
  /** Whether the WAL that recovery starts with is there. */
  readonly hasWal: boolean;
}

/**
 * Looks whether an extracted directory is a base backup that may be started. Throws a UserError that names what is
 * missing: PostgreSQL itself starts without `backup_label` and without a tablespace, on corrupt data.
 */
export async function examine(
  {host, dataDirectory, files}: {host: Host; dataDirectory: string; files: BackupFiles},
  directories: TablespaceDirectories,
): Promise<Extracted> {
  await refuseStrangeFiles(host, dataDirectory, directories);
  const read = (name: string) => host.readText(`${dataDirectory}/${name}`, smallFileBytes);
  const version = (await read('PG_VERSION'))?.trim();
  if (version === undefined) throw damaged('PG_VERSION', 'it is missing');
  if (!/^[1-9]\d$/.test(version)) {
    throw damaged(
      'PG_VERSION',
      `it names no major version of PostgreSQL: ${JSON.stringify(version.slice(0, 40))}`,
    );
  }
  const labelText = await read('backup_label');
  if (labelText === undefined) {
    throw damaged('backup_label', 'it is missing, and a server that starts without it runs on corrupt data');
  }
  const label = parseBackupLabel(labelText);
  requireFull(label);
  segmentSizeOf(label);
  if ((await host.look(`${dataDirectory}/global/pg_control`)) !== 'file')
    throw damaged('global/pg_control', 'it is missing');
  // pg_ctl would send signals to the process whose number is in it.
  if ((await read('postmaster.pid')) !== undefined) {
    throw damaged('postmaster.pid', 'no base backup holds one: this is a copy of a data directory');
  }
  for (const oid of readTablespaceMap((await read('tablespace_map')) ?? '').keys()) {
    if (directories.has(oid) || (await host.look(`${dataDirectory}/pg_tblspc/${oid}`)) !== 'absent') continue;
    throw damaged(
      files.kind === 'tar' ? `${oid}.tar` : `pg_tblspc/${oid}`,
      `tablespace_map names tablespace ${oid}, and its files are missing`,
    );
  }
  const hasWal = (await host.look(`${dataDirectory}/pg_wal/${label.startSegment}`)) === 'file';
  return {dataDirectory, major: Number(version), label, hasWal};
}

/**
 * Refuses a directory that holds anything but files, directories, and our links to `directories`: a link would lead
 * PostgreSQL, or what is still to be extracted, out of the target.
 */
export async function refuseStrangeFiles(
  host: Host,
  dataDirectory: string,
  directories: TablespaceDirectories,
): Promise<void> {
  const ours = [...directories.keys()].flatMap((oid) => ['!', '-path', `${dataDirectory}/pg_tblspc/${oid}`]);
  const roots = [dataDirectory, ...directories.values()];
  const {stdout} = await host.run({
    program: 'find',
    args: [...roots, '!', '-type', 'f', '!', '-type', 'd', ...ours, '-print'],
  });
  const [strange] = stdout.split('\n');
  if (strange) throw damaged(strange, 'it is a link or a special file, which no base backup holds');
}

/** Refuses a backup whose WAL is neither in it nor to be had from an archive. */
export function requireWal({hasWal, label}: Extracted, {recovery, primary}: RestoreRequest): void {
  if (hasWal || recovery.walDirectory !== undefined || recovery.restoreCommand !== undefined || primary)
    return;
  throw new UserError(
    `The backup has no WAL: pg_wal/${label.startSegment} is missing (pg_wal.tar, or WAL inside of base.tar).`,
    'A backup taken with wal-method: none needs wal-directory or restore-command; any other was damaged.',
  );
}

/** Makes PostgreSQL link the restored tablespaces when it starts, and never the paths of the source. */
export async function rewriteTablespaceMap(
  host: Host,
  dataDirectory: string,
  directories: TablespaceDirectories,
): Promise<void> {
  const path = `${dataDirectory}/tablespace_map`;
  if ((await host.look(path)) === 'file') await host.writeText(path, formatTablespaceMap(directories));
}
