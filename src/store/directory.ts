import {createHash} from 'node:crypto';
import {readdir, readFile, rename, rm, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {formatMetadata, type Metadata, parseMetadata} from '../backup-set/metadata.js';
import {isPattern, matchesName, problemOfName} from '../backup-set/naming.js';
import {copyVerified, directorySource} from '../backup-set/source.js';
import {describe, UserError} from '../errors.js';
import {makeDirectories} from '../host/directories.js';
import {debug, warning} from '../log.js';
import {choose, needsCatalog} from './choose.js';
import {
  listDirectory,
  removeFromDirectory,
  removeLeftoverFrom,
  removingEnd,
  saveProofBeside,
  saveReportBeside,
} from './directory-catalog.js';
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
      const path = join(directory, name);
      for (const taken of [path, metadataPath(directory, name), path + removingEnd]) {
        if (await exists(taken)) throw nameTaken(taken);
      }
    },
    async save({metadata}: LocalBackup): Promise<StoredBackup> {
      await writeMetadata(directory, metadata);
      return {location: join(directory, metadata.name)};
    },
    async find(wanted) {
      const chosen = needsCatalog(wanted)
        ? choose(await listDirectory(directory), wanted, directory)
        : undefined;
      const name = chosen?.name ?? wanted.name;
      return name === 'latest' || isPattern(name) ? findNewest(directory, name) : findNamed(directory, name);
    },
    findParent: ({name}) => findNamed(directory, name),
    list: () => listDirectory(directory),
    history: async () => (await listDirectory(directory, debug)).entries,
    remove: (entry) => removeFromDirectory(directory, entry),
    removeLeftover: (leftover) => removeLeftoverFrom(directory, leftover),
    saveProof: (proof) => saveProofBeside(directory, proof),
    saveReport: (files) => saveReportBeside(directory, files),
  };
}

async function findNamed(directory: string, name: string): Promise<FoundBackup> {
  if (!(await exists(join(directory, name)))) {
    return nothingFound(directory, `There is no backup ${join(directory, name)}`);
  }
  return found(directory, name, await readMetadata(directory, name));
}

async function findNewest(directory: string, wanted: string): Promise<FoundBackup> {
  const complete: {name: string; read: ReadMetadata}[] = [];
  for (const file of await entries(directory)) {
    const name = file.replace(/\.json$/, '');
    if (name === file || problemOfName(name) !== undefined || !matchesName(name, wanted)) continue;
    if (!(await exists(join(directory, name)))) continue;
    const read = await readMetadata(directory, name).catch((error: unknown) => warning(describe(error)));
    if (read) complete.push({name, read});
  }
  const newest = complete.sort(
    (a, b) => Date.parse(b.read.metadata.finishedAt) - Date.parse(a.read.metadata.finishedAt),
  )[0];
  if (newest) return found(directory, newest.name, newest.read);
  const what =
    wanted === 'latest' ? 'no complete backup of this action' : `no complete backup that matches ${wanted}`;
  return nothingFound(directory, `There is ${what} in ${directory}`);
}

function found(directory: string, name: string, read: ReadMetadata | undefined): FoundBackup {
  const path = join(directory, name);
  const source = directorySource(path);
  const here = {name, location: path, source, ...read};
  return {
    ...here,
    fetch: async () => here,
    fetchFile: (file, into) => copyVerified(source, file, into),
  };
}

type ReadMetadata = Required<Pick<FoundBackup, 'metadata' | 'metadataSha256' | 'metadataText'>>;

async function readMetadata(directory: string, name: string): Promise<ReadMetadata | undefined> {
  const path = metadataPath(directory, name);
  if (!(await exists(path))) return undefined;
  const text = await readFile(path, 'utf8');
  const metadataSha256 = createHash('sha256').update(text).digest('hex');
  return {metadata: parseMetadata(text, path), metadataSha256, metadataText: text};
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
  const names = (await entries(directory)).filter(
    (name) => !/\.json$|\.report\.html$|\.removing$/.test(name),
  );
  const there =
    names.length === 0 ? 'That directory is empty or absent.' : `There: ${names.slice(0, 20).join(', ')}.`;
  throw new UserError(
    `${message}.`,
    `${there} Set directory and backup-name; a backup made by hand is found by its exact name only.`,
  );
}
