import {createHash} from 'node:crypto';
import {createReadStream} from 'node:fs';
import {open, readdir, stat} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {Readable} from 'node:stream';
import {UserError} from '../errors.js';
import type {BackupFile} from './metadata.js';

const chunkBytes = 256 * 1024;

/** Size and SHA-256 of every file in a directory, links to tablespaces followed; names sorted. */
export async function describeFiles(directory: string): Promise<readonly BackupFile[]> {
  const files: BackupFile[] = [];
  for (const name of await listFiles(directory)) files.push(await describeFile(directory, name));
  return files;
}

async function describeFile(directory: string, name: string): Promise<BackupFile> {
  const hash = createHash('sha256');
  // Buffers that are used again: those of a stream pile up until they are collected, 50 MB for a file of 2 GB.
  const buffers = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)] as const;
  const file = await open(join(directory, name));
  try {
    let sizeBytes = 0;
    let reading = file.read(buffers[0]);
    for (let turn = 1; ; turn = 1 - turn) {
      const {bytesRead, buffer} = await reading;
      if (bytesRead === 0) return {name, sizeBytes, sha256: hash.digest('hex')};
      reading = file.read(turn === 1 ? buffers[1] : buffers[0]);
      hash.update(buffer.subarray(0, bytesRead));
      sizeBytes += bytesRead;
    }
  } finally {
    await file.close();
  }
}

async function listFiles(directory: string): Promise<readonly string[]> {
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

/**
 * Reads a file of a backup and compares it with what was recorded when the backup was made: the size before the
 * first byte, the SHA-256 after the last. The stream fails with a UserError that names the file.
 */
export function readVerified(directory: string, name: string, recorded: BackupFile | undefined): Readable {
  return Readable.from(verifiedChunks(directory, name, recorded), {objectMode: false, highWaterMark: 1});
}

async function* verifiedChunks(
  directory: string,
  name: string,
  recorded: BackupFile | undefined,
): AsyncGenerator<Buffer> {
  if (recorded) await checkSize(directory, recorded);
  const hash = recorded && createHash('sha256');
  for await (const chunk of createReadStream(join(directory, name))) {
    hash?.update(chunk);
    yield chunk;
  }
  const sha256 = hash?.digest('hex');
  if (recorded && sha256 !== recorded.sha256) {
    throw damaged(
      name,
      `its SHA-256 is ${sha256}, but ${recorded.sha256} was recorded when the backup was made`,
    );
  }
}

/** Compares a file's size with the recorded one. Throws a UserError that names a missing or truncated file. */
export async function checkSize(directory: string, recorded: BackupFile): Promise<void> {
  const found = await stat(join(directory, recorded.name)).catch(() => undefined);
  if (!found) throw damaged(recorded.name, 'it is missing');
  if (found.size !== recorded.sizeBytes) {
    throw damaged(
      recorded.name,
      `it has ${found.size} bytes, but ${recorded.sizeBytes} were recorded when the backup was made`,
    );
  }
}

/** Reads files to their end and compares each with what was recorded. Throws a UserError that names a damaged file. */
export async function verifyFiles(directory: string, recorded: readonly BackupFile[]): Promise<void> {
  for (const file of recorded) {
    for await (const _chunk of readVerified(directory, file.name, file));
  }
}

/** The refusal of a backup because of one of its files. */
export function damaged(name: string, reason: string): UserError {
  return new UserError(
    `The backup is damaged: ${basename(name) === name ? name : `file ${name}`}: ${reason}.`,
    'Nothing was started. Restore another backup (backup-name), and find out what changed this one.',
  );
}
