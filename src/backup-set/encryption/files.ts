import {createHash} from 'node:crypto';
import {open, readdir, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {PassThrough} from 'node:stream';
import type {Command, Host} from '../../host/host.js';
import {describeFile, readPieces} from '../digest.js';
import type {BackupFile} from '../metadata.js';
import type {Encryption} from './encryption.js';
import {encryptedName} from './names.js';

/** What encrypting files works with. */
export interface Encrypting {
  readonly encryption: Encryption;
  /** Aborted when the run is cancelled: encrypting ends with its reason. */
  readonly signal: AbortSignal;
}

/**
 * Encrypts every file of a directory in its place, one after the other; the plain one is removed once its encrypted one
 * is whole and on disk. Returns what was written.
 */
export async function encryptFiles(
  directory: string,
  encrypting: Encrypting,
): Promise<readonly BackupFile[]> {
  const files: BackupFile[] = [];
  for (const name of (await readdir(directory)).sort()) {
    const path = join(directory, name);
    files.push(await encryptFile(path, {...encrypting, directory, name}));
    await rm(path);
  }
  return files;
}

type Target = Encrypting & {readonly directory: string; readonly name: string};

async function encryptFile(path: string, target: Target): Promise<BackupFile> {
  const {encryption, signal, directory} = target;
  if (!encryption.fromFileToFile) return writeEncrypted(readPieces(path), target);
  const name = encryptedName(target.name);
  const file = await open(join(directory, name), 'wx', 0o600);
  try {
    await encryption.fromFileToFile(path, join(directory, name));
    // Of a file that is open all the while, it also tells of what failed when the program closed its own (fsync(2)).
    await file.sync();
  } finally {
    await file.close();
  }
  return describeFile(directory, name, {signal});
}

/** Encrypts what a program writes into a file of `directory`, without a plain one. */
export async function encryptOutput(
  command: Command,
  {runner, ...target}: Target & {readonly runner: Host},
): Promise<BackupFile> {
  const output = new PassThrough({highWaterMark: 1 << 20});
  const running = runner.run(command, {stdout: output}).catch((error: Error) => void output.destroy(error));
  try {
    return await writeEncrypted(output, target);
  } finally {
    output.destroy();
    await running;
  }
}

async function writeEncrypted(
  bytes: AsyncIterable<Buffer>,
  {encryption, signal, directory, name}: Target,
): Promise<BackupFile> {
  const target = encryptedName(name);
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const file = await open(join(directory, target), 'wx', 0o600);
  try {
    for await (const piece of inBatches(encryption.encrypt(bytes))) {
      signal.throwIfAborted();
      hash.update(piece);
      sizeBytes += piece.length;
      await file.writeFile(piece);
    }
    // The plain file is removed for this one.
    await file.sync();
  } finally {
    await file.close();
  }
  return {name: target, sizeBytes, sha256: hash.digest('hex')};
}

const batchBytes = 1 << 20;

/** Puts small pieces together: each write is a trip to another thread. */
async function* inBatches(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let [batch, length]: [Buffer[], number] = [[], 0];
  for await (const piece of stream) {
    batch.push(piece);
    length += piece.length;
    if (length < batchBytes) continue;
    yield Buffer.concat(batch);
    [batch, length] = [[], 0];
  }
  if (length > 0) yield Buffer.concat(batch);
}
