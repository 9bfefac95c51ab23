import {addAbortSignal, Readable} from 'node:stream';
import {finished} from 'node:stream/promises';
import {setTimeout as sleep} from 'node:timers/promises';
import {GetObjectCommand} from '@aws-sdk/client-s3';
import {giveBack} from '../backup-set/give-back.js';
import {messageOf, UserError} from '../errors.js';
import {debug} from '../log.js';
import {type Bucket, explained} from './s3-client.js';
import {addressOfKey} from './s3-read.js';
import {transferProgress} from './transfer-progress.js';

/** An object as it was listed. */
export interface StoredObject {
  readonly key: string;
  /** Relative to the backup's directory. */
  readonly fileName: string;
  readonly sizeBytes: number;
  /** Changes when somebody replaces the object. */
  readonly etag: string | undefined;
}

const rangeBytes = 4 * 2 ** 20;
/** The first one is small: often nothing but the beginning of a file is looked at. */
const firstRangeBytes = 256 * 1024;
const rangesAtOnce = 4;
/** Tries without a byte that arrives, about half a minute. */
const vainTries = 6;

/** A smaller piece may be looked at after the next one was asked for: its buffer is not used again. */
const goneBytes = 64 * 1024;

/** What objects share that are read at the same time: the memory for ranges, 16 MiB, as long as each has one of them. */
export class RangeMemory {
  readonly #free: Buffer[] = [];
  #readers = 0;

  /** How many ranges each of them may have. */
  get ranges(): number {
    return Math.max(1, Math.floor(rangesAtOnce / this.#readers));
  }

  /** Lets one more read; what it returns, called once, ends that. */
  enter(): () => void {
    this.#readers += 1;
    return () => {
      this.#readers -= 1;
    };
  }

  /** A buffer for a range, with the content of an earlier one. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(rangeBytes);
  }

  /** Takes back the buffer of a piece that nobody needs any more. */
  give({buffer, filled}: Range): void {
    if (filled.length < goneBytes) return;
    if (buffer.length === rangeBytes && this.#free.length < rangesAtOnce) this.#free.push(buffer);
    else giveBack(buffer);
  }
}

/** A range of an object, and where it is read into. */
interface Range {
  readonly start: number;
  readonly buffer: Buffer;
  /** As much of the buffer as the range has bytes. */
  readonly filled: Buffer;
}

/**
 * Reads an object in order, several ranges of it at once. A piece is gone when the next one is asked for: buffers are
 * used again, because those that nobody needs pile up until they are collected. Throws a UserError when the store does
 * not give the object, or when it was replaced meanwhile.
 */
export async function* readObject(
  bucket: Bucket,
  object: StoredObject,
  memory: RangeMemory,
): AsyncGenerator<Buffer> {
  const stopped = new AbortController();
  const signal = AbortSignal.any([bucket.signal, stopped.signal]);
  const onRead = transferProgress(object.fileName, object.sizeBytes, 'downloaded');
  const leave = memory.enter();
  const underway: Promise<Range>[] = [];
  let position = 0;
  const begin = (buffer: Buffer): void => {
    const filled = buffer.subarray(0, object.sizeBytes - position);
    const reading = readRange({...bucket, signal}, object, {start: position, buffer, filled});
    // Whoever waits for it sees the failure, also when another one comes first.
    reading.catch(() => undefined);
    underway.push(reading);
    position += filled.length;
  };
  try {
    if (object.sizeBytes > 0) begin(Buffer.allocUnsafeSlow(Math.min(firstRangeBytes, object.sizeBytes)));
    for (let next = underway.shift(); next !== undefined; next = underway.shift()) {
      const range = await next;
      onRead(range.filled.length);
      yield range.filled;
      memory.give(range);
      while (position < object.sizeBytes && underway.length < memory.ranges) begin(memory.take());
    }
  } finally {
    stopped.abort();
    leave();
  }
}

/** Reads one range, from where it was cut when the connection was. */
async function readRange(bucket: Bucket, object: StoredObject, range: Range): Promise<Range> {
  const {start, filled: buffer} = range;
  const doing = {
    what: `${addressOfKey(bucket, object.key)} could not be read`,
    action: 's3:GetObject',
  } as const;
  let filled = 0;
  for (let vain = 1; ; vain++) {
    const before = filled;
    const body = await explained(bucket, doing, () =>
      openRange(bucket, object, [start + filled, start + buffer.length - 1]),
    );
    try {
      body.on('data', (chunk: Buffer) => {
        filled += chunk.copy(buffer, filled);
        // Later: it may lie in what the parser of the answer is still reading.
        setImmediate(giveBack, chunk);
      });
      await finished(body);
    } catch (thrown) {
      bucket.signal.throwIfAborted();
      debug(`${object.key} was cut at ${start + filled}: ${messageOf(thrown)}`);
    }
    if (filled === buffer.length) return range;
    if (filled > before) vain = 0;
    if (vain >= vainTries) throw cutForGood(doing.what);
    await sleep(Math.min(500 * 2 ** vain, 10_000), undefined, {signal: bucket.signal});
  }
}

function cutForGood(what: string): UserError {
  return new UserError(
    `${what}: the connection is cut each time.`,
    'Run the step again. If it fails again, look into the log of the store, or of a proxy on the way.',
  );
}

async function openRange(
  {patient, location, signal}: Bucket,
  {key, etag}: StoredObject,
  [first, last]: readonly [number, number],
): Promise<Readable> {
  const {Body} = await patient.send(
    new GetObjectCommand({
      Bucket: location.bucket,
      Key: key,
      Range: `bytes=${first}-${last}`,
      ...(etag !== undefined && {IfMatch: etag}),
    }),
    {abortSignal: signal},
  );
  // Else a range that nobody waits for any more would still be read to its end.
  if (Body instanceof Readable) return addAbortSignal(signal, Body);
  throw new Error('The store answered without a body.');
}
