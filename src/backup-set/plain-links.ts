import {readdir, readlink} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import {damaged} from './digest.js';

/**
 * Throws a UserError when the link of a tablespace leads to something else. A tablespace holds one directory for each
 * version that uses it (relpath.h, TABLESPACE_VERSION_DIRECTORY).
 */
export async function requireTablespace(oid: string, from: string): Promise<void> {
  const stray = await strayName(from, /^PG_\d+_\d+$/);
  if (stray !== undefined)
    throw damaged(`pg_tblspc/${oid}`, `it leads to ${from}, where ${stray}: no tablespace`);
}

/**
 * Where `pg_basebackup --waldir` put the WAL of a plain backup; undefined: it is in its place. Throws a UserError when
 * that is no directory of WAL.
 */
export async function relocatedWal(directory: string): Promise<string | undefined> {
  const target = await readlink(join(directory, 'pg_wal')).catch(() => undefined);
  if (target === undefined) return undefined;
  const wal = resolve(directory, target);
  const stray = await strayName(
    wal,
    /^([0-9A-F]{8}([0-9A-F]{16})?(\.[0-9A-F]{8}\.backup|\.partial|\.history)?|archive_status|summaries)$/,
  );
  if (stray !== undefined) throw damaged('pg_wal', `it leads to ${wal}, where ${stray}: no WAL`);
  return wal;
}

/** What is in a directory and does not belong there, or that it cannot be read. */
async function strayName(directory: string, allowed: RegExp): Promise<string | undefined> {
  const names = await readdir(directory).catch(() => undefined);
  if (names === undefined) return 'no directory can be read';
  const stray = names.find((name) => !allowed.test(name));
  return stray === undefined ? undefined : `${JSON.stringify(stray)} lies`;
}
