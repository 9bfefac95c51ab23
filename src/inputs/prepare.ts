import {isIPv4} from 'node:net';
import {parseNetwork} from '../prepare/network.js';
import type {PrepareRequest} from '../prepare/request.js';
import {readConnection} from './connection.js';
import {type InputReader, readContainer} from './reader.js';
import type {RunContext} from './run-context.js';

/** The inputs that belong to prepare mode alone. */
export const prepareInputs = ['admin-user', 'admin-password', 'client-address'] as const;

/** Reads the inputs of prepare mode. */
export function readPrepare(reader: InputReader, context: RunContext): PrepareRequest {
  const {environment} = context;
  const container = readContainer(reader);
  const connection = readConnection(reader, context, container);
  const adminUser = reader.text('admin-user');
  const adminPassword = reader.text('admin-password') ?? (environment.PGPASSWORD || undefined);
  for (const [name, value] of Object.entries({'admin-user': adminUser, 'admin-password': adminPassword}))
    if (/[\n\r\0]/.test(value ?? '')) reader.reject(name, 'it must not contain a line break');
  checkRole(reader, connection.parameters.user, adminUser);
  checkPassword(reader, connection.password, environment.PGPASSWORD);
  const clientNetwork = readNetwork(reader);
  return {
    mode: 'prepare',
    connection: {...connection, password: connection.password ?? ''},
    admin: {
      ...(adminUser !== undefined && {user: adminUser}),
      ...(adminPassword !== undefined && {password: adminPassword}),
    },
    ...(container !== undefined && {container}),
    ...(clientNetwork !== undefined && {clientNetwork}),
    dryRun: reader.flag('dry-run', false),
  };
}

/** PGPASSWORD alone would give the role the administrator's password. */
function checkPassword(reader: InputReader, password: string | undefined, variable = ''): void {
  const isOfBoth =
    password === variable && ![reader.text('password'), reader.text('admin-password')].some(Boolean);
  if (password === undefined || isOfBoth)
    reader.reject('password', 'it is not set, and mode: prepare needs the password that the role shall have');
}

function checkRole(reader: InputReader, role: string | undefined, adminUser: string | undefined): void {
  if (role === undefined) {
    reader.reject('user', 'it is not set, and mode: prepare needs the name of the role');
    return;
  }
  const name = JSON.stringify(role);
  if (role === adminUser)
    reader.reject('user', `${name} is the admin-user, whose password prepare would set`);
  // NAMEDATALEN: the server would cut it off.
  if (Buffer.byteLength(role) > 63) reader.reject('user', `${name} is longer than 63 bytes`);
  if (/^(pg_|public$|none$)/.test(role)) reader.reject('user', `${name} is a name that PostgreSQL reserves`);
}

function readNetwork(reader: InputReader): string | undefined {
  const text = reader.text('client-address');
  if (text === undefined) return undefined;
  if (!parseNetwork(text)) {
    const allowed = 'an address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32';
    reader.reject('client-address', `${JSON.stringify(text)} is not ${allowed}`);
  }
  if (text.includes('/')) return text;
  return `${text}/${isIPv4(text) ? 32 : 128}`;
}
