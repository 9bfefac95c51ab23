import {readFile} from 'node:fs/promises';
import type {Host} from '../host/host.js';
import {type Connection, passfileLine} from './connection.js';
import type {Conninfo} from './conninfo.js';

/** Where the files of a connection go. */
export interface Place {
  readonly host: Host;
  /** Exists there. */
  readonly directory: string;
  /** Of the libpq that will read the parameters: an older one refuses those that it does not know. */
  readonly major: number;
}

/** The parameters that name files, and how these are called where we put them. */
const files = {
  sslcert: 'primary.crt',
  sslkey: 'primary.key',
  sslrootcert: 'primary-ca.crt',
  sslcrl: 'primary.crl',
} as const;

const passfile = 'primary.pgpass';

/** The names of all files that `placeConninfo` may write. */
export const placedFiles: readonly string[] = [passfile, ...Object.values(files)];

/** libpq's variables, by the parameter that means the same and the major that it is new in (fe-connect.c, 13 to 18). */
const variables: Readonly<Record<string, readonly [keyword: string, since?: number]>> = {
  PGPASSFILE: ['passfile'],
  PGCHANNELBINDING: ['channel_binding'],
  PGREQUIREAUTH: ['require_auth', 16],
  PGREQUIREPEER: ['requirepeer'],
  PGSSLNEGOTIATION: ['sslnegotiation', 17],
  PGSSLCERT: ['sslcert'],
  PGSSLKEY: ['sslkey'],
  PGSSLCERTMODE: ['sslcertmode', 16],
  PGSSLCRL: ['sslcrl'],
  PGSSLCRLDIR: ['sslcrldir', 14],
  PGSSLSNI: ['sslsni', 14],
  PGSSLMINPROTOCOLVERSION: ['ssl_min_protocol_version'],
  PGSSLMAXPROTOCOLVERSION: ['ssl_max_protocol_version'],
  PGGSSENCMODE: ['gssencmode'],
  PGGSSDELEGATION: ['gssdelegation', 16],
  PGGSSLIB: ['gsslib'],
  PGKRBSRVNAME: ['krbsrvname'],
};

/**
 * Turns a connection into parameters that a server can use on its own, whoever starts it: libpq's variables become
 * parameters, the password goes into a password file, and certificates and keys of the runner are copied, so that
 * PostgreSQL's account may read them, also in a container. Everything lies in `directory`, 0600.
 */
export async function placeConninfo(connection: Connection, place: Place): Promise<Conninfo> {
  const {host, directory, major} = place;
  const parameters: Conninfo = {
    connect_timeout: '30',
    keepalives_idle: '30',
    keepalives_interval: '10',
    keepalives_count: '6',
    ...fromVariables(connection.environment, major),
    ...connection.parameters,
  };
  const placed: Record<string, string> = {};
  const put = async (keyword: string, name: string, text: string) => {
    placed[keyword] = `${directory}/${name}`;
    await host.writeText(`${directory}/${name}`, text);
  };
  for (const [keyword, name] of Object.entries(files)) {
    const text = await readPem(parameters[keyword]);
    if (text !== undefined) await put(keyword, name, text);
  }
  if (connection.password !== undefined) await put('passfile', passfile, passfileLine(connection.password));
  return {...parameters, ...placed};
}

function fromVariables(environment: Connection['environment'], major: number): Conninfo {
  const known = Object.entries(environment).flatMap(([variable, value]) => {
    const [keyword, since = 0] = variables[variable] ?? [];
    return keyword !== undefined && value !== '' && major >= since ? [[keyword, value] as const] : [];
  });
  return Object.fromEntries(known);
}

/** Undefined where the runner has no such file, or it is no text: libpq then looks for it at the path as given. */
async function readPem(path: string | undefined): Promise<string | undefined> {
  if (!path || path === 'system') return undefined;
  const text = await readFile(path, 'utf8').catch(() => undefined);
  return text?.includes('-----BEGIN ') ? text : undefined;
}
