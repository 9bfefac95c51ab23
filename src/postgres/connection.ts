import {existsSync} from 'node:fs';
import {userInfo} from 'node:os';
import {join} from 'node:path';
import type {Host} from '../host/host.js';
import {type Conninfo, formatConninfo} from './conninfo.js';

/** How to reach a server: what inputs, connection string and libpq's variables say, merged. */
export interface Connection {
  /** libpq's keywords without the password. */
  readonly parameters: Conninfo;
  readonly password?: string;
  /** libpq's other variables (`PGSSLCERT`, `PGPASSFILE`, …), never the password. */
  readonly environment: Readonly<Record<string, string>>;
}

/** libpq's default for the user: the account's name. */
export function userOf(connection: Connection): string {
  return connection.parameters.user ?? userInfo().username;
}

/** libpq's default for the host: the socket directory that the packages use, else localhost. */
export function hostOf({parameters: {host, port = '5432'}}: Connection): string {
  if (host) return host;
  const directories = ['/var/run/postgresql', '/tmp'];
  return directories.find((directory) => existsSync(join(directory, `.s.PGSQL.${port}`))) ?? 'localhost';
}

/** For messages: `replicator@db.example:5432`, never a password. */
export function nameOf(connection: Connection): string {
  return `${userOf(connection)}@${hostOf(connection)}:${connection.parameters.port ?? '5432'}`;
}

/** What a libpq program needs to use a connection without its password in argv or environment. */
export interface LibpqAccess {
  /** For `--dbname`: every parameter but the password. */
  readonly conninfo: string;
  readonly env: Readonly<Record<string, string>>;
  /** Removes the password file. */
  close(): Promise<void>;
}

/**
 * Lets libpq programs of a host use a connection: the password goes into a 0600 password file in a directory of its
 * own there, until `close`. The parameters name keepalives, so that a dead link is noticed after
 * 90 seconds, unless the user chose others.
 */
export async function openLibpqAccess(connection: Connection, host: Host): Promise<LibpqAccess> {
  const conninfo = formatConninfo({
    connect_timeout: '30',
    keepalives_idle: '30',
    keepalives_interval: '10',
    keepalives_count: '6',
    ...connection.parameters,
  });
  if (connection.password === undefined) {
    return {conninfo, env: connection.environment, close: async () => undefined};
  }
  const directory = await host.makeTemporaryDirectory(host.scratchDirectory);
  const passfile = join(directory, 'pgpass');
  await host.writeText(passfile, passfileLine(connection.password));
  return {
    conninfo,
    env: {...connection.environment, PGPASSFILE: passfile},
    close: () => host.remove(directory),
  };
}

/**
 * A password file's line for every server, database and user: the file serves one connection only.
 * `:` and `\` are escaped (PostgreSQL manual, "The Password File").
 */
export function passfileLine(password: string): string {
  return `*:*:*:*:${password.replaceAll(/[\\:]/g, '\\$&')}\n`;
}
