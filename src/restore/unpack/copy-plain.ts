import {plainTablespaces, tarOfData, tarOfTablespace} from '../../backup-set/pack.js';
import {relocatedWal, requireTablespace} from '../../backup-set/plain-links.js';
import {verifyFiles} from '../../backup-set/source.js';
import type {Host} from '../../host/host.js';
import {sendTar} from '../../host/send.js';
import type {FetchedBackup} from '../../store/store.js';
import type {Target} from '../target.js';
import {refuseStrangeFiles} from './examine.js';
import {tarFailure} from './tar-failure.js';

/** What copying a plain backup works with. */
export interface PlainCopy {
  readonly backup: FetchedBackup;
  /** The data directory that it is. */
  readonly directory: string;
  readonly target: Target;
  /** Where the server will run. */
  readonly host: Host;
  /** Where the backup's files are. */
  readonly runner: Host;
  /** Where a tablespace goes that lies at `from` in the backup. */
  placeOf(oid: string, from: string): Promise<string>;
}

/**
 * Copies a plain backup into the target, and returns where its tablespaces went. Throws a UserError when a link in it
 * leads to anything but a tablespace or WAL: the copy would take whatever this machine holds there.
 */
export async function copyPlain({
  backup,
  directory,
  target,
  host,
  runner,
  placeOf,
}: PlainCopy): Promise<Map<string, string>> {
  const tablespaces = await plainTablespaces(directory);
  for (const [oid, from] of tablespaces) await requireTablespace(oid, from);
  const wal = await relocatedWal(directory);
  await verifyFiles(backup.source, backup.metadata?.files ?? []);
  const copy = async (from: string, to: string, exclude?: readonly string[]) => {
    const command = exclude ? tarOfData(from, tablespaces.keys(), exclude) : tarOfTablespace(from);
    await sendTar(runner, command, {host, directory: to}).catch((error: unknown) => {
      throw tarFailure('the data directory', error, to);
    });
  };
  await copy(directory, target.dataDirectory, wal === undefined ? [] : ['--exclude=./pg_wal']);
  await refuseStrangeFiles(host, target.dataDirectory, new Map());
  if (wal !== undefined) {
    await host.makeDirectory(`${target.dataDirectory}/pg_wal`);
    await copy(wal, `${target.dataDirectory}/pg_wal`);
  }
  const directories = new Map<string, string>();
  for (const [oid, from] of tablespaces) {
    const to = await placeOf(oid, from);
    await host.makeDirectory(to);
    await copy(from, to);
    directories.set(oid, to);
  }
  return directories;
}
