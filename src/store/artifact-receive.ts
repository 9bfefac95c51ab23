import {createHash, type Hash} from 'node:crypto';
import {type FileHandle, open, rename, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {partName} from '../backup-set/file-parts.js';
import type {BackupFile, FilePart} from '../backup-set/metadata.js';
import {CancelledError, UserError} from '../errors.js';
import {warning} from '../log.js';
import {
  cureOfUpload,
  describeLeft,
  describeStored,
  progressEverySeconds,
  type Staged,
  UploadAttempt,
  type UploadOptions,
  uploadsAtOnce,
} from './artifact-attempt.js';
import {thinProgress} from './artifact-progress.js';
import {stageMetadata, stageText} from './artifact-upload.js';
import {untilAborted} from './parallel.js';
import type {Expected, Receiver} from './store.js';

/** What receiving works with, besides what any upload does. */
export interface ReceiveOptions extends UploadOptions {
  /** A file that is larger travels in parts of this size, each an artifact of its own. */
  readonly partBytes: number;
}

/** The parts that may lie on the disk: those on their way, and one of the archive and of the WAL that are written. */
export const mostPartsOnDisk = uploadsAtOnce + 2;

/**
 * Stores the files of a backup as artifacts while they are written: a part goes to the disk, because the client wants a
 * file, and is removed when GitHub has confirmed its digest. An upload may take 60 minutes, which is why a file must not
 * travel as one that only ends with the backup. Throws a UserError when another job of the run stores a backup of this
 * name: `<backup-name>.claim` is there meanwhile.
 */
export async function receiveAsArtifacts(expected: Expected, options: ReceiveOptions): Promise<Receiver> {
  const {name, partsDirectory: directory} = expected;
  const attempt = new UploadAttempt(options);
  const ended = Promise.withResolvers<void>();
  // Lines of progress are thinned from the first upload to the end.
  void thinProgress(progressEverySeconds, () => ended.promise);
  const places = new Permits(mostPartsOnDisk);
  const turns = new Permits(uploadsAtOnce);
  const send = async (file: Staged) => {
    await turns.take();
    try {
      return await told(name, () => untilAborted(options.signal, () => attempt.upload(file)));
    } finally {
      turns.giveBack();
    }
  };
  const abandon = async () => {
    const left = describeLeft(await attempt.giveUp());
    ended.resolve();
    if (left !== '') warning(left);
  };
  const claim = `${name}.claim`;
  try {
    await send(await stageText(join(directory, claim), `${name}\n`));
  } catch (thrown) {
    await abandon();
    throw thrown;
  }
  return {
    put: (fileName, bytes) =>
      new PartedFile(fileName, {...options, directory, name, places, send}).store(bytes),
    async finish(metadata) {
      const uploaded = await send(await stageMetadata(metadata, directory));
      await attempt.remove(claim);
      ended.resolve();
      return describeStored(name, options.thisRun, uploaded);
    },
    abandon,
  };
}

async function told<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CancelledError) throw cause;
    const message = `Backup ${name} could not be stored as artifacts.`;
    throw new UserError(message, cureOfUpload(cause), {cause});
  }
}

/** So many at a time. */
class Permits {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async take(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  giveBack(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}

/** What a file in parts works with. */
interface Parting {
  /** The backup's. */
  readonly name: string;
  readonly partBytes: number;
  readonly directory: string;
  readonly places: Permits;
  readonly send: (file: Staged) => Promise<unknown>;
}

/** A file that is cut into parts, which are stored while the next ones are written. */
class PartedFile {
  readonly #fileName: string;
  readonly #parting: Parting;
  readonly #hash = createHash('sha256');
  readonly #parts: FilePart[] = [];
  readonly #uploads: Promise<void>[] = [];
  readonly #failed = Promise.withResolvers<never>();
  #open: {readonly file: FileHandle; readonly hash: Hash; sizeBytes: number} | undefined;

  constructor(fileName: string, parting: Parting) {
    this.#fileName = fileName;
    this.#parting = parting;
    this.#failed.promise.catch(() => undefined);
  }

  /** Stores all of it. Rejects as soon as a part could not be stored, even while more bytes are waited for. */
  store(bytes: AsyncIterable<Buffer>): Promise<BackupFile> {
    return Promise.race([this.#store(bytes), this.#failed.promise]);
  }

  async #store(bytes: AsyncIterable<Buffer>): Promise<BackupFile> {
    const {partBytes} = this.#parting;
    try {
      for await (const piece of bytes) {
        this.#hash.update(piece);
        for (let at = 0; at < piece.length; ) {
          const room = partBytes - (this.#open?.sizeBytes ?? 0);
          // A part is ended by the byte that follows it, so that a file of just one part's size travels whole.
          if (room === 0) await this.#endPart();
          else at += await this.#write(piece.subarray(at, at + room));
        }
      }
      return await this.#end();
    } finally {
      await this.#open?.file.close();
    }
  }

  async #write(bytes: Buffer): Promise<number> {
    this.#open ??= await this.#beginPart();
    await this.#open.file.writeFile(bytes);
    this.#open.hash.update(bytes);
    this.#open.sizeBytes += bytes.length;
    return bytes.length;
  }

  async #beginPart() {
    await this.#parting.places.take();
    const file = await open(this.#path('next'), 'wx', 0o600);
    return {file, hash: createHash('sha256'), sizeBytes: 0};
  }

  async #endPart(): Promise<void> {
    const part = await this.#close();
    this.#parts.push(part);
    await this.#send(part, partName(this.#fileName, this.#parts.length));
  }

  async #end(): Promise<BackupFile> {
    const file = {name: this.#fileName, sha256: this.#hash.digest('hex')};
    if (this.#parts.length > 0) {
      await this.#endPart();
      await Promise.all(this.#uploads);
      const sizeBytes = this.#parts.reduce((sum, part) => sum + part.sizeBytes, 0);
      return {...file, sizeBytes, parts: this.#parts};
    }
    const {sizeBytes} = await this.#close();
    await this.#send({...file, sizeBytes}, this.#fileName);
    await Promise.all(this.#uploads);
    return {...file, sizeBytes};
  }

  async #close(): Promise<FilePart> {
    // Also a file of no bytes is one.
    const {file, hash, sizeBytes} = this.#open ?? (await this.#beginPart());
    this.#open = undefined;
    await file.close();
    return {sizeBytes, sha256: hash.digest('hex')};
  }

  async #send({sizeBytes, sha256}: FilePart, end: string): Promise<void> {
    const {send, places, name} = this.#parting;
    const path = this.#path(`${name}.${end}`);
    await rename(this.#path('next'), path);
    const sent = send({path, sizeBytes, sha256}).then(async () => {
      await rm(path);
      places.giveBack();
    });
    sent.catch(this.#failed.reject);
    this.#uploads.push(sent);
  }

  #path(name: string): string {
    const {directory} = this.#parting;
    return join(directory, name === 'next' ? `${this.#fileName}.next` : name);
  }
}
