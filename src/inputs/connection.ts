import type {Connection} from '../postgres/connection.js';
import {type Conninfo, ConninfoError, parseConninfo} from '../postgres/conninfo.js';
import type {InputReader} from './reader.js';
import type {RunContext} from './run-context.js';

/** The inputs that name a server, by libpq's keyword. */
const keywords = {
  host: 'host',
  port: 'port',
  user: 'user',
  password: 'password',
  database: 'dbname',
  sslmode: 'sslmode',
  sslrootcert: 'sslrootcert',
} as const;

/** Every input that names a server. */
export const connectionInputs = [...Object.keys(keywords), 'connection-string'] as const;

/** libpq's variables for the same, by keyword. The others (`PGSSLCERT`, …) are handed on as they are. */
const variables = {
  PGHOST: 'host',
  PGPORT: 'port',
  PGUSER: 'user',
  PGPASSWORD: 'password',
  PGDATABASE: 'dbname',
  PGSSLMODE: 'sslmode',
  PGSSLROOTCERT: 'sslrootcert',
  // In the environment it would lose against the limit that we set.
  PGCONNECT_TIMEOUT: 'connect_timeout',
} as const;

/** Variables that would change what programs print or do, or that hold a secret. */
const notHandedOn = [
  'PGOPTIONS',
  'PGAPPNAME',
  'PGDATA',
  'PGSERVICE',
  'PGHOSTADDR',
  ...Object.keys(variables),
];

/**
 * Merges inputs, connection string and libpq's variables, in libpq's order of precedence. An empty value counts as
 * absent. With a container, variables do not tell host and port.
 */
export function readConnection(
  reader: InputReader,
  {environment, applicationName}: RunContext,
  container?: string,
): Connection {
  const merged: Record<string, string> = {application_name: applicationName};
  for (const [variable, keyword] of Object.entries(variables)) {
    const value = environment[variable];
    // The container says where its server is; a variable of the job may be about another one.
    const isOfContainer = container !== undefined && ['host', 'port'].includes(keyword);
    if (value && !isOfContainer) merged[keyword] = value;
  }
  for (const [keyword, value] of Object.entries(readString(reader))) if (value) merged[keyword] = value;
  for (const [input, keyword] of Object.entries(keywords)) {
    const value = reader.text(input);
    if (value) merged[keyword] = value;
  }
  const {password, ...parameters} = merged;
  check(reader, parameters, password);
  const others = Object.entries(environment).filter(
    ([name]) => /^PG[A-Z]+$/.test(name) && !notHandedOn.includes(name),
  );
  return {
    parameters,
    environment: Object.fromEntries(others.map(([name, value]) => [name, value ?? ''])),
    ...(password !== undefined && {password}),
  };
}

function readString(reader: InputReader): Conninfo {
  const text = reader.text('connection-string');
  if (text === undefined) return {};
  try {
    return parseConninfo(text);
  } catch (error) {
    if (!(error instanceof ConninfoError)) throw error;
    reader.reject('connection-string', error.message);
    return {};
  }
}

/** Keywords that would lead our own session and pg_basebackup to different servers, or put a secret into argv. */
const refusedKeywords = [
  'service',
  'hostaddr',
  'sslpassword',
  'replication',
  'passfile',
  'options',
  'oauth_client_secret',
];

const sslmodes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'];

function check(reader: InputReader, parameters: Conninfo, password: string | undefined): void {
  const {host = '', port = '5432', sslrootcert, connect_timeout: patience = '30'} = parameters;
  const {sslmode = sslrootcert === 'system' ? 'verify-full' : 'prefer'} = parameters;
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535) {
    // From a connection string, it may hold part of a password that was not percent-encoded.
    const shown = reader.text('port') === undefined ? 'it' : JSON.stringify(port);
    reader.reject('port', `${shown} is not a port number from 1 to 65535 (one server only)`);
  }
  for (const keyword of refusedKeywords) {
    if (parameters[keyword] !== undefined) reader.reject('connection-string', `it must not set ${keyword}`);
  }
  if (host.includes(',')) reader.reject('host', 'several hosts are not supported: name the one to back up');
  if (!sslmodes.includes(sslmode))
    reader.reject('sslmode', `${JSON.stringify(sslmode)} is not one of ${sslmodes.join(', ')}`);
  else if (sslrootcert === 'system' && sslmode !== 'verify-full') {
    // fe-connect.c: libpq refuses it too, but only when the backup begins.
    reader.reject('sslmode', `${sslmode} is too weak for sslrootcert: system, which needs verify-full`);
  }
  if (!/^\d{1,6}$/.test(patience)) {
    reader.reject(
      'connection-string',
      'connect_timeout (PGCONNECT_TIMEOUT) must be a whole number of seconds',
    );
  }
  for (const [keyword, value] of Object.entries({...parameters, password: password ?? ''})) {
    if (/[\n\r\0]/.test(value))
      reader.reject(keyword === 'dbname' ? 'database' : keyword, 'it must not contain a line break');
  }
}
