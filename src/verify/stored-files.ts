import {createHash} from 'node:crypto';
import {type Buffers, makeBuffers, readPieces} from '../backup-set/digest.js';
import type {Decryption} from '../backup-set/encryption/decryption.js';
import {refuseLargeManifest} from '../backup-set/manifest-text.js';
import type {BackupFile} from '../backup-set/metadata.js';
import {checkSize, digestDiffers, openStored} from '../backup-set/source.js';
import type {FetchedBackup} from '../store/store.js';
import type {Problems} from './problems.js';

/** The files of a backup as they are stored; each is compared with the metadata while it is read. */
export class StoredFiles {
  readonly #backup: FetchedBackup;
  readonly #problems: Problems;
  readonly #signal: AbortSignal;
  readonly #decryption: Decryption;
  readonly #recorded: ReadonlyMap<string, BackupFile>;
  /** Those that need not be read again: they were, or are known to be wrong. */
  readonly #done = new Set<string>();
  #buffers: Buffers = makeBuffers();
  /** Bytes that were read. */
  bytes = 0;

  constructor(
    backup: FetchedBackup,
    {
      problems,
      signal,
      decryption,
    }: {readonly problems: Problems; readonly signal: AbortSignal; readonly decryption: Decryption},
  ) {
    this.#backup = backup;
    this.#problems = problems;
    this.#signal = signal;
    this.#decryption = decryption;
    this.#recorded = new Map(backup.metadata?.files.map((file) => [file.name, file]));
  }

  /** Whether the metadata know a file. */
  isRecorded(name: string): boolean {
    return this.#recorded.has(name);
  }

  /** Compares the sizes of all files with the metadata. */
  async checkSizes(): Promise<void> {
    for (const file of this.#recorded.values()) {
      const before = this.#problems.count;
      await this.#problems.collect(() => checkSize(this.#backup.source, file));
      if (this.#problems.count > before) this.#done.add(file.name);
    }
  }

  /** Reads a file, and compares its SHA-256 at the end. A piece is gone when the next one is asked for. */
  async *read(name: string): AsyncGenerator<Buffer> {
    yield* this.#compare(name, (await openStored(this.#backup.source, name)).read());
  }

  /** Reads a file of a data directory by its path, whose bytes need not be UTF-8, like `read`. */
  readPath(name: string, path: Buffer): AsyncGenerator<Buffer> {
    return this.#compare(name, readPieces(path, this.#buffers));
  }

  async *#compare(name: string, pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const recorded = this.#done.has(name) ? undefined : this.#recorded.get(name);
    this.#done.add(name);
    if (this.#backup.metadata && !this.#recorded.has(name))
      this.#problems.add(name, 'the metadata does not know it');
    const hash = recorded && createHash('sha256');
    for await (const piece of pieces) {
      this.#signal.throwIfAborted();
      hash?.update(piece);
      this.bytes += piece.length;
      yield piece;
    }
    const sha256 = hash?.digest('hex');
    if (recorded && sha256 !== recorded.sha256)
      this.#problems.take(digestDiffers(this.#backup.source, recorded, sha256));
  }

  /** Reads a file like `read`, and decrypts what is encrypted. */
  open(name: string): AsyncIterable<Buffer> {
    return this.#decryption.open(name, this.read(name));
  }

  /** The first bytes of a file, to look for something in it, decrypted; its SHA-256 is compared another time. */
  async *peek(name: string): AsyncGenerator<Buffer> {
    yield* this.#decryption.open(name, (await openStored(this.#backup.source, name)).read());
  }

  /** Reads the text of the manifest; undefined when there is none. Throws a UserError when it is too large to be one. */
  async readManifest(name: string): Promise<string | undefined> {
    if ((await this.#backup.source.find(name)) === undefined) return undefined;
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of this.open(name)) {
      bytes += piece.length;
      refuseLargeManifest(bytes);
      pieces.push(Buffer.from(piece));
    }
    return Buffer.concat(pieces).toString('utf8');
  }

  /** Reads what is in the metadata and was not read yet. */
  async readRest(): Promise<void> {
    for (const name of this.#recorded.keys()) {
      if (this.#done.has(name)) continue;
      for await (const _piece of this.read(name));
    }
  }
}
