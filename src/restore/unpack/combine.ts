import {mkdtemp, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {recognise} from '../../backup-set/archive.js';
import type {Metadata} from '../../backup-set/metadata.js';
import {readTablespaceMap, type TablespaceDirectories} from '../../backup-set/tablespace-map.js';
import {messageOf, UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import {info} from '../../log.js';
import {findServerPrograms, type Programs, pathOf} from '../../postgres/programs.js';
import {majorOf} from '../../postgres/version.js';
import type {ChainMember} from '../../store/chain.js';
import {suspecting} from '../../store/damage.js';
import {readManifestOf} from '../recovery/recovery-plan.js';
import {checkSpace, type Target, unpackedBytes} from '../target.js';
import {smallFileBytes} from './examine.js';
import {type Extraction, extract, inPlace, refuseUnknownMappings} from './extract.js';
import {fetchBackup} from './fetch.js';
import type {Unpacking} from './unpack.js';
import {verifyManifest} from './verify-manifest.js';

/** A member of a chain as it lies unpacked beside the target. */
interface Staged {
  readonly name: string;
  readonly dataDirectory: string;
  readonly directories: TablespaceDirectories;
}

/**
 * Makes one data directory of an incremental backup and all that it builds on: each is fetched, unpacked beside the
 * target and compared with its own manifest, and pg_combinebackup does the rest. It has to be of the backup's major
 * version, because each reads its own pg_control alone (pg_combinebackup.c, check_control_files). Returns where the
 * tablespaces went. Throws a UserError that names the backup that is damaged.
 */
export async function combineChain(newest: Extraction, unpacking: Unpacking): Promise<TablespaceDirectories> {
  const {backup, host, target} = newest;
  const {parents} = unpacking;
  if (!backup.metadata) throw new Error('A backup without metadata has no chain.');
  await checkSpace(target, host, unpackedBytes([...parents.map(({metadata}) => metadata), backup.metadata]));
  const programs = await findPrograms(backup.metadata, unpacking);
  const root = `${target.configDirectory}/chain`;
  await host.makeDirectory(root);
  const staged: Staged[] = [];
  const stage = async (extraction: Extraction) => {
    const directory = `${root}/${staged.length + 1}`;
    staged.push(await stageMember(extraction, {directory, programs}));
  };
  for (const parent of parents)
    await suspecting(parent, () => withFetched(parent, unpacking, (part) => stage({...newest, ...part})));
  await stage(newest);
  const directories = await placeTablespaces(newest, staged.at(-1));
  await combine(staged, {newest, programs, directories});
  await host.remove(root);
  return directories;
}

function findPrograms(
  {serverVersionNumber}: Metadata,
  {host, request, installer}: Unpacking,
): Promise<Programs> {
  return findServerPrograms(host, majorOf(serverVersionNumber), {
    wanted: request.pgVersion,
    dryRun: false,
    ...(installer && {installer}),
  });
}

type Part = Pick<Extraction, 'backup' | 'files' | 'manifest'>;

/** One after the other, so that no more than one of them is here as archives. */
async function withFetched(
  parent: ChainMember,
  {claim, decryption, request}: Unpacking,
  work: (part: Part) => Promise<void>,
): Promise<void> {
  const scratch = await mkdtemp(join(claim.directory, 'fetch-'));
  try {
    const backup = await fetchBackup(parent, request, scratch);
    const manifest = await readManifestOf(backup.source, decryption);
    const files = await recognise(backup.source, decryption);
    if (files.kind === 'plain') return await work({backup, files, manifest});
    // Recovery reads the newest backup's own WAL alone.
    const {wal: _, ...withoutWal} = files;
    await work({backup, files: withoutWal, manifest});
  } finally {
    await rm(scratch, {recursive: true, force: true, maxRetries: 3});
  }
}

async function stageMember(
  extraction: Extraction,
  {directory, programs}: {readonly directory: string; readonly programs: Programs},
): Promise<Staged> {
  const {backup, host, request, manifest} = extraction;
  const {name} = backup;
  const begin = performance.now();
  const dataDirectory = `${directory}/data`;
  const target: Target = {
    dataDirectory,
    tablespacesDirectory: `${directory}/tablespaces`,
    configDirectory: directory,
    all: [],
    found: [],
  };
  const unmapped = {...request, tablespaceMapping: new Map<string, string>()};
  try {
    const directories = await extract({...extraction, request: unmapped, target});
    if (request.checks.includes('manifest'))
      await verifyManifest(host, programs, {dataDirectory, hasWal: false, manifest});
    info(`${name}: unpacked in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
    return {name, dataDirectory, directories};
  } catch (cause) {
    if (!(cause instanceof UserError)) throw cause;
    throw new UserError(`Backup ${name} of the chain: ${cause.message}`, cause.cure, {cause});
  }
}

/** Where the tablespaces of the newest backup go: mapped, the default, or in the data directory. */
async function placeTablespaces(
  newest: Extraction,
  staged: Staged | undefined,
): Promise<TablespaceDirectories> {
  const {request, backup, target, host} = newest;
  const {dataDirectory = '', directories = new Map<string, string>()} = staged ?? {};
  const map = readTablespaceMap(
    (await host.readText(`${dataDirectory}/tablespace_map`, smallFileBytes)) ?? '',
  );
  const placed = new Map<string, string>();
  for (const [oid, path] of directories) {
    const recorded = backup.metadata?.tablespaces.find((tablespace) => tablespace.oid === oid)?.path;
    const mapped = request.tablespaceMapping.get(recorded ?? map.get(oid) ?? '');
    const isInside = path === inPlace(dataDirectory, oid);
    const outside = mapped ?? `${target.tablespacesDirectory}/${oid}`;
    placed.set(oid, isInside ? inPlace(target.dataDirectory, oid) : outside);
  }
  refuseUnknownMappings(newest, [...placed.values()]);
  return placed;
}

interface Combination {
  readonly newest: Extraction;
  readonly programs: Programs;
  /** Where the tablespaces go. */
  readonly directories: TablespaceDirectories;
}

async function combine(
  staged: readonly Staged[],
  {newest: {host, target}, programs, directories}: Combination,
): Promise<void> {
  const begin = performance.now();
  const {directories: from = new Map<string, string>(), dataDirectory = ''} = staged.at(-1) ?? {};
  const escaped = (path: string) => path.replaceAll('=', '\\=');
  const mappings = [...from]
    .filter(([oid, path]) => path !== inPlace(dataDirectory, oid))
    .map(([oid, path]) => `--tablespace-mapping=${escaped(path)}=${escaped(directories.get(oid) ?? '')}`);
  const args = [...mappings, `--output=${target.dataDirectory}`, ...staged.map((one) => one.dataDirectory)];
  try {
    await host.run({program: pathOf(programs, 'pg_combinebackup'), args});
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      `The chain ${staged.map(({name}) => name).join(', ')} does not become one backup: ${messageOf(cause)}`,
      'Nothing was started. Restore another backup: a full one, or an older one of the chain.',
      {cause},
    );
  }
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  info(`${staged.length} backups combined in ${seconds} s by ${programs.version}`);
}
