import {readdir, readFile, rename, rm, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {formatMetadata, type Metadata, parseMetadata} from '../backup-set/metadata.js';
import {isPattern, matchesName} from '../backup-set/naming.js';
import {describe, UserError} from '../errors.js';
import {makeDirectories} from '../host/directories.js';
import {warning} from '../log.js';
import type {FoundBackup, LocalBackup, Store, StoredBackup} from './store.js';

/** Where a backup's metadata file is: beside its directory. */
export function metadataPath(directory: string, name: string): string {
  return join(directory, `${name}.json`);
}

/** Writes a metadata file whole or not at all, so that a reader never sees half of one. */
export async function writeMetadata(directory: string, metadata: Metadata): Promise<void> {
  await makeDirectories(directory);
  const path = metadataPath(directory, metadata.name);
  await writeFile(`${path}.partial`, formatMetadata(metadata), {mode: 0o600, flag: 'wx'});
  await rename(`${path}.partial`, path).catch(async (error: unknown) => {
    await rm(`${path}.partial`, {force: true});
    throw error;
  });
}

/** Keeps backups where they are made: in a directory of the runner, one directory and one metadata file each. */
export function directoryStore(directory: string): Store {
  return {
    takesDirectories: true,
    async checkName(name) {
      for (const path of [join(directory, name), metadataPath(directory, name)]) {
        if (await exists(path)) throw nameTaken(path);
      }
    },
    async save({metadata}: LocalBackup): Promise<StoredBackup> {
      await writeMetadata(directory, metadata);
      return {location: join(directory, metadata.name)};
    },
    find: (wanted) =>
      wanted === 'latest' || isPattern(wanted) ? findNewest(directory, wanted) : findNamed(directory, wanted),
  };
}

async function findNamed(directory: string, name: string): Promise<FoundBackup> {
  if (!(await exists(join(directory, name)))) {
    return nothingFound(directory, `There is no backup ${join(directory, name)}`);
  }
  return found(directory, name, await readMetadata(directory, name));
}

async function findNewest(directory: string, wanted: string): Promise<FoundBackup> {
  const complete: {name: string; metadata: Metadata}[] = [];
  for (const file of await entries(directory)) {
    const name = file.replace(/\.json$/, '');
    if (name === file || !matchesName(name, wanted) || !(await exists(join(directory, name)))) continue;
    const metadata = await readMetadata(directory, name).catch((error: unknown) => warning(describe(error)));
    if (metadata) complete.push({name, metadata});
  }
  const newest = complete.sort(
    (a, b) => Date.parse(b.metadata.finishedAt) - Date.parse(a.metadata.finishedAt),
  )[0];
  if (newest) return found(directory, newest.name, newest.metadata);
  const what =
    wanted === 'latest' ? 'no complete backup of this action' : `no complete backup that matches ${wanted}`;
  return nothingFound(directory, `There is ${what} in ${directory}`);
}

function found(directory: string, name: string, metadata: Metadata | undefined): FoundBackup {
  const here = {name, location: join(directory, name), ...(metadata && {metadata})};
  return {...here, fetch: async () => ({...here, directory: join(directory, name)})};
}

async function readMetadata(directory: string, name: string): Promise<Metadata | undefined> {
  const path = metadataPath(directory, name);
  return (await exists(path)) ? parseMetadata(await readFile(path, 'utf8'), path) : undefined;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function entries(directory: string): Promise<readonly string[]> {
  return (await exists(directory)) ? readdir(directory) : [];
}

function nameTaken(path: string): UserError {
  return new UserError(
    `${path} exists already, and nothing is overwritten.`,
    'Put the time into backup-name (basebackup-%Y%m%d-%H%M%S), or remove it in an earlier step.',
  );
}

async function nothingFound(directory: string, message: string): Promise<never> {
  const names = (await entries(directory)).filter((name) => !name.endsWith('.json'));
  const there =
    names.length === 0 ? 'That directory is empty or absent.' : `There: ${names.slice(0, 20).join(', ')}.`;
  throw new UserError(
    `${message}.`,
    `${there} Set directory and backup-name; a backup made by hand is found by its exact name only.`,
  );
}
