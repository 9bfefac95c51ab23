import {type FileHandle, open} from 'node:fs/promises';
import {setTimeout as sleep} from 'node:timers/promises';

/** How much of a file that is being written will not be written again: `from` is a position that was told before. */
export type Settled = (file: FileHandle, from: number, sizeBytes: number) => Promise<number>;

/** How a growing file is read. */
export interface Reading {
  /** Without it every byte that is there stays as it is. */
  readonly settled?: Settled;
  /** Gives the disk space of the first bytes back; called every now and then. */
  readonly release: (fromByte: number, lengthBytes: number) => Promise<void>;
  /** Aborted: the reading throws the reason. */
  readonly signal: AbortSignal;
}

const pieceBytes = 512 * 1024;
/** Fresh memory is dear: each page of it has to be had from the system, and makes the garbage collector run. */
const leastReusedBytes = 64 * 1024;
const releaseBytes = 8 * 2 ** 20;
const waitMilliseconds = 10;

/** A file that a program still writes, read as it grows. */
export class GrowingFile {
  readonly path: string;
  readonly #reading: Reading;
  #isWhole = false;
  #takenBytes = 0;
  #settledBytes = 0;
  #releasedBytes = 0;
  readonly #memory = Buffer.allocUnsafeSlow(pieceBytes);

  constructor(path: string, reading: Reading) {
    this.path = path;
    this.#reading = reading;
  }

  /** How many bytes were read. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Says that nobody writes to it any more: the reading ends with what is there. */
  complete(): void {
    this.#isWhole = true;
  }

  /**
   * The bytes, from the first to the last. A piece of 64 KiB or more is gone when the next one is asked for; smaller
   * ones are the reader's to keep.
   */
  async *read(): AsyncGenerator<Buffer> {
    const {signal} = this.#reading;
    const file = await open(this.path);
    try {
      for (;;) {
        // Asked before the size, which then is the last.
        const isWhole = this.#isWhole;
        const {size} = await file.stat();
        yield* this.#take(file, isWhole ? size : await this.#settled(file, size));
        if (isWhole) return await this.#release();
        await sleep(waitMilliseconds);
        signal.throwIfAborted();
      }
    } finally {
      await file.close();
    }
  }

  async #settled(file: FileHandle, sizeBytes: number): Promise<number> {
    const {settled} = this.#reading;
    if (settled === undefined) return sizeBytes;
    this.#settledBytes = await settled(file, this.#settledBytes, sizeBytes);
    return this.#settledBytes;
  }

  async *#take(file: FileHandle, end: number): AsyncGenerator<Buffer> {
    while (this.#takenBytes < end) {
      this.#reading.signal.throwIfAborted();
      const length = Math.min(pieceBytes, end - this.#takenBytes);
      const buffer = length < leastReusedBytes ? Buffer.allocUnsafeSlow(length) : this.#memory;
      const {bytesRead} = await file.read(buffer, 0, length, this.#takenBytes);
      if (bytesRead === 0) throw new Error(`${this.path} became shorter while it was read.`);
      yield buffer.subarray(0, bytesRead);
      this.#takenBytes += bytesRead;
      if (this.#takenBytes - this.#releasedBytes >= releaseBytes) await this.#release();
    }
  }

  async #release(): Promise<void> {
    const lengthBytes = this.#takenBytes - this.#releasedBytes;
    if (lengthBytes === 0) return;
    await this.#reading.release(this.#releasedBytes, lengthBytes);
    // Of a block that is not over, the file system keeps all; the next release has it.
    this.#releasedBytes += lengthBytes - (lengthBytes % 4096);
  }
}
