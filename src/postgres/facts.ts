import {messageOf} from '../errors.js';
import type {Connection} from './connection.js';
import {explain} from './failures.js';
import {openSession, type Row, type Session} from './session.js';

/** A tablespace other than pg_default and pg_global. */
export interface Tablespace {
  readonly oid: string;
  /** Where it is on the source. */
  readonly path: string;
  /** Null where the role could not look. */
  readonly sizeBytes: number | null;
}

/** The collation version that a database's indexes were built with (PostgreSQL 15+). */
export interface Collation {
  readonly database: string;
  readonly collate: string;
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
  /** Why no SQL session could be had, when that is so. */
  readonly sqlRefusal?: string;
}

/**
 * Asks a server for its facts: over a replication connection, which a backup needs anyway, and over SQL as far as
 * the role may. Throws a UserError with the cure when there is no replication connection.
 */
export async function gatherFacts(connection: Connection): Promise<ServerFacts> {
  const [identity, sql] = await Promise.all([
    identify(connection).catch((error: unknown) => {
      throw explain('The server accepts no replication connection', error, connection);
    }),
    askBySql(connection).catch((error: unknown) => ({...nothingBySql, sqlRefusal: messageOf(error)})),
  ]);
  return {...identity, ...sql};
}

type Identity = Pick<ServerFacts, 'versionNumber' | 'version' | 'systemIdentifier'>;

async function identify(connection: Connection): Promise<Identity> {
  return during(openSession(connection, 'replication'), async (session) => {
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

const nothingBySql = {
  isStandby: null,
  tablespaces: null,
  bootstrapSuperuser: null,
  requiredSettings: null,
  dataChecksums: null,
  collations: null,
};

async function askBySql(connection: Connection): Promise<Omit<ServerFacts, keyof Identity>> {
  return during(openSqlSession(connection), async (session) => {
    const ask = (statement: string) => session.query(statement).catch(() => null);
    const [server] = await session.query(
      `select pg_is_in_recovery() as is_standby, current_setting('data_checksums') = 'on' as checksums,
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
      `select datname, datcollate, to_jsonb(d) ->> 'datcollversion' as version from pg_database d order by datname`,
    );
    return {
      isStandby: Boolean(server?.is_standby),
      dataChecksums: Boolean(server?.checksums),
      bootstrapSuperuser: server?.superuser == null ? null : String(server.superuser),
      requiredSettings:
        settings && Object.fromEntries(settings.map(({name, setting}) => [String(name), String(setting)])),
      tablespaces: tablespaces?.map(toTablespace) ?? null,
      collations: collations?.map(toCollation) ?? null,
    };
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

const toCollation = ({datname, datcollate, version}: Row): Collation => ({
  database: String(datname),
  collate: String(datcollate),
  version: version == null ? null : String(version),
});

/** A role that has no database of its own name, which is libpq's default, asks in `postgres`. */
async function openSqlSession(connection: Connection): Promise<Session> {
  try {
    return await openSession(connection, 'sql');
  } catch (error) {
    if (connection.parameters.dbname !== undefined) throw error;
    return openSession({...connection, parameters: {...connection.parameters, dbname: 'postgres'}}, 'sql');
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
