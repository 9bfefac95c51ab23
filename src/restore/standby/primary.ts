import type {Metadata} from '../../backup-set/metadata.js';
import {UserError} from '../../errors.js';
import {CommandError, type Host} from '../../host/host.js';
import {info} from '../../log.js';
import {type Connection, nameOf} from '../../postgres/connection.js';
import {type Conninfo, formatConninfo} from '../../postgres/conninfo.js';
import {explain} from '../../postgres/failures.js';
import type {Installer} from '../../postgres/install.js';
import {placeConninfo} from '../../postgres/placed-conninfo.js';
import {findPsql, findServerPrograms, type Programs, pathOf} from '../../postgres/programs.js';
import {bareOptions} from '../../postgres/psql.js';
import {majorOf} from '../../postgres/version.js';
import type {RestoreRequest} from '../request.js';

/** The server that a standby follows, a primary or itself a standby, as it was before anything was extracted. */
export interface Primary {
  readonly connection: Connection;
  /** For messages: `replicator@db.example:5432`. */
  readonly name: string;
  /** A 64-bit number, as text. */
  readonly systemIdentifier: string;
  readonly major: number;
  readonly timeline: number;
  /** Undefined where the role may not log in for SQL. */
  readonly bootstrapSuperuser?: string;
}

/** Where a client asks the primary from: the host that the standby will run on, with that server's own parameters. */
export interface PrimaryAccess {
  readonly host: Host;
  readonly programs: Programs;
  readonly conninfo: Conninfo;
}

/** What is asked before anything is extracted. */
interface Asked {
  readonly host: Host;
  readonly metadata?: Metadata;
  /** Gets programs that the host lacks. */
  readonly installer?: Installer;
}

/**
 * Asks the primary of a standby what it is, as the standby will reach it; undefined when none is asked for. Throws a
 * UserError with the cure when it does not answer, is another system or major version, or the slot cannot be used.
 */
export async function meetPrimary(
  {primary: connection, slot, pgVersion, dryRun}: RestoreRequest,
  {host, metadata, installer}: Asked,
): Promise<Primary | undefined> {
  if (connection === undefined) return undefined;
  const acquisition = {wanted: pgVersion, dryRun, ...(installer && {installer})};
  const programs = metadata
    ? await findServerPrograms(host, majorOf(metadata.serverVersionNumber), acquisition)
    : await findPsql(host);
  if (programs.isToBeInstalled) {
    info('The primary is not asked by this dry run, because psql is not installed yet.');
    return undefined;
  }
  const directory = await host.makeTemporaryDirectory(host.scratchDirectory);
  try {
    const conninfo = await placeConninfo(connection, {host, directory, major: programs.major});
    const access = {host, programs, conninfo};
    const primary = await ask(access, connection);
    if (metadata) requireFit(primary, metadata);
    if (slot !== undefined) await requireSlot(slot, primary, access);
    info(`Primary: ${primary.name}, timeline ${primary.timeline}, asked from ${host.name}`);
    return primary;
  } finally {
    await host.remove(directory);
  }
}

async function ask(access: PrimaryAccess, connection: Connection): Promise<Primary> {
  const name = nameOf(connection);
  const commands = ['IDENTIFY_SYSTEM', 'SHOW server_version_num'];
  const [system, version] = await askByReplication(access, commands).catch((error: unknown) => {
    throw refusal(`${name}, asked from ${access.host.name}, accepts no standby`, error, connection);
  });
  const [systemIdentifier = '', timeline] = system ?? [];
  const [superuser] = (await askBySql(access, 'select rolname from pg_roles where oid = 10')) ?? [];
  return {
    connection,
    name,
    systemIdentifier,
    major: majorOf(Number(version?.[0])),
    timeline: Number(timeline),
    ...(superuser?.[0] && {bootstrapSuperuser: superuser[0]}),
  };
}

/** Up to where the primary has written its WAL by now. Throws a UserError when it does not answer. */
export async function positionOf({connection, name}: Primary, access: PrimaryAccess): Promise<string> {
  const rows = await askByReplication(access, ['IDENTIFY_SYSTEM']).catch((error: unknown) => {
    throw refusal(`${name} does not answer any more`, error, connection);
  });
  return rows[0]?.[2] ?? '0/0';
}

/** psql tells of a connection in several lines: those that say why count. */
function refusal(what: string, thrown: unknown, connection: Connection): unknown {
  if (!(thrown instanceof CommandError)) return thrown;
  const lines = thrown.stderr.split('\n').map((line) => line.replace(/^psql: error: /, ''));
  const reasons = lines.filter((line) => /failed: /.test(line));
  return explain(what, reasons.length > 0 ? new Error(reasons.join('\n')) : thrown, connection);
}

/** Commands of the walsender (PostgreSQL manual, "Streaming Replication Protocol"), each with one row. */
function askByReplication(
  access: PrimaryAccess,
  commands: readonly string[],
): Promise<readonly (readonly string[])[]> {
  return runPsql(access, {replication: 'true'}, commands);
}

/** Rows of a statement, or undefined where the role has no SQL session: a standby needs none. */
async function askBySql(
  access: PrimaryAccess,
  statement: string,
): Promise<readonly (readonly string[])[] | undefined> {
  try {
    return await runPsql(access, {dbname: access.conninfo.dbname ?? 'postgres'}, [statement]);
  } catch (error) {
    if (error instanceof CommandError) return undefined;
    throw error;
  }
}

async function runPsql(
  {host, programs, conninfo}: PrimaryAccess,
  more: Conninfo,
  commands: readonly string[],
): Promise<readonly (readonly string[])[]> {
  const args = [
    ...bareOptions,
    `--dbname=${formatConninfo({...conninfo, ...more})}`,
    ...commands.map((command) => `--command=${command}`),
  ];
  const {stdout} = await host.run({program: pathOf(programs, 'psql'), args});
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => line.split('|'));
}

/** Refuses a primary that the backup is no copy of. Throws a UserError. */
export function requireSameSystem({name, systemIdentifier}: Primary, ofBackup: string | undefined): void {
  if (ofBackup === undefined || ofBackup === systemIdentifier) return;
  throw new UserError(
    `The backup is of system ${ofBackup}, and ${name} is system ${systemIdentifier}: a standby can follow only the cluster that it is a copy of.`,
    'Check host and port, or choose a backup of that server by backup-name.',
  );
}

/** Refuses a primary that a backup with these metadata cannot follow. Throws a UserError. */
export function requireFit(
  primary: Primary,
  {
    systemIdentifier,
    serverVersionNumber,
    timeline,
  }: Pick<Metadata, 'systemIdentifier' | 'serverVersionNumber' | 'timeline'>,
): void {
  requireSameSystem(primary, systemIdentifier);
  const {name, major} = primary;
  if (major !== majorOf(serverVersionNumber)) {
    throw new UserError(
      `The backup is of PostgreSQL ${majorOf(serverVersionNumber)}, and ${name} is of ${major}: a standby has its primary's major version.`,
      'Take a new backup of that server.',
    );
  }
  if (primary.timeline < timeline) {
    throw new UserError(
      `The backup is of timeline ${timeline}, and ${name} is on timeline ${primary.timeline}: it is not, or no longer, what the backup is a copy of.`,
      'Set host and port to the server that was promoted, or take a new backup of this one.',
    );
  }
}

async function requireSlot(slot: string, primary: Primary, access: PrimaryAccess): Promise<void> {
  const statement = `select slot_type, coalesce(active_pid, 0), wal_status from pg_replication_slots where slot_name = '${slot}'`;
  const rows = (await askBySql(access, statement)) ?? (await readSlot(slot, primary, access));
  // Before 15 nobody but an SQL session tells; the standby's log will.
  if (rows === undefined) return;
  const [type = '', pid = '0', status] = rows[0] ?? [];
  const problem = problemOfSlot(slot, {type, pid, isLost: status === 'lost'});
  if (problem === undefined) return;
  const [what, cure] = problem;
  throw new UserError(`Replication slot "${slot}" of ${primary.name} ${what}.`, cure);
}

function problemOfSlot(
  slot: string,
  {type, pid, isLost}: {type: string; pid: string; isLost: boolean},
): readonly [what: string, cure: string] | undefined {
  const create = `SELECT pg_create_physical_replication_slot('${slot}', true);`;
  if (type === '') return ['does not exist', `Make it there before the next backup is taken: ${create}`];
  if (type !== 'physical')
    return [
      'is logical, and a standby streams from a physical one',
      'Choose another name for a physical slot, and make it there: SELECT pg_create_physical_replication_slot(…);',
    ];
  if (pid !== '0')
    return [
      `is in use by process ${pid} there`,
      `Give each standby a slot of its own, or end the other: SELECT pg_terminate_backend(${pid});`,
    ];
  if (!isLost) return undefined;
  return [
    'has lost WAL (max_slot_wal_keep_size): nobody can stream from it any more',
    `Make it anew there, and take a new backup: SELECT pg_drop_replication_slot('${slot}'); ${create}`,
  ];
}

/** Without an SQL session; 15 is the first whose walsender tells of a slot, and it does not tell who uses it. */
async function readSlot(
  slot: string,
  {major}: Primary,
  access: PrimaryAccess,
): Promise<readonly (readonly string[])[] | undefined> {
  if (major < 15) return undefined;
  try {
    const [row] = await askByReplication(access, [`READ_REPLICATION_SLOT ${slot}`]);
    return [[row?.[0] ?? '']];
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return /logical replication slot/.test(error.stderr) ? [['logical']] : undefined;
  }
}
