import {createReadStream} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {type Readable, type Transform, Writable} from 'node:stream';
import {createGunzip, createZstdDecompress} from 'node:zlib';
import {parseSegmentHeader, type SegmentHeader, segmentHeaderBytes} from '../../backup-set/segment-header.js';
import {isSegmentSize} from '../../backup-set/wal-segment.js';
import {CommandError, type Host} from '../../host/host.js';

/** A file of a WAL archive. */
export interface ArchivedFile {
  readonly path: string;
  /** The program that decompresses it. */
  readonly codec: 'none' | 'gzip' | 'lz4' | 'zstd';
  readonly sizeBytes: number;
}

/** A directory of archived WAL. */
export interface WalArchive {
  readonly directory: string;
  /** By name, without what a codec adds. */
  readonly segments: ReadonlyMap<string, ArchivedFile>;
  /** Of timelines, by their numbers. */
  readonly histories: ReadonlyMap<number, ArchivedFile>;
}

const suffixes = [
  ['', 'none'],
  ['.gz', 'gzip'],
  ['.lz4', 'lz4'],
  ['.zst', 'zstd'],
] as const;

/**
 * Lists a directory of archived WAL. What is there besides segments and history files is left out: `.partial` ends
 * of old timelines, `.backup` files, and whatever else somebody keeps there.
 */
export async function listArchive(directory: string): Promise<WalArchive> {
  const names = new Set(await readdir(directory));
  const segments = new Map<string, ArchivedFile>();
  const histories = new Map<number, ArchivedFile>();
  for (const name of [...names].sort()) {
    const [, stem = '', suffix = ''] =
      /^([0-9A-F]{24}|[0-9A-F]{8}\.history)(\.gz|\.lz4|\.zst)?$/.exec(name) ?? [];
    // One that is there in two forms is taken as the script fetch-wal takes it.
    const first = suffixes.find(([other]) => names.has(`${stem}${other}`));
    if (stem === '' || first?.[0] !== suffix) continue;
    const path = join(directory, name);
    const found = await stat(path);
    if (!found.isFile()) continue;
    const file = {path, codec: first[1], sizeBytes: found.size};
    if (stem.endsWith('.history')) histories.set(Number.parseInt(stem.slice(0, 8), 16), file);
    else segments.set(stem, file);
  }
  return {directory, segments, histories};
}

/**
 * The size of the archive's segments, of the files themselves or else as their first pages tell it; undefined when no
 * file tells.
 */
export async function readSegmentSize({segments}: WalArchive, runner: Host): Promise<number | undefined> {
  const files = [...segments.values()];
  const plain = files.filter(({codec, sizeBytes}) => codec === 'none' && isSegmentSize(sizeBytes));
  // A file that is damaged may be any: a few others are asked, too.
  for (const file of [...plain.slice(0, 4), ...files.slice(0, 4)]) {
    const header = await readSegmentHeader(file, runner);
    if (header) return header.segmentSizeBytes;
  }
  return plain[0]?.sizeBytes;
}

/** What the first page of an archived segment says; undefined when it cannot be read. */
export async function readSegmentHeader(
  file: ArchivedFile,
  runner: Host,
): Promise<SegmentHeader | undefined> {
  const head = await readHead(file, runner, segmentHeaderBytes);
  return head && parseSegmentHeader(head);
}

/** The first bytes of an archived file, decompressed; undefined when that fails. */
export async function readHead(
  {path, codec}: ArchivedFile,
  runner: Host,
  bytes: number,
): Promise<Buffer | undefined> {
  if (codec === 'lz4') return readLz4(path, runner, bytes);
  const file = createReadStream(path);
  return firstBytes(inProcess[codec] === undefined ? file : decompressed(file, inProcess[codec]()), bytes);
}

const inProcess: Readonly<Partial<Record<ArchivedFile['codec'], () => Transform>>> = {
  gzip: createGunzip,
  zstd: createZstdDecompress,
};

function decompressed(file: Readable, codec: Transform): Readable {
  file.on('error', (error) => codec.destroy(error));
  codec.on('close', () => file.destroy());
  return file.pipe(codec);
}

async function firstBytes(stream: Readable, bytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (sizeOf(chunks) >= bytes) break;
    }
  } catch {
    // What cannot be read is told when recovery needs it.
    return undefined;
  }
  return Buffer.concat(chunks).subarray(0, bytes);
}

/** Node.js has no lz4; the program runs to the end of the file. */
async function readLz4(path: string, runner: Host, bytes: number): Promise<Buffer | undefined> {
  if ((await runner.findOnPath('lz4')) === undefined) return undefined;
  const chunks: Buffer[] = [];
  const kept = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (sizeOf(chunks) < bytes) chunks.push(Buffer.from(chunk.subarray(0, bytes)));
      done();
    },
  });
  try {
    await runner.run({program: 'lz4', args: ['-d', '-c', path]}, {stdout: kept});
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return undefined;
  }
  return Buffer.concat(chunks).subarray(0, bytes);
}

const sizeOf = (chunks: readonly Buffer[]) => chunks.reduce((sum, {length}) => sum + length, 0);
