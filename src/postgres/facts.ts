import type {Connection} from './connection.js';
import {askReadiness, type Readiness} from './readiness.js';
import {askIfAllowed, isRefusal, openSession, type Row, type Session} from './session.js';

/** A tablespace other than pg_default and pg_global. */
export interface Tablespace {
  readonly oid: string;
  /** Where it is on the source. */
  readonly path: string;
  /** Null where the role could not look. */
  readonly sizeBytes: number | null;
}

/** The locale of a database, and the collation version that its indexes were built with. */
export interface Collation {
  /** The database's; absent in the first metadata files. */
  readonly oid?: string;
  readonly database: string;
  readonly collate: string;
  /** Absent in the first metadata files. */
  readonly ctype?: string;
  /** The C library's, such as `2.36`, or ICU's; null before PostgreSQL 15, and for C and POSIX. */
  readonly version: string | null;
}

/** What a server says of itself before a backup. Null: the role may not look. */
export interface ServerFacts {
  /** `150018` */
  readonly versionNumber: number;
  /** `15.18 (Debian 15.18-0+deb12u1)` */
  readonly version: string;
  /** A 64-bit number, as text. */
  readonly systemIdentifier: string;
  readonly isStandby: boolean | null;
  readonly tablespaces: readonly Tablespace[] | null;
  readonly bootstrapSuperuser: string | null;
  /** The settings that recovery must not undercut, by name. */
  readonly requiredSettings: Readonly<Record<string, string>> | null;
  readonly dataChecksums: boolean | null;
  readonly collations: readonly Collation[] | null;
  /** The version of the C library's collations, such as `2.36`. */
  readonly libcVersion: string | null;
  /** `shared_preload_libraries` */
  readonly preloadLibraries: readonly string[] | null;
  /** Why no SQL session could be had, when that is so. */
  readonly sqlRefusal?: string;
}

/** What a server answers before a backup, as far as it answers. */
export interface Answers {
  /** Over the replication connection that a backup needs; or what node-postgres threw. */
  readonly identity: Identity | {readonly refusal: unknown};
  /** By SQL; or what node-postgres threw. */
  readonly sql: SqlAnswers | {readonly refusal: unknown};
}

/** What a server says by SQL. */
export interface SqlAnswers {
  readonly versionNumber: number;
  readonly facts: SqlFacts;
  readonly readiness: Readiness;
}

/** The facts that SQL alone tells. */
export type SqlFacts = Omit<ServerFacts, keyof Identity>;

/**
 * Asks a server over a replication connection, and by SQL as far as the role may; what it refuses is an answer too.
 * `silenceSeconds` is how long each answer may take.
 */
export async function askServer(connection: Connection, silenceSeconds: number): Promise<Answers> {
  const toRefusal = (refusal: unknown) => ({refusal});
  const [identity, sql] = await Promise.all([
    identify(connection, silenceSeconds).catch(toRefusal),
    askBySql(connection, silenceSeconds).catch(toRefusal),
  ]);
  return {identity, sql};
}

/** What a server says over a replication connection. */
export type Identity = Pick<ServerFacts, 'versionNumber' | 'version' | 'systemIdentifier'>;

/**
 * Opens a replication connection and has the server identify itself; throws what node-postgres throws. `silenceSeconds`
 * is as in `SessionUse`.
 */
export async function identify(connection: Connection, silenceSeconds?: number): Promise<Identity> {
  const use = {kind: 'replication', ...(silenceSeconds && {silenceSeconds})} as const;
  return during(openSession(connection, use), async (session) => {
    const [system] = await session.query('IDENTIFY_SYSTEM');
    const [number] = await session.query('SHOW server_version_num');
    const [version] = await session.query('SHOW server_version');
    return {
      systemIdentifier: String(system?.systemid),
      versionNumber: Number(number?.server_version_num),
      version: String(version?.server_version),
    };
  });
}

/** What is known without SQL. */
export const nothingBySql: SqlFacts = {
  isStandby: null,
  tablespaces: null,
  bootstrapSuperuser: null,
  requiredSettings: null,
  dataChecksums: null,
  collations: null,
  libcVersion: null,
  preloadLibraries: null,
};

async function askBySql(connection: Connection, silenceSeconds: number): Promise<SqlAnswers> {
  return during(openSqlSession(connection, silenceSeconds), async (session) => {
    const ask = (statement: string) => askIfAllowed(session, statement);
    const [server] = await session.query(
      `select current_setting('server_version_num') as version, pg_is_in_recovery() as is_standby, current_setting('data_checksums') = 'on' as checksums,
              (select rolname from pg_roles where oid = 10) as superuser`,
    );
    const settings = await ask(
      `select name, setting from pg_settings where name = any('{${requiredNames.join()}}')`,
    );
    const tablespaces = await ask(
      `select oid::text, pg_tablespace_location(oid) as path,
              case when pg_has_role('pg_read_all_stats', 'member') or has_tablespace_privilege(oid, 'create')
                   then pg_tablespace_size(oid) end as size
         from pg_tablespace where spcname not in ('pg_default', 'pg_global') order by oid`,
    );
    const collations = await ask(
      `select oid::text, datname, datcollate, datctype, to_jsonb(d) ->> 'datcollversion' as version
         from pg_database d order by datname`,
    );
    const libc = await ask(
      `select max(pg_collation_actual_version(oid)) as version from pg_collation where collprovider = 'c'`,
    );
    const preload = await ask(`select current_setting('shared_preload_libraries') as libraries`);
    const facts = {
      isStandby: Boolean(server?.is_standby),
      dataChecksums: Boolean(server?.checksums),
      bootstrapSuperuser: server?.superuser == null ? null : String(server.superuser),
      requiredSettings:
        settings && Object.fromEntries(settings.map(({name, setting}) => [String(name), String(setting)])),
      tablespaces: tablespaces?.map(toTablespace) ?? null,
      collations: collations?.map(toCollation) ?? null,
      libcVersion: textOf(libc?.[0]?.version),
      preloadLibraries: preload && listOf(String(preload[0]?.libraries ?? '')),
    };
    const readiness = await askReadiness(session);
    return {versionNumber: Number(server?.version), facts, readiness};
  });
}

/** PostgreSQL manual, "Hot Standby", "Administrator's Overview": recovery stops where one of these is lower. */
const requiredNames = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
];

const toTablespace = ({oid, path, size}: Row): Tablespace => ({
  oid: String(oid),
  path: String(path),
  sizeBytes: size == null ? null : Number(size),
});

const textOf = (value: unknown) => (value == null ? null : String(value));

/** The items of a setting such as `shared_preload_libraries`, which may be quoted one by one. */
const listOf = (text: string) =>
  text
    .split(',')
    .map((item) => item.trim().replaceAll('"', ''))
    .filter((item) => item !== '');

const toCollation = ({oid, datname, datcollate, datctype, version}: Row): Collation => ({
  oid: String(oid),
  database: String(datname),
  collate: String(datcollate),
  ctype: String(datctype),
  version: textOf(version),
});

/** Without a database, in `postgres`; a role that is kept out of it may have one of its own name, libpq's default. */
async function openSqlSession(connection: Connection, silenceSeconds: number): Promise<Session> {
  const {parameters} = connection;
  const use = {kind: 'sql', silenceSeconds} as const;
  try {
    return await openSession({...connection, parameters: {dbname: 'postgres', ...parameters}}, use);
  } catch (error) {
    // Each try with a wrong password counts for a server that locks accounts.
    const isKeptOut = isRefusal(error) && !/authentication failed/.test(error.message);
    if (parameters.dbname !== undefined || !isKeptOut) throw error;
    return openSession(connection, use).catch(() => {
      throw error;
    });
  }
}

async function during<T>(opening: Promise<Session>, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await opening;
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}
