import {existsSync, readFileSync} from 'node:fs';
import {Socket} from 'node:net';
import {homedir} from 'node:os';
import {join} from 'node:path';
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

/** How a session is used. */
export interface SessionUse {
  readonly kind: SessionKind;
  /** How long an answer may take; 10 minutes without it. */
  readonly silenceSeconds?: number;
}

/**
 * Opens a session with libpq's meaning of `sslmode` (node-postgres has none of its own: `prefer` and `allow` try
 * both ways). Throws what node-postgres throws; `explain` in failures.ts knows the cure.
 */
export async function openSession(connection: Connection, use: SessionUse): Promise<Session> {
  const [first, second] = tlsAttempts(connection);
  try {
    return await connect(connection, use, first);
  } catch (error) {
    if (second === undefined || isSameBothWays(error)) throw error;
    return connect(connection, use, second).catch((later: unknown) => {
      // pg_hba.conf lets in one way only: the failure of that way is the one to tell.
      throw /no encryption|SSL off/.test(messageOf(later)) && !/not support SSL/.test(messageOf(error))
        ? error
        : later;
    });
  }
}

/**
 * Whether a failure has nothing to do with TLS: a wrong password, which counts again for a server that locks
 * accounts, or silence, which would double the time limit. 28000 is what pg_hba.conf answers, which may tell TLS apart.
 */
function isSameBothWays(error: unknown): boolean {
  return isRefusal(error) ? error.code !== '28000' : isTimeout(error);
}

/** Whether the server itself answered with an error, so that the connection as such is sound. */
export function isRefusal(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError;
}

const isTimeout = (error: unknown) => /timeout expired|ETIMEDOUT/.test(messageOf(error));

/** The rows of a statement, or null where the server refuses it: what the role may not ask is unknown. */
export async function askIfAllowed(session: Session, statement: string): Promise<readonly Row[] | null> {
  return session.query(statement).catch((error: unknown) => {
    if (isRefusal(error)) return null;
    throw error;
  });
}

/** A server that has gone silent must not hold up the end of a session. */
const goodbyeMilliseconds = 2000;

async function connect(
  connection: Connection,
  {kind, silenceSeconds = 600}: SessionUse,
  ssl: ConnectionOptions | false,
): Promise<Session> {
  const {parameters, password} = connection;
  const socket = new Socket();
  const settings = {
    host: hostOf(connection),
    port: Number(parameters.port ?? 5432),
    user: userOf(connection),
    database: parameters.dbname ?? userOf(connection),
    application_name: parameters.application_name,
    ssl,
    connectionTimeoutMillis: Number(parameters.connect_timeout ?? 30) * 1000,
    query_timeout: silenceSeconds * 1000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    stream: () => socket,
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
      const asked = client.query<Record<string, unknown>>(statement, values && [...values]);
      const {rows} = await asked.catch((cause: unknown) => {
        if (messageOf(cause) !== 'Query read timeout') throw cause;
        throw new Error(`The server did not answer for ${silenceSeconds} s`, {cause});
      });
      return rows;
    },
    async close() {
      const timer = setTimeout(() => socket.destroy(), goodbyeMilliseconds);
      await client.end().finally(() => clearTimeout(timer));
    },
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
  const rootCertificate = parameters.sslrootcert ?? defaultFile('root.crt') ?? '';
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

/** libpq's files for TLS, where they are there (PostgreSQL manual, "SSL Client File Usage"). */
function defaultFile(name: string): string | undefined {
  const path = join(homedir(), '.postgresql', name);
  return existsSync(path) ? path : undefined;
}

function certificates(
  parameters: Connection['parameters'],
  environment: Connection['environment'],
): ConnectionOptions {
  const read = (path: string | undefined) => (path ? readFileSync(path, 'utf8') : undefined);
  const file = (keyword: string, variable: string, name: string) =>
    read(parameters[keyword] ?? environment[variable] ?? defaultFile(name));
  const {sslrootcert = defaultFile('root.crt')} = parameters;
  const ca = sslrootcert === 'system' ? getCACertificates('system') : read(sslrootcert);
  // Node passes over what is no certificate, and blames the server's; libpq has these words for it.
  if (typeof ca === 'string' && !ca.includes('-----BEGIN'))
    throw new Error(`could not read root certificate file "${sslrootcert}": it holds no certificate`);
  const cert = file('sslcert', 'PGSSLCERT', 'postgresql.crt');
  const key = file('sslkey', 'PGSSLKEY', 'postgresql.key');
  return {...(ca && {ca}), ...(cert && {cert}), ...(key && {key})};
}
