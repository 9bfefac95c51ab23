import {dirname, join} from 'node:path';
import type {Encryption} from '../backup-set/encryption/encryption.js';
import {UserError} from '../errors.js';
import {type Command, CommandError, type Host, shell} from '../host/host.js';
import {info} from '../log.js';
import type {ServerFacts} from '../postgres/facts.js';
import type {Client} from '../postgres/programs.js';
import {majorOf} from '../postgres/version.js';
import {type ChosenCompression, chooseCompression, formatCompression} from './compression.js';
import {describeKeys} from './encrypt.js';
import {describeParent, type Parent} from './parent.js';
import type {BackupRequest} from './request.js';
import {chooseWindow} from './window.js';

/** Everything that is decided before the first byte is copied. */
export interface BackupPlan {
  readonly request: BackupRequest;
  readonly server: ServerFacts;
  readonly client: Client;
  readonly compression: ChosenCompression;
  /** Undefined: the backup is not encrypted. */
  readonly encryption?: Encryption;
  /** What an incremental backup builds on; undefined: it is a full one. */
  readonly parent?: Parent;
  readonly partialDirectory: string;
  readonly finalDirectory: string;
  /** Every tablespace of a plain backup, old path to new; empty in tar format. */
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  /** Whether the files are stored while pg_basebackup writes them, and do not stay on this machine. */
  readonly isStreamed: boolean;
  /** No file of the backup will be larger. */
  readonly mostBytes: number;
  /** Where tablespaces of a plain backup go that the user did not map. */
  readonly tablespacesDirectory: string;
}

/** What a plan is made from, besides the request. */
interface Planning {
  readonly runner: Host;
  readonly server: ServerFacts;
  readonly client: Client;
  readonly encryption: Encryption | undefined;
  readonly parent: Parent | undefined;
  /** Whether store and runner could do it while the backup is taken. */
  readonly mayStream: boolean;
  /** Bytes of all databases; null where the role may not ask. */
  readonly dataBytes: number | null;
}

/** Decides how to take a backup. Throws a UserError when request, client and server do not fit together. */
export async function planBackup(
  request: BackupRequest,
  {runner, server, client, encryption, parent, mayStream, dataBytes}: Planning,
): Promise<BackupPlan> {
  refuseSystemRoots(client);
  const finalDirectory = join(request.directory, request.name);
  const tablespacesDirectory = `${finalDirectory}_tablespaces`;
  const tablespaceMapping =
    request.format === 'plain'
      ? mapTablespaces(request, server, tablespacesDirectory)
      : new Map<string, string>();
  const onDisk = `${finalDirectory}.partial`;
  if (!['absent', 'empty-directory'].includes(await runner.look(onDisk))) throw beingTaken(onDisk);
  const beside = ['', '.packed', '.parts', '.json', '.json.partial', '_tablespaces'].map(
    (end) => finalDirectory + end,
  );
  await refuseTaken(runner, [...beside, ...tablespaceMapping.values()]);
  if (client.host !== runner) refuseRemotePaths(request, client, tablespaceMapping);
  // A file in a container cannot be read from here while it grows.
  const isStreamed = mayStream && client.host === runner;
  const isEncrypted = encryption !== undefined;
  const serverMajor = majorOf(server.versionNumber);
  const [, compression] = await Promise.all([
    requireWritable(runner, request.directory),
    chooseCompression(request, {runner, client, serverMajor, isStreamed}),
  ]);
  const partialDirectory = isStreamed ? await chooseWindow(runner, {onDisk, isEncrypted}) : onDisk;
  return {
    request,
    server,
    client,
    compression,
    ...(encryption && {encryption}),
    ...(parent && {parent}),
    isStreamed,
    mostBytes: mostBytesOf(dataBytes),
    partialDirectory,
    finalDirectory,
    tablespaceMapping,
    tablespacesDirectory,
  };
}

/** Headers, padding, WAL, and what is written meanwhile come on top. */
const mostBytesOf = (dataBytes: number | null) => (dataBytes === null ? 2 ** 40 : dataBytes * 1.5 + 2 ** 34);

/** Older versions take `system` for the name of a file (PostgreSQL 16 release notes). */
function refuseSystemRoots({connection, programs}: Client): void {
  if (connection.parameters.sslrootcert !== 'system' || programs.major >= 16) return;
  throw new UserError(
    `sslrootcert: system needs a pg_basebackup of PostgreSQL 16 or newer; ${programs.version} was found.`,
    'Set sslrootcert: /etc/ssl/certs/ca-certificates.crt',
  );
}

/** What the client writes in a container must not tell of paths and addresses that mean something only there. */
function refuseRemotePaths(
  {writeRecoveryConf}: BackupRequest,
  {host, programs}: Client,
  tablespaceMapping: ReadonlyMap<string, string>,
): void {
  const wanted =
    tablespaceMapping.size > 0
      ? 'format: plain with tablespaces'
      : writeRecoveryConf
        ? 'write-recovery-conf'
        : undefined;
  if (wanted === undefined) return;
  throw new UserError(
    `${wanted} needs pg_basebackup on the runner, and the one that fits is ${programs.version} in ${host.name}.`,
    `Use format: tar without write-recovery-conf, or install on the runner: sudo apt-get install --yes postgresql-client-${programs.major}`,
  );
}

/** The directory itself is made later; its nearest parent that is there has to take it. */
async function requireWritable(host: Host, directory: string): Promise<void> {
  let parent = directory;
  let kind = await host.look(parent);
  while (kind === 'absent') {
    parent = dirname(parent);
    kind = await host.look(parent);
  }
  const cure = 'Set directory to a path that the step may write to.';
  if (!kind.endsWith('directory'))
    throw new UserError(`directory ${directory} cannot be made: ${parent} is not a directory.`, cure);
  try {
    await host.run(shell('[ -w "$1" ] && [ -x "$1" ]', [parent]));
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    const message = `directory ${directory} cannot be written: ${host.user} may not write in ${parent}.`;
    throw new UserError(message, cure);
  }
}

/** Throws a UserError when there is anything at one of the paths but an empty directory: nothing is overwritten. */
export async function refuseTaken(host: Host, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (['absent', 'empty-directory'].includes(await host.look(path))) continue;
    throw new UserError(
      `${path} exists already and is not empty, and nothing is overwritten.`,
      'Choose another backup-name or directory, or remove it in an earlier step.',
    );
  }
}

/** The refusal of a backup whose partial directory is there. */
export function beingTaken(partialDirectory: string): UserError {
  return new UserError(
    `${partialDirectory} exists: another backup of this name is being taken, or one was killed.`,
    `Put the time into backup-name (basebackup-%Y%m%d-%H%M%S). If no other is being taken: rm -r '${partialDirectory}'`,
  );
}

/** Unmapped, pg_basebackup would write a tablespace to the path that it has on the server. */
function mapTablespaces(
  request: BackupRequest,
  server: ServerFacts,
  directory: string,
): ReadonlyMap<string, string> {
  const mapping = new Map(request.tablespaceMapping);
  if (server.tablespaces === null) {
    throw new UserError(
      `format: plain needs to know the server's tablespaces, and the role could not ask: ${server.sqlRefusal ?? 'permission denied'}`,
      'Let the role connect by SQL too (database, pg_hba.conf), or use format: tar.',
    );
  }
  for (const {oid, path} of server.tablespaces) {
    if (path.startsWith('/') && !mapping.has(path)) mapping.set(path, join(directory, oid));
  }
  return mapping;
}

/** Prints what is going to happen. */
export function showPlan({request, server, client, ...plan}: BackupPlan): void {
  const role = server.isStandby === null ? '' : server.isStandby ? ', a standby' : ', a primary';
  info(`Server: PostgreSQL ${server.version}${role}, system ${server.systemIdentifier}`);
  info(`Client: ${client.programs.version} in ${client.programs.directory} on ${client.host.name}`);
  info(
    `Backup: ${request.name}, format ${request.format}, WAL ${request.walMethod}, compression ${formatCompression(plan.compression)}`,
  );
  if (plan.parent) info(`Incremental: ${describeParent(plan.parent)}`);
  if (plan.encryption) info(`Encrypted for ${describeKeys(plan.encryption)} by ${plan.encryption.by}`);
  info(
    `Into:   ${plan.isStreamed ? `the storage, while it is taken, by way of ${plan.partialDirectory}` : plan.finalDirectory}`,
  );
  if (plan.encryption) return;
  for (const [from, to] of plan.tablespaceMapping) info(`Tablespace ${from} into ${to}`);
}

/** The commands that compress finished archives on all cores, where pg_basebackup's one thread would not. */
export async function compressAfterwards(plan: BackupPlan, runner: Host): Promise<readonly Command[]> {
  if (plan.compression.method !== 'pigz') return [];
  const archives = (await runner.list(plan.partialDirectory)).filter((name) => name.endsWith('.tar'));
  return archives.map((name) => ({
    program: 'pigz',
    args: ['--processes', String(runner.cores), join(plan.partialDirectory, name)],
  }));
}
