import {createHash, randomUUID} from 'node:crypto';
import {type BackupFile, formatMetadata} from '../backup-set/metadata.js';
import {warning} from '../log.js';
import type {Bucket} from './s3-client.js';
import {addressOf, claimKey, fileKey, filesPrefix, metadataKey} from './s3-location.js';
import {putInParts, putObject, type Storing} from './s3-multipart.js';
import {partsFor} from './s3-parts.js';
import {abortStray, removeStored, type S3UploadOptions, told} from './s3-upload.js';
import type {Expected, Receiver} from './store.js';

/** Parts of one file on their way at the same time: the backup's archives, and its WAL beside them. */
const mostAtOnce = 3;

/**
 * Stores the files of a backup as objects while they are written; `expected` decides how large their parts are. Throws
 * a UserError when another run stores a backup of this name. Not every store refuses to complete an upload over an
 * object that is there, but all refuse to put one over another: `<backup-name>.claim` is there meanwhile.
 */
export async function receiveIntoBucket(
  {name, mostBytes}: Expected,
  options: S3UploadOptions,
): Promise<Receiver> {
  const {bucket} = options;
  const {location} = bucket;
  const storing: Storing = {...options, attempt: randomUUID()};
  const {partBytes, atOnce} = partsFor(mostBytes);
  const claim = claimKey(location, name);
  const {storageClass: _, ...keeping} = options.keeping;
  await told(bucket, claim, () => putObject(storing, claim, Buffer.from(storing.attempt), keeping));
  const begun = [claim];
  const puts: Promise<unknown>[] = [];
  const givenUp = new AbortController();
  const open: Bucket = {...bucket, signal: AbortSignal.any([bucket.signal, givenUp.signal])};
  const put = async (fileName: string, bytes: AsyncIterable<Buffer>) => {
    const key = fileKey(location, name, fileName);
    begun.push(key);
    const file = new Digest(fileName);
    const buffers = new PartBuffers(partBytes);
    const parts = inParts(file.of(bytes), buffers);
    const manner = {parts, buffers, atOnce: Math.min(atOnce, mostAtOnce)};
    await told(open, key, () => store({...storing, bucket: open}, key, manner));
    return file.result();
  };
  return {
    put(fileName, bytes) {
      const putting = put(fileName, bytes);
      puts.push(putting);
      return putting;
    },
    async finish(metadata) {
      const key = metadataKey(location, name);
      begun.push(key);
      const text = Buffer.from(formatMetadata(metadata));
      await told(bucket, key, () => putObject(storing, key, text, keeping));
      await abortStray(bucket, filesPrefix(location, name));
      tellLeft(await removeStored(storing, [claim]));
      return {location: addressOf(location, name)};
    },
    async abandon() {
      // One that is stored after the others were removed would stay.
      givenUp.abort(new Error('The backup is given up.'));
      await Promise.allSettled(puts);
      const left = await removeStored(storing, begun);
      await abortStray(bucket, filesPrefix(location, name));
      tellLeft(left);
    },
  };
}

function tellLeft(keys: readonly string[]): void {
  if (keys.length > 0) warning(`Delete these objects by hand, they are of no use: ${keys.join(', ')}`);
}

/** Sums up a file that passes by. */
class Digest {
  readonly #name: string;
  readonly #hash = createHash('sha256');
  #sizeBytes = 0;

  constructor(name: string) {
    this.#name = name;
  }

  async *of(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of bytes) {
      this.#hash.update(piece);
      this.#sizeBytes += piece.length;
      yield piece;
    }
  }

  result(): BackupFile {
    return {name: this.#name, sizeBytes: this.#sizeBytes, sha256: this.#hash.digest('hex')};
  }
}

interface Manner {
  readonly parts: AsyncGenerator<Buffer>;
  /** Where the parts' memory is from. */
  readonly buffers: PartBuffers;
  readonly atOnce: number;
}

async function store(storing: Storing, key: string, {parts, buffers, atOnce}: Manner): Promise<void> {
  const [first, second] = [await parts.next(), await parts.next()];
  if (second.done) return putObject(storing, key, first.done ? Buffer.alloc(0) : first.value);
  async function* pieces(): AsyncGenerator<Buffer> {
    yield first.value as Buffer;
    yield second.value as Buffer;
    yield* parts;
  }
  await putInParts(storing, {
    key,
    pieces: pieces(),
    atOnce,
    // What is stored is what the digest is of.
    check: () => undefined,
    onSent: (part) => buffers.giveBack(part),
  });
}

/** Memory for parts, used again: left to the garbage collector, what is free by far outgrows what is in use. */
class PartBuffers {
  readonly partBytes: number;
  readonly #free: Buffer[] = [];

  constructor(partBytes: number) {
    this.partBytes = partBytes;
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.partBytes);
  }

  giveBack(part: Buffer): void {
    if (part.length === this.partBytes) this.#free.push(part);
  }
}

/** A buffer of its own for each part, which may have to be sent again; all but the last are of one size. */
async function* inParts(bytes: AsyncIterable<Buffer>, buffers: PartBuffers): AsyncGenerator<Buffer> {
  const {partBytes} = buffers;
  let part = buffers.take();
  let filled = 0;
  for await (const piece of bytes) {
    for (let at = 0; at < piece.length; ) {
      const copied = piece.copy(part, filled, at);
      at += copied;
      filled += copied;
      if (filled < partBytes) continue;
      yield part;
      part = buffers.take();
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}
