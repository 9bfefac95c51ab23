import {UserError} from '../errors.js';
import {damaged} from './digest.js';
import {type Decryption, withoutKeys} from './encryption/decryption.js';
import {isEncrypted} from './encryption/names.js';
import {manifestNameIn} from './manifest-text.js';
import {type BackupSource, openStored, type StoredFile} from './source.js';

/** How an archive is compressed. */
export type Codec = 'none' | 'gzip' | 'lz4' | 'zstd';

/** A tar archive of a backup. */
export interface Archive {
  /** `base.tar.zst`, or `base.tar.zst.age` where it is encrypted. */
  readonly name: string;
  /** How it is compressed, once it is decrypted. */
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
  | {
      readonly kind: 'plain';
      /** The data directory. */
      readonly directory: string;
    };

/**
 * Tells what the files of a backup are, by names and then by content: names differ by version and codec, and
 * `pg_wal.tar` is compressed only under client-side gzip. Throws a UserError when it is no base backup, or when a file
 * of it is encrypted and cannot be opened.
 */
export async function recognise(
  source: BackupSource,
  decryption: Decryption = withoutKeys,
): Promise<BackupFiles> {
  const names = await source.list();
  const {directory} = source;
  if (directory !== undefined && names.includes('PG_VERSION')) return {kind: 'plain', directory};
  const archives = new Map<string, string>();
  for (const name of names) {
    const match = /^(base|pg_wal|\d+)\.tar(\.(gz|lz4|zst))?(\.age)?$/.exec(name);
    if (!match?.[1]) continue;
    if (archives.has(match[1])) throw damaged(name, `${archives.get(match[1])} is there too`);
    archives.set(match[1], name);
  }
  const [base, wal] = [archives.get('base'), archives.get('pg_wal')];
  if (base === undefined) throw notABackup(source, names);
  const oids = [...archives.keys()]
    .filter((stem) => /^\d+$/.test(stem))
    .sort((a, b) => Number(a) - Number(b));
  const read = async (name: string) =>
    source.isAsNamed
      ? {name, codec: codecNamed(name)}
      : readArchive(await openStored(source, name), decryption);
  const manifest = manifestNameIn(names);
  const tablespaces: (Archive & {oid: string})[] = [];
  // One after the other: each takes memory where it comes over the network.
  for (const oid of oids) tablespaces.push({oid, ...(await read(archives.get(oid) ?? ''))});
  return {
    kind: 'tar',
    base: await read(base),
    tablespaces,
    ...(wal !== undefined && {wal: await read(wal)}),
    ...(manifest !== undefined && {manifest}),
  };
}

async function readArchive(file: StoredFile, decryption: Decryption): Promise<Archive> {
  const {name, sizeBytes} = file;
  const codec = codecOf(await readHead(decryption.open(name, file.read())));
  if (codec) return {name, codec};
  const inside = isEncrypted(name) ? 'what is encrypted in it' : 'it';
  throw damaged(
    name,
    sizeBytes === 0
      ? 'it is empty'
      : `${inside} is neither a tar archive nor compressed with gzip, lz4 or zstd`,
  );
}

/** As pg_basebackup names what it has compressed (pg_basebackup.c, ReceiveArchiveStream; walmethods.c). */
function codecNamed(name: string): Codec {
  const [, ending = ''] = /\.tar\.(gz|lz4|zst)(\.age)?$/.exec(name) ?? [];
  return ({gz: 'gzip', lz4: 'lz4', zst: 'zstd'} as const)[ending] ?? 'none';
}

/** The first bytes of what a file holds: no more of it is read than their piece. */
async function readHead(bytes: AsyncIterable<Buffer>): Promise<Buffer> {
  for await (const piece of bytes) return Buffer.from(piece.subarray(0, headBytes));
  return Buffer.alloc(0);
}

const headBytes = 512;

/** The first bytes of each format: RFC 1952, lz4_Frame_format.md, RFC 8878, and `ustar` at 257 (POSIX pax). */
function codecOf(head: Buffer): Codec | undefined {
  if (head.subarray(0, 2).equals(Buffer.from([0x1f, 0x8b]))) return 'gzip';
  if (head.subarray(0, 4).equals(Buffer.from([0x04, 0x22, 0x4d, 0x18]))) return 'lz4';
  if (head.subarray(0, 4).equals(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))) return 'zstd';
  return head.subarray(257, 262).toString('latin1') === 'ustar' ? 'none' : undefined;
}

function notABackup({location, directory}: BackupSource, names: readonly string[]): UserError {
  const shown = names.length === 0 ? 'it is empty' : `it holds ${names.slice(0, 8).join(', ')}`;
  return new UserError(
    `${location} is not a base backup: it has neither base.tar (.gz, .lz4, .zst) nor PG_VERSION; ${shown}.`,
    directory === undefined
      ? 'Set storage and backup-name so that <storage>/<backup-name>/ holds what pg_basebackup --format=tar wrote.'
      : 'Set directory and backup-name so that <directory>/<backup-name> is what pg_basebackup wrote.',
  );
}
