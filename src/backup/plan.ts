import {join} from 'node:path';
import {UserError} from '../errors.js';
import type {Command, Host} from '../host/host.js';
import {info} from '../log.js';
import type {ServerFacts} from '../postgres/facts.js';
import type {Programs} from '../postgres/programs.js';
import {majorOf} from '../postgres/version.js';
import {type ChosenCompression, chooseCompression, formatCompression} from './compression.js';
import type {BackupRequest} from './request.js';

/** Everything that is decided before the first byte is copied. */
export interface BackupPlan {
  readonly request: BackupRequest;
  readonly server: ServerFacts;
  readonly programs: Programs;
  readonly compression: ChosenCompression;
  readonly partialDirectory: string;
  readonly finalDirectory: string;
  /** Every tablespace of a plain backup, old path to new; empty in tar format. */
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  /** Where tablespaces of a plain backup go that the user did not map. */
  readonly tablespacesDirectory: string;
  readonly warnings: readonly string[];
}

/** Decides how to take a backup. Throws a UserError when request, client and server do not fit together. */
export async function planBackup(
  request: BackupRequest,
  {host, server, programs}: {host: Host; server: ServerFacts; programs: Programs},
): Promise<BackupPlan> {
  refuseSystemRoots(request, programs);
  const finalDirectory = join(request.directory, request.name);
  const tablespacesDirectory = `${finalDirectory}_tablespaces`;
  const tablespaceMapping =
    request.format === 'plain'
      ? mapTablespaces(request, server, tablespacesDirectory)
      : new Map<string, string>();
  const beside = ['', '.partial', '.packed', '.json', '.json.partial', '_tablespaces'];
  const targets = [...beside.map((end) => `${finalDirectory}${end}`), ...tablespaceMapping.values()];
  await refuseTaken(host, targets);
  return {
    request,
    server,
    programs,
    compression: await chooseCompression(request, {
      host,
      programs,
      serverMajor: majorOf(server.versionNumber),
    }),
    partialDirectory: `${finalDirectory}.partial`,
    finalDirectory,
    tablespaceMapping,
    tablespacesDirectory,
    warnings: warningsOf(request, server),
  };
}

/** Older versions take `system` for the name of a file (PostgreSQL 16 release notes). */
function refuseSystemRoots({connection}: BackupRequest, programs: Programs): void {
  if (connection.parameters.sslrootcert !== 'system' || programs.major >= 16) return;
  throw new UserError(
    `sslrootcert: system needs a pg_basebackup of PostgreSQL 16 or newer; ${programs.version} was found.`,
    'Set sslrootcert: /etc/ssl/certs/ca-certificates.crt',
  );
}

async function refuseTaken(host: Host, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (['absent', 'empty-directory'].includes(await host.look(path))) continue;
    throw new UserError(
      `${path} exists already and is not empty, and nothing is overwritten.`,
      'Choose another backup-name or directory, or remove it in an earlier step.',
    );
  }
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

function warningsOf({walMethod}: BackupRequest, server: ServerFacts): readonly string[] {
  const warnings: string[] = [];
  if (walMethod === 'none') {
    warnings.push(
      'wal-method: none leaves the WAL out: this backup restores only together with an archive that holds it.',
    );
  }
  if (server.sqlRefusal !== undefined) {
    warnings.push(
      `No SQL session, so the metadata lacks tablespaces, settings and collations: ${server.sqlRefusal}`,
    );
  }
  return warnings;
}

/** Prints what is going to happen. */
export function showPlan({request, server, programs, ...plan}: BackupPlan): void {
  const role = server.isStandby === null ? '' : server.isStandby ? ', a standby' : ', a primary';
  info(`Server: PostgreSQL ${server.version}${role}, system ${server.systemIdentifier}`);
  info(`Client: ${programs.version} in ${programs.directory}`);
  info(
    `Backup: ${request.name}, format ${request.format}, WAL ${request.walMethod}, compression ${formatCompression(plan.compression)}`,
  );
  info(`Into:   ${plan.finalDirectory}`);
  for (const [from, to] of plan.tablespaceMapping) info(`Tablespace ${from} into ${to}`);
}

/** The commands that compress finished archives on all cores, where pg_basebackup's one thread would not. */
export async function compressAfterwards(plan: BackupPlan, host: Host): Promise<readonly Command[]> {
  if (plan.compression.method !== 'pigz') return [];
  const archives = (await host.list(plan.partialDirectory)).filter((name) => name.endsWith('.tar'));
  return archives.map((name) => ({
    program: 'pigz',
    args: ['--processes', String(host.cores), join(plan.partialDirectory, name)],
  }));
}
