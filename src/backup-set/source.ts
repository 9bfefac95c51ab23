import {createHash} from 'node:crypto';
import {readdir, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {UserError} from '../errors.js';
import {type DamageError, damaged, listFiles, readPieces} from './digest.js';
import type {BackupFile} from './metadata.js';

/** A file of a backup, as it is stored. */
export interface StoredFile {
  readonly name: string;
  readonly sizeBytes: number;
  /** Reads it from its first byte on. A piece is gone when the next one is asked for, but for one of less than 64 KiB. */
  read(): AsyncIterable<Buffer>;
}

/** Where the files of a backup are read from: a directory of this runner, or a store that gives them as streams. */
export interface BackupSource {
  /** For people: the directory, or `s3://bucket/prefix/name`. */
  readonly location: string;
  /** The directory that holds the files; undefined where they come over the network, and no disk has them. */
  readonly directory?: string;
  /** How many files may be read side by side, where that takes memory; undefined: any number. */
  readonly readsAtOnce?: number;
  /** Names tell for sure what is in the files, and looking into each would take a transfer. */
  readonly isAsNamed?: boolean;
  /** The names of all files; of a directory, of what lies right in it. */
  list(): Promise<readonly string[]>;
  /** A file by its name; undefined when there is none. Throws a DamageError for what is there and is no file. */
  find(name: string): Promise<StoredFile | undefined>;
}

/** A backup whose files are in a directory of this runner. */
export function directorySource(directory: string): BackupSource {
  return {
    location: directory,
    directory,
    list: () => readdir(directory),
    async find(name) {
      const path = join(directory, name);
      const found = await stat(path).catch(unlessAbsent(path));
      if (found === undefined) return undefined;
      // Opening a FIFO would wait for its other end.
      if (!found.isFile()) throw damaged(name, 'it is not a file');
      return {name, sizeBytes: found.size, read: () => readPieces(path)};
    },
  };
}

/** What cannot be looked at may be there. */
function unlessAbsent(path: string) {
  return (cause: unknown): undefined => {
    if (cause instanceof Error && 'code' in cause && /^ENO(ENT|TDIR)$/.test(String(cause.code)))
      return undefined;
    throw new UserError(
      `${path} cannot be looked at.`,
      'Give the account that runs the step the right to read it, and see whether its file system is well.',
      {cause},
    );
  };
}

/** A file of a backup. Throws a DamageError when it is missing. */
export async function openStored(source: BackupSource, name: string): Promise<StoredFile> {
  const file = await source.find(name);
  if (file === undefined) throw damaged(name, 'it is missing');
  return file;
}

/**
 * Reads a file of a backup and compares it with what was recorded when the backup was made: the size before the
 * first byte, the SHA-256 after the last. Throws a DamageError that names the file. A piece is gone when the next one
 * is asked for.
 */
export async function* readVerified(
  source: BackupSource,
  name: string,
  recorded: BackupFile | undefined,
): AsyncGenerator<Buffer> {
  if (recorded) await checkSize(source, recorded);
  const hash = recorded && createHash('sha256');
  for await (const piece of (await openStored(source, name)).read()) {
    hash?.update(piece);
    yield piece;
  }
  const sha256 = hash?.digest('hex');
  if (recorded && sha256 !== recorded.sha256) throw digestDiffers(source, recorded, sha256);
}

/**
 * Copies a file into a directory while it is compared with what was recorded, and returns its path there. Throws a
 * DamageError that names it.
 */
export async function copyVerified(
  source: BackupSource,
  recorded: BackupFile,
  directory: string,
): Promise<string> {
  const path = join(directory, recorded.name);
  await writeFile(path, readVerified(source, recorded.name, recorded), {mode: 0o600, flag: 'wx'});
  return path;
}

/** The refusal of a file that is not the one that was recorded. */
export function digestDiffers(
  {directory, location}: BackupSource,
  {name, sha256}: BackupFile,
  found: string | undefined,
): DamageError {
  const differs = `its SHA-256 is ${found}, but ${sha256} was recorded when the backup was made`;
  return damaged(
    name,
    directory === undefined
      ? `as it arrived from ${location}, ${differs}; run the step again, for it may have been changed on its way`
      : differs,
    {isCertain: directory !== undefined},
  );
}

/** Compares a file's size with the recorded one. Throws a DamageError that names a missing or truncated file. */
export async function checkSize(source: BackupSource, recorded: BackupFile): Promise<void> {
  const file = await source.find(recorded.name);
  if (file?.sizeBytes === recorded.sizeBytes) return;
  throw damaged(
    recorded.name,
    file === undefined
      ? 'it is missing'
      : `it has ${file.sizeBytes} bytes, but ${recorded.sizeBytes} were recorded when the backup was made`,
    // A tablespace of a plain backup may lie on a disk that is not there.
    {isCertain: file !== undefined || !recorded.name.startsWith('pg_tblspc/')},
  );
}

/** Reads files to their end and compares each with what was recorded. Throws a DamageError that names a damaged file. */
export async function verifyFiles(source: BackupSource, recorded: readonly BackupFile[]): Promise<void> {
  for (const file of recorded) {
    for await (const _piece of readVerified(source, file.name, file));
  }
}

/**
 * Compares a backup with what was recorded before anything of it is used: the same files, each of the same size and
 * SHA-256; what comes over the network is compared as it arrives. Throws a DamageError that names the first that is not.
 */
export async function requireExactFiles(
  source: BackupSource,
  recorded: readonly BackupFile[],
): Promise<void> {
  const known = new Set(recorded.map(({name}) => name));
  const found = source.directory === undefined ? await source.list() : await listFiles(source.directory);
  const strange = found.find((name) => !known.has(name));
  if (strange !== undefined) throw damaged(strange, 'it was not there when the backup was made');
  if (source.directory !== undefined) await verifyFiles(source, recorded);
}
