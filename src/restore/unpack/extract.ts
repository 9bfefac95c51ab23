import type {Archive, BackupFiles} from '../../backup-set/archive.js';
import {damaged} from '../../backup-set/digest.js';
import type {Decryption} from '../../backup-set/encryption/decryption.js';
import type {Manifest} from '../../backup-set/manifest.js';
import {manifestName} from '../../backup-set/manifest-text.js';
import {readVerified} from '../../backup-set/source.js';
import {readTablespaceMap, type TablespaceDirectories} from '../../backup-set/tablespace-map.js';
import {tooLarge} from '../../backup-set/tar-end.js';
import {type ArchiveRole, unpackLimit} from '../../backup-set/unpack-limit.js';
import {UserError} from '../../errors.js';
import {isOverLimit} from '../../host/extraction.js';
import {CommandError, type Host} from '../../host/host.js';
import type {FetchedBackup} from '../../store/store.js';
import type {RestoreRequest} from '../request.js';
import type {Target} from '../target.js';
import {copyPlain} from './copy-plain.js';
import {decompressFor} from './decompress.js';
import {refuseStrangeFiles, smallFileBytes} from './examine.js';
import {settleAll} from './settle-all.js';
import {tarFailure} from './tar-failure.js';

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
  /** Opens encrypted files, on the runner. */
  readonly decryption: Decryption;
  /** Where it lies beside the archives: what they may unpack to. */
  readonly manifest: Manifest | undefined;
}

/**
 * Unpacks base, tablespaces and WAL into the target while sizes and SHA-256 are compared with the metadata; no
 * archive is ever unpacked to a file in between. Throws a UserError that names a damaged or missing file.
 */
export async function extract(extraction: Extraction): Promise<TablespaceDirectories> {
  const {files, target, host} = extraction;
  await host.makeDirectory(target.dataDirectory);
  const directories =
    files.kind === 'plain'
      ? await copyPlain({
          ...extraction,
          directory: files.directory,
          placeOf: (oid, from) => tablespaceDirectory(extraction, oid, from),
        })
      : await extractTar(extraction, files);
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
  const extractPart = (archive: Archive, role: ArchiveRole, directory: string) =>
    extractArchive(extraction, archive, {
      directory,
      // Without a manifest, the disk is the limit.
      limitBytes: extraction.manifest && unpackLimit(extraction.manifest, files, role),
    });
  const extractTablespace = async (archive: Archive & {oid: string}) => {
    const path = await tablespaceDirectory(extraction, archive.oid);
    await extractPart(archive, archive, path);
    return [archive.oid, path] as const;
  };
  // Whatever is read or written in the data directory from here on must not follow a link that base brought along.
  const extractBase = async () => {
    await extractPart(files.base, 'base', dataDirectory);
    await removeLinks(host, `${dataDirectory}/pg_tblspc`);
    await refuseStrangeFiles(host, dataDirectory, new Map());
  };
  // Only base's tablespace_map knows a path of the source that the metadata does not tell.
  const known = new Set(backup.metadata?.tablespaces.map(({oid}) => oid));
  const waits = files.tablespaces.some(({oid}) => !known.has(oid));
  if (waits) await extractBase();
  const isInPlace = async ({oid}: {oid: string}) =>
    (await tablespaceDirectory(extraction, oid)) === inPlace(dataDirectory, oid);
  const [inside, outside] = await partition(files.tablespaces, isInPlace);
  const jobs = outside.map((archive) => () => extractTablespace(archive));
  // Base is read beside them.
  const width = Math.max(1, Math.min(host.cores, backup.source.readsAtOnce ?? host.cores) - 1);
  const [directories] = await settleAll([inTurn(jobs, width), waits ? Promise.resolve() : extractBase()]);
  for (const archive of inside) await extractTablespace(archive);
  if (files.wal) await extractPart(files.wal, 'wal', `${dataDirectory}/pg_wal`);
  if (files.manifest) await copyManifest(extraction, files.manifest);
  return new Map(directories);
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
  const source = recorded ?? readTablespaceMap(await readMap(host, target)).get(oid) ?? path;
  if (source !== undefined && !source.startsWith('/')) return inPlace(target.dataDirectory, oid);
  return (source && request.tablespaceMapping.get(source)) ?? `${target.tablespacesDirectory}/${oid}`;
}

const readMap = async (host: Host, {dataDirectory}: Target) =>
  (await host.readText(`${dataDirectory}/tablespace_map`, smallFileBytes)) ?? '';

/**
 * Throws a UserError for a mapping that fits no tablespace, which is a mistake: the files went to another place than
 * the user meant.
 */
export function refuseUnknownMappings({request}: Pick<Extraction, 'request'>, used: readonly string[]): void {
  for (const [from, to] of request.tablespaceMapping) {
    if (used.includes(to)) continue;
    throw new UserError(
      `tablespace-mapping names ${from}, and the backup has no tablespace of that path.`,
      'Write each path as SELECT pg_tablespace_location(oid) FROM pg_tablespace; shows it on the source.',
    );
  }
}

/** Where a tablespace that lies in the data directory is. */
export const inPlace = (dataDirectory: string, oid: string): string => `${dataDirectory}/pg_tblspc/${oid}`;

async function extractArchive(
  {backup, host, runner, decryption}: Extraction,
  archive: Archive,
  {directory, limitBytes}: {directory: string; limitBytes: number | undefined},
): Promise<void> {
  await host.makeDirectory(directory);
  const recorded = backup.metadata?.files.find(({name}) => name === archive.name);
  if (backup.metadata && !recorded) throw damaged(archive.name, 'the metadata does not know it');
  const bytes = decryption.open(archive.name, readVerified(backup.source, archive.name, recorded));
  const {stream, codec} = await decompressFor(archive, bytes, {host, runner, limitBytes});
  try {
    await host.extract(stream, directory, {
      ...(codec !== undefined && {codec}),
      ...(limitBytes !== undefined && {limitBytes}),
    });
  } catch (error) {
    if (error instanceof CommandError && isOverLimit(error)) throw tooLarge(archive.name, limitBytes ?? 0);
    throw tarFailure(archive.name, error, directory);
  }
}

async function copyManifest({backup, target, host, decryption}: Extraction, name: string): Promise<void> {
  const recorded = backup.metadata?.files.find((file) => file.name === name);
  const chunks: Buffer[] = [];
  const stored = readVerified(backup.source, name, recorded);
  for await (const chunk of decryption.open(name, stored)) chunks.push(Buffer.from(chunk));
  await host.writeText(`${target.dataDirectory}/${manifestName}`, Buffer.concat(chunks).toString('utf8'));
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
