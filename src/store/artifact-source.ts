import {randomUUID} from 'node:crypto';
import {mkdir, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {readPieces} from '../backup-set/digest.js';
import type {StoredPiece} from '../backup-set/file-parts.js';
import type {BackupFile} from '../backup-set/metadata.js';
import type {BackupSource, StoredFile} from '../backup-set/source.js';
import {downloadPiece} from './artifact-download.js';
import type {ListedArtifact, RunArtifacts} from './artifact-listing.js';
import {untilAborted} from './parallel.js';

/** A piece of a file of a backup, and the artifact that holds it. */
export interface StoredPart {
  readonly file: BackupFile;
  readonly piece: StoredPiece;
  readonly artifact: ListedArtifact;
}

/** What reading artifacts works with. */
export interface ReadOptions {
  readonly run: RunArtifacts;
  /** For what lies on the disk between its download and its use. */
  readonly scratchDirectory: string;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/** Pieces on the disk, or on their way to it. A file that is read may always have one. */
const piecesAtOnce = 4;
/** Base, and a tablespace beside it. */
const readsAtOnce = 2;

/** Bytes that lie on the disk at most while the files of a backup are read. */
export function bytesOnDisk(parts: readonly StoredPart[]): number {
  const sizes = parts.map(({piece}) => piece.sizeBytes).sort((a, b) => b - a);
  return sizes.slice(0, piecesAtOnce + readsAtOnce - 1).reduce((sum, size) => sum + size, 0);
}

/**
 * The files of a backup in artifacts, downloaded while they are read: the client wants a file for each piece, so that some
 * of them lie on the disk, several on their way side by side, each removed once it was read. Reading throws a UserError
 * when a piece does not arrive as it was stored.
 */
export function artifactSource(parts: readonly StoredPart[], options: ReadOptions): BackupSource {
  const queue = new Downloads(options);
  const files = Map.groupBy(parts, ({file}) => file.name);
  return {
    location: options.run.location,
    readsAtOnce,
    isAsNamed: true,
    list: async () => [...files.keys()],
    async find(name): Promise<StoredFile | undefined> {
      const stored = files.get(name);
      const sizeBytes = stored?.[0]?.file.sizeBytes;
      if (stored === undefined || sizeBytes === undefined) return undefined;
      return {name, sizeBytes, read: () => queue.read(stored)};
    },
  };
}

/** A piece on its way to the disk. */
interface Begun {
  /** Its own, because the server chooses the name under which the client stores a file. */
  readonly directory: string;
  readonly path: Promise<string>;
}

/** Downloads that are shared by all that read a backup. */
class Downloads {
  readonly #options: ReadOptions;
  /** Pieces on the disk, or on their way. */
  #count = 0;

  constructor(options: ReadOptions) {
    this.#options = options;
  }

  async *read(parts: readonly StoredPart[]): AsyncGenerator<Buffer> {
    const {signal} = this.#options;
    const begun: Begun[] = [];
    const waiting = [...parts];
    try {
      while (waiting.length > 0 || begun.length > 0) {
        this.#beginMore(waiting, begun);
        const [first] = begun;
        if (first === undefined) return;
        yield* readPieces(await untilAborted(signal, () => first.path));
        begun.shift();
        await this.#end(first);
      }
    } finally {
      for (const piece of begun) void this.#giveUp(piece);
    }
  }

  #beginMore(waiting: StoredPart[], begun: Begun[]): void {
    while (begun.length === 0 || this.#count < piecesAtOnce) {
      const part = waiting.shift();
      if (part === undefined) return;
      this.#count += 1;
      const directory = join(this.#options.scratchDirectory, `piece-${randomUUID()}`);
      const path = this.#download(part, directory);
      // Whoever waits for it hears of it.
      path.catch(() => undefined);
      begun.push({directory, path});
    }
  }

  async #download({piece, artifact}: StoredPart, directory: string): Promise<string> {
    await mkdir(directory);
    return downloadPiece({artifact, piece}, this.#options.run, directory);
  }

  /** One that is on its way cannot be ended, and throws where nobody listens when its directory is gone. */
  async #giveUp(piece: Begun): Promise<void> {
    await piece.path.catch(() => undefined);
    // With what else is in it, whoever made the scratch directory removes it.
    await this.#end(piece).catch(() => undefined);
  }

  async #end({directory}: Begun): Promise<void> {
    await rm(directory, {recursive: true, force: true, maxRetries: 3});
    this.#count -= 1;
  }
}
