import {createHash} from 'node:crypto';
import {type FileHandle, open, readdir, stat} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {UserError} from '../errors.js';
import type {BackupFile} from './metadata.js';

const chunkBytes = 256 * 1024;

/** Size and SHA-256 of every file in a directory, links to tablespaces followed; names sorted. */
export async function describeFiles(directory: string): Promise<readonly BackupFile[]> {
  const files: BackupFile[] = [];
  const buffers = makeBuffers();
  for (const name of await listFiles(directory)) files.push(await describeFile(directory, name, {buffers}));
  return files;
}

/** Size and SHA-256 of a file in a directory. Throws the signal's reason once it is aborted. */
export async function describeFile(
  directory: string,
  name: string,
  {buffers = makeBuffers(), signal}: {readonly buffers?: Buffers; readonly signal?: AbortSignal} = {},
): Promise<BackupFile> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const piece of readPieces(join(directory, name), buffers)) {
    signal?.throwIfAborted();
    hash.update(piece);
    sizeBytes += piece.length;
  }
  return {name, sizeBytes, sha256: hash.digest('hex')};
}

/** Two buffers that take turns in holding what is read. */
export type Buffers = readonly [Buffer, Buffer];

/** Makes buffers for `readPieces`. */
export function makeBuffers(): Buffers {
  return [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)];
}

/**
 * Reads a file in large pieces, the next one while one is worked on. A piece is gone when the next one is asked for:
 * buffers are used again, because those of a stream pile up until they are collected, 50 MB for a file of 2 GB.
 */
export async function* readPieces(
  path: string | Buffer,
  buffers: Buffers = makeBuffers(),
): AsyncGenerator<Buffer> {
  const file = await open(path);
  let reading = fill(file, buffers[0]);
  try {
    for (let turn = 1; ; turn = 1 - turn) {
      const piece = await reading;
      if (piece.length === 0) return;
      reading = fill(file, turn === 1 ? buffers[1] : buffers[0]);
      yield piece;
    }
  } finally {
    await reading.catch(() => undefined);
    await file.close();
  }
}

/** Whole but for the last: a program takes small pieces without saying when it is done with them. */
async function fill(file: FileHandle, buffer: Buffer): Promise<Buffer> {
  let filled = 0;
  while (filled < buffer.length) {
    const {bytesRead} = await file.read(buffer, filled, buffer.length - filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** The names of all files below a directory, relative to it. */
export async function listFiles(directory: string): Promise<readonly string[]> {
  const names: string[] = [];
  const visit = async (prefix: string) => {
    for (const name of (await readdir(join(directory, prefix))).sort()) {
      const path = prefix === '' ? name : `${prefix}/${name}`;
      if ((await stat(join(directory, path))).isDirectory()) await visit(path);
      else names.push(path);
    }
  };
  await visit('');
  return names;
}

/** The refusal of a backup that is not the one that was stored, as far as can be told. */
export class DamagedBackupError extends UserError {
  /** The names of files that were complained of. */
  readonly files: readonly string[];
  /**
   * Whether what is stored was compared with the metadata, and nothing but that can be the reason: a program that
   * complains may have been killed, or its disk be at fault.
   */
  readonly isCertain: boolean;

  constructor(
    message: string,
    cure: string,
    {files, isCertain}: Pick<DamagedBackupError, 'files' | 'isCertain'>,
  ) {
    super(message, cure);
    this.files = files;
    this.isCertain = isCertain;
  }
}

/** The refusal of a backup because of one of its files. */
export class DamageError extends DamagedBackupError {
  readonly file: string;
  readonly reason: string;

  constructor(file: string, reason: string, isCertain: boolean) {
    super(
      `The backup is damaged: ${basename(file) === file ? file : `file ${file}`}: ${reason}.`,
      'Nothing was started. Restore another backup (backup-name), and find out what changed this one.',
      {files: [file], isCertain},
    );
    this.file = file;
    this.reason = reason;
  }
}

/** Makes the refusal of a backup because of one of its files. */
export function damaged(
  name: string,
  reason: string,
  {isCertain = false}: {readonly isCertain?: boolean} = {},
): DamageError {
  return new DamageError(name, reason, isCertain);
}
