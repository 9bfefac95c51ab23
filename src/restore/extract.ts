import {PassThrough, type Readable, type Transform} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {createGunzip, createZstdDecompress} from 'node:zlib';
import type {Archive, BackupFiles, Codec} from '../backup-set/archive.js';
import {checkSize, damaged, readVerified, verifyFiles} from '../backup-set/digest.js';
import {plainTablespaces, tarOfData, tarOfTablespace} from '../backup-set/pack.js';
import {UserError} from '../errors.js';
import {type Command, CommandError, type Host} from '../host/host.js';
import type {FetchedBackup} from '../store/store.js';
import {refuseStrangeFiles} from './examine.js';
import type {RestoreRequest} from './request.js';
import {readTablespaceMap} from './tablespace-map.js';
import type {Target} from './target.js';

/** What extracting works with. */
export interface Extraction {
  readonly request: RestoreRequest;
  readonly backup: FetchedBackup;
  readonly files: BackupFiles;
  readonly target: Target;
  /** Where the server will run, and whose account owns the files. */
  readonly host: Host;
  /** Where the backup's files are. */
  readonly runner: Host;
}

/** The directory of each extracted tablespace, by oid. */
export type TablespaceDirectories = ReadonlyMap<string, string>;

/**
 * Unpacks base, tablespaces and WAL into the target while sizes and SHA-256 are compared with the metadata; no
 * archive is ever unpacked to a file in between. Throws a UserError that names a damaged or missing file.
 */
export async function extract(extraction: Extraction): Promise<TablespaceDirectories> {
  const {backup, files, target, host} = extraction;
  for (const recorded of backup.metadata?.files ?? []) await checkSize(backup.directory, recorded);
  await host.makeDirectory(target.dataDirectory);
  const directories =
    files.kind === 'plain' ? await copyPlain(extraction) : await extractTar(extraction, files);
  for (const [oid, path] of directories) await linkTablespace(extraction, oid, path);
  // A plain directory that was copied may have lost its mode, and PostgreSQL insists on it.
  await host.run({program: 'chmod', args: ['700', target.dataDirectory]});
  refuseUnknownMappings(extraction, [...directories.values()]);
  return directories;
}

async function extractTar(
  extraction: Extraction,
  files: BackupFiles & {kind: 'tar'},
): Promise<TablespaceDirectories> {
  const {backup, target, host} = extraction;
  const {dataDirectory} = target;
  const extractBase = () => extractArchive(extraction, files.base, dataDirectory);
  // Only base's tablespace_map knows a path of the source that the metadata does not tell.
  const known = new Set(backup.metadata?.tablespaces.map(({oid}) => oid));
  const waits = files.tablespaces.some(({oid}) => !known.has(oid));
  if (waits) await extractBase();
  const isInPlace = async ({oid}: {oid: string}) =>
    (await tablespaceDirectory(extraction, oid)) === inPlace(dataDirectory, oid);
  const [inside, outside] = await partition(files.tablespaces, isInPlace);
  const jobs = outside.map((archive) => () => extractTablespace(extraction, archive));
  const width = Math.max(1, host.cores - 1);
  const [directories] = await settleAll([inTurn(jobs, width), waits ? Promise.resolve() : extractBase()]);
  // Whatever is written into the data directory from here on must not follow a link that base brought along.
  await removeLinks(host, `${dataDirectory}/pg_tblspc`);
  await refuseStrangeFiles(host, dataDirectory, new Map());
  for (const archive of inside) await extractTablespace(extraction, archive);
  if (files.wal) await extractArchive(extraction, files.wal, `${dataDirectory}/pg_wal`);
  if (files.manifest) await copyManifest(extraction, files.manifest);
  return new Map(directories);
}

async function extractTablespace(
  extraction: Extraction,
  archive: Archive & {oid: string},
): Promise<readonly [string, string]> {
  const path = await tablespaceDirectory(extraction, archive.oid);
  await extractArchive(extraction, archive, path);
  return [archive.oid, path];
}

async function partition<T>(
  items: readonly T[],
  holds: (item: T) => Promise<boolean>,
): Promise<readonly [T[], T[]]> {
  const [yes, no]: [T[], T[]] = [[], []];
  for (const item of items) ((await holds(item)) ? yes : no).push(item);
  return [yes, no];
}

/** The place of a tablespace: mapped, the default, or inside the data directory when it has no path of its own. */
async function tablespaceDirectory(extraction: Extraction, oid: string, path?: string): Promise<string> {
  const {request, backup, target, host} = extraction;
  const recorded = backup.metadata?.tablespaces.find((tablespace) => tablespace.oid === oid)?.path;
  const map = readTablespaceMap((await host.readText(`${target.dataDirectory}/tablespace_map`)) ?? '');
  const source = recorded ?? map.get(oid) ?? path;
  if (source !== undefined && !source.startsWith('/')) return inPlace(target.dataDirectory, oid);
  return (source && request.tablespaceMapping.get(source)) ?? `${target.tablespacesDirectory}/${oid}`;
}

/** A mapping that fits no tablespace is a mistake: the files went to another place than the user meant. */
function refuseUnknownMappings({request}: Extraction, used: readonly string[]): void {
  for (const [from, to] of request.tablespaceMapping) {
    if (used.includes(to)) continue;
    throw new UserError(
      `tablespace-mapping names ${from}, and the backup has no tablespace of that path.`,
      'Write each path as SELECT pg_tablespace_location(oid) FROM pg_tablespace; shows it on the source.',
    );
  }
}

const inPlace = (dataDirectory: string, oid: string) => `${dataDirectory}/pg_tblspc/${oid}`;

async function extractArchive(
  {backup, host}: Extraction,
  archive: Archive,
  directory: string,
): Promise<void> {
  await host.makeDirectory(directory);
  const recorded = backup.metadata?.files.find(({name}) => name === archive.name);
  if (backup.metadata && !recorded) throw damaged(archive.name, 'the metadata does not know it');
  const {command, stream} = await decompress(
    host,
    archive,
    readVerified(backup.directory, archive.name, recorded),
  );
  try {
    await host.run(untar(directory, command), {stdin: stream});
  } catch (error) {
    throw tarFailure(archive.name, error, directory);
  }
}

/** tar's first line says why; its last one only that it failed. */
function tarFailure(name: string, error: unknown, directory: string): unknown {
  if (!(error instanceof CommandError)) return error;
  if (/Permission denied/.test(error.stderr)) {
    return new UserError(
      `${name} could not be extracted: ${error.stderr.trim().split('\n')[0]}`,
      `PostgreSQL's account must be able to write ${directory} and to pass through its parents: set data-directory.`,
      {cause: error},
    );
  }
  if (!/No space left on device|Disk quota exceeded/.test(error.stderr)) {
    return damaged(name, error.stderr.trim().split('\n')[0] || error.message);
  }
  return new UserError(
    `The disk is full: ${name} could not be extracted into ${directory}.`,
    'Free space in an earlier step, or set data-directory to a larger disk.',
    {cause: error},
  );
}

/** Owners in an archive mean nothing here; `..` and absolute names are refused by tar itself. */
function untar(directory: string, decompressor: string | undefined): Command {
  const codec = decompressor === undefined ? [] : [`--use-compress-program=${decompressor}`];
  return {
    program: 'tar',
    args: ['--extract', '--file=-', ...codec, '--no-same-owner', `--directory=${directory}`],
  };
}

interface Decompressed {
  /** The program that tar runs, where the host has it. */
  readonly command: string | undefined;
  readonly stream: Readable;
}

async function decompress(host: Host, {name, codec}: Archive, stream: Readable): Promise<Decompressed> {
  if (codec === 'none') return {command: undefined, stream};
  if (await host.findOnPath(codec)) return {command: codec, stream};
  const here = inProcess[codec]?.();
  if (here) {
    // An error of either side reaches the reader, which then ends tar.
    const output = new PassThrough();
    pipeline(stream, here, output).catch((error: Error) => output.destroy(error));
    return {command: undefined, stream: output};
  }
  throw new UserError(
    `${name} is compressed with ${codec}, and ${host.name} has no ${codec} program.`,
    `Install it in an earlier step: sudo apt-get install --yes ${codec}`,
  );
}

/** What Node.js can decompress by itself. */
const inProcess: Partial<Record<Codec, () => Transform>> = {
  gzip: createGunzip,
  zstd: createZstdDecompress,
};

async function copyManifest({backup, target, host}: Extraction, name: string): Promise<void> {
  const recorded = backup.metadata?.files.find((file) => file.name === name);
  const chunks: Buffer[] = [];
  for await (const chunk of readVerified(backup.directory, name, recorded)) chunks.push(chunk);
  await host.writeText(`${target.dataDirectory}/${name}`, Buffer.concat(chunks).toString('utf8'));
}

async function copyPlain(extraction: Extraction): Promise<TablespaceDirectories> {
  const {backup, target, host, runner} = extraction;
  const {directory} = backup;
  const tablespaces = await plainTablespaces(directory);
  await verifyFiles(directory, backup.metadata?.files ?? []);
  await copy(runner, tarOfData(directory, tablespaces.keys()), {host, directory: target.dataDirectory});
  await refuseStrangeFiles(host, target.dataDirectory, new Map());
  const directories = new Map<string, string>();
  for (const [oid, from] of tablespaces) {
    const to = await tablespaceDirectory(extraction, oid, from);
    await host.makeDirectory(to);
    await copy(runner, tarOfTablespace(from), {host, directory: to});
    directories.set(oid, to);
  }
  return directories;
}

async function copy(from: Host, command: Command, to: {host: Host; directory: string}): Promise<void> {
  const stream = new PassThrough();
  const reading = from.run(command, {stdout: stream});
  // The reader must not wait for more when the writer failed.
  reading.catch((error: Error) => stream.destroy(error));
  const writing = to.host.run(untar(to.directory, undefined), {stdin: stream});
  await settleAll([writing, reading]).catch((error: unknown) => {
    throw tarFailure('the data directory', error, to.directory);
  });
}

/** The source's links lead to paths of the source; the live tablespace may still be there. */
async function removeLinks(host: Host, directory: string): Promise<void> {
  if ((await host.look(directory)) === 'absent')
    throw damaged('pg_tblspc', 'this directory is missing in base.tar');
  await host.run({
    program: 'find',
    args: [directory, '-mindepth', '1', '-maxdepth', '1', '-type', 'l', '-exec', 'rm', '{}', '+'],
  });
}

async function linkTablespace({target, host}: Extraction, oid: string, path: string): Promise<void> {
  await host.run({program: 'ln', args: ['-s', '-T', path, inPlace(target.dataDirectory, oid)]});
}

/** Runs jobs side by side, `width` at a time, results in order. */
async function inTurn<T>(jobs: readonly (() => Promise<T>)[], width: number): Promise<T[]> {
  const results: T[] = [];
  const queue = jobs.entries();
  let failed = false;
  const work = async () => {
    for (const [index, job] of queue) {
      if (failed) return;
      results[index] = await job().catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  await settleAll(Array.from({length: width}, work));
  return results;
}

/** Waits for all, also when one fails, so that nothing still writes while a failed restore is removed. */
async function settleAll<T extends readonly unknown[]>(
  promises: readonly [...{[K in keyof T]: Promise<T[K]>}],
): Promise<T> {
  await Promise.allSettled(promises);
  return (await Promise.all(promises)) as unknown as T;
}
