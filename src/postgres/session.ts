import {readFileSync} from 'node:fs';
import {type ConnectionOptions, getCACertificates} from 'node:tls';
import pg from 'pg';
import {messageOf} from '../errors.js';
import {type Connection, hostOf, userOf} from './connection.js';

/** One row of a result: column name to value; numbers of 64 bits arrive as text. */
export type Row = Readonly<Record<string, unknown>>;

/** An open connection to a server. */
export interface Session {
  /** Runs one statement; values replace $1, $2, … (not on a replication session). */
  query(statement: string, values?: readonly unknown[]): Promise<readonly Row[]>;
  close(): Promise<void>;
}

/** `sql` for statements, `replication` for the walsender's commands such as IDENTIFY_SYSTEM. */
export type SessionKind = 'sql' | 'replication';

/**
 * Opens a session with libpq's meaning of `sslmode` (node-postgres has none of its own: `prefer` and `allow` try
 * both ways). Throws what node-postgres throws; `explain` in failures.ts knows the cure.
 */
export async function openSession(connection: Connection, kind: SessionKind): Promise<Session> {
  const [first, second] = tlsAttempts(connection);
  try {
    return await connect(connection, kind, first);
  } catch (error) {
    // A wrong password (28P01) is wrong both ways, and each try counts for a server that locks accounts.
    if (second === undefined || (error instanceof pg.DatabaseError && error.code === '28P01')) throw error;
    return connect(connection, kind, second).catch((later: unknown) => {
      // pg_hba.conf lets in one way only: the failure of that way is the one to tell.
      throw /no encryption|SSL off/.test(messageOf(later)) && !/not support SSL/.test(messageOf(error))
        ? error
        : later;
    });
  }
}

async function connect(
  connection: Connection,
  kind: SessionKind,
  ssl: ConnectionOptions | false,
): Promise<Session> {
  const {parameters, password} = connection;
  const settings = {
    host: hostOf(connection),
    port: Number(parameters.port ?? 5432),
    user: userOf(connection),
    database: parameters.dbname ?? userOf(connection),
    application_name: parameters.application_name,
    ssl,
    connectionTimeoutMillis: Number(parameters.connect_timeout ?? 30) * 1000,
    keepAlive: true,
    ...(password !== undefined && {password}),
    // node-postgres passes it on in the startup packet, but its types do not know it.
    ...(kind === 'replication' && {replication: 'true'}),
  };
  const client = new pg.Client(settings);
  // A connection that is lost while idle is told by the next query; without a listener it would end the process.
  client.on('error', () => undefined);
  await client.connect();
  return {
    async query(statement, values) {
      const {rows} = await client.query<Record<string, unknown>>(statement, values && [...values]);
      return rows;
    },
    close: () => client.end(),
  };
}

/** The TLS settings to try, in libpq's order (PostgreSQL manual, "SSL Mode Descriptions"). */
function tlsAttempts(
  connection: Connection,
): readonly [ConnectionOptions | false, (ConnectionOptions | false)?] {
  const {parameters, environment} = connection;
  if (hostOf(connection).startsWith('/')) return [false];
  const tls = (verify: 'no' | 'chain' | 'host'): ConnectionOptions => ({
    rejectUnauthorized: verify !== 'no',
    ...certificates(parameters, environment),
    ...(verify !== 'host' && {checkServerIdentity: () => undefined}),
  });
  const rootCertificate = parameters.sslrootcert ?? '';
  switch (parameters.sslmode ?? (rootCertificate === 'system' ? 'verify-full' : 'prefer')) {
    case 'disable':
      return [false];
    case 'allow':
      return [false, tls('no')];
    case 'require':
      return [tls(rootCertificate ? 'chain' : 'no')];
    case 'verify-ca':
      return [tls('chain')];
    case 'verify-full':
      return [tls('host')];
    default:
      return [tls('no'), false];
  }
}

function certificates(
  parameters: Connection['parameters'],
  environment: Connection['environment'],
): ConnectionOptions {
  if (parameters.sslrootcert === 'system') return {ca: getCACertificates('system')};
  const file = (keyword: string, variable: string) => {
    const path = parameters[keyword] ?? environment[variable];
    return path && path !== 'system' ? readFileSync(path, 'utf8') : undefined;
  };
  const [ca, cert, key] = [
    file('sslrootcert', 'PGSSLROOTCERT'),
    file('sslcert', 'PGSSLCERT'),
    file('sslkey', 'PGSSLKEY'),
  ];
  return {...(ca && {ca}), ...(cert && {cert}), ...(key && {key})};
}
