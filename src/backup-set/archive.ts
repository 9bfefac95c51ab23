import {open, readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {UserError} from '../errors.js';
import {damaged} from './digest.js';

/** How an archive is compressed. */
export type Codec = 'none' | 'gzip' | 'lz4' | 'zstd';

/** A tar archive of a backup. */
export interface Archive {
  /** `base.tar.zst` */
  readonly name: string;
  readonly codec: Codec;
}

/** What the files of a backup are, whoever made it. */
export type BackupFiles =
  | {
      readonly kind: 'tar';
      readonly base: Archive;
      readonly tablespaces: readonly (Archive & {readonly oid: string})[];
      /** Absent under `-X fetch` (WAL is in base) and `-X none`. */
      readonly wal?: Archive;
      /** Absent when it is in base (`pg_basebackup -D -`, and plain backups that travelled as tar). */
      readonly manifest?: string;
    }
  | {readonly kind: 'plain'};

/**
 * Tells what a directory holds, by names and then by content: names differ by version and codec, and
 * `pg_wal.tar` is compressed only under client-side gzip. Throws a UserError when it is no base backup.
 */
export async function recognise(directory: string): Promise<BackupFiles> {
  const names = await readdir(directory);
  if (names.includes('PG_VERSION')) return {kind: 'plain'};
  const archives = new Map<string, string>();
  for (const name of names) {
    const match = /^(base|pg_wal|\d+)\.tar(\.(gz|lz4|zst))?$/.exec(name);
    if (!match?.[1]) continue;
    if (archives.has(match[1])) throw damaged(name, `${archives.get(match[1])} is there too`);
    archives.set(match[1], name);
  }
  const [base, wal] = [archives.get('base'), archives.get('pg_wal')];
  if (base === undefined) throw notABackup(directory, names);
  const oids = [...archives.keys()]
    .filter((stem) => /^\d+$/.test(stem))
    .sort((a, b) => Number(a) - Number(b));
  const read = (name: string) => readArchive(directory, name);
  return {
    kind: 'tar',
    base: await read(base),
    tablespaces: await Promise.all(
      oids.map(async (oid) => ({oid, ...(await read(archives.get(oid) ?? ''))})),
    ),
    ...(wal !== undefined && {wal: await read(wal)}),
    ...(names.includes('backup_manifest') && {manifest: 'backup_manifest'}),
  };
}

async function readArchive(directory: string, name: string): Promise<Archive> {
  const handle = await open(join(directory, name));
  try {
    const {buffer, bytesRead} = await handle.read(Buffer.alloc(512), 0, 512, 0);
    const codec = codecOf(buffer.subarray(0, bytesRead));
    if (codec) return {name, codec};
  } finally {
    await handle.close();
  }
  const {size} = await stat(join(directory, name));
  throw damaged(
    name,
    size === 0 ? 'it is empty' : 'it is neither a tar archive nor compressed with gzip, lz4 or zstd',
  );
}

/** The first bytes of each format: RFC 1952, lz4_Frame_format.md, RFC 8878, and `ustar` at 257 (POSIX pax). */
function codecOf(head: Buffer): Codec | undefined {
  if (head.subarray(0, 2).equals(Buffer.from([0x1f, 0x8b]))) return 'gzip';
  if (head.subarray(0, 4).equals(Buffer.from([0x04, 0x22, 0x4d, 0x18]))) return 'lz4';
  if (head.subarray(0, 4).equals(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))) return 'zstd';
  return head.subarray(257, 262).toString('latin1') === 'ustar' ? 'none' : undefined;
}

function notABackup(directory: string, names: readonly string[]): UserError {
  const shown = names.length === 0 ? 'it is empty' : `it holds ${names.slice(0, 8).join(', ')}`;
  return new UserError(
    `${directory} is not a base backup: it has neither base.tar (.gz, .lz4, .zst) nor PG_VERSION; ${shown}.`,
    'Set directory and backup-name so that <directory>/<backup-name> is what pg_basebackup wrote.',
  );
}
