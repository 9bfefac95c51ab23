import {messageOf, UserError} from '../errors.js';
import {hostOf, userOf} from '../postgres/connection.js';
import {entryFor, type HbaEntry, type HbaMethod, singleAddress} from '../postgres/hba.js';
import type {Login} from './login.js';
import {parseNetwork} from './network.js';
import type {PrepareRequest} from './request.js';
import {admits} from './rules.js';
import type {RoleState, ServerState} from './survey.js';

/** What is known of the server, the role, and how far its logins come. */
export interface Findings {
  readonly server: ServerState;
  readonly found: RoleState | undefined;
  readonly logins: {readonly replication: Login; readonly sql: Login};
}

/** One of the two ways in that a backup needs: replication, or SQL in a database. */
interface Way {
  readonly login: Login;
  readonly database?: string;
}

/**
 * The entries that pg_hba.conf lacks: for replication, and for the SQL session that asks a server for its facts ahead
 * of a backup. Whether this runner is let in, its logins have told; of other addresses, the rules tell.
 */
export function missingEntries(request: PrepareRequest, findings: Findings): readonly HbaEntry[] {
  const {replication, sql} = findings.logins;
  const database = request.connection.parameters.dbname ?? 'postgres';
  const ways: readonly Way[] = [{login: replication}, {login: sql, database}];
  const fromRunner = ways
    .filter((way) => !isOpen(way, request, findings))
    .map((way) => ({
      ...newEntry(way, request, findings),
      role: userOf(request.connection),
      ...(way.database !== undefined && {database: way.database}),
    }));
  return [...fromRunner, ...(request.container === undefined ? [] : fromInside(ways, request, findings))];
}

/** The container's own client, which serves where the runner's is too old, comes in over the container's loopback. */
function fromInside(
  ways: readonly Way[],
  request: PrepareRequest,
  {server, found}: Findings,
): readonly HbaEntry[] {
  const {rules, hasTls, major} = server;
  if (!rules) return [];
  const role = userOf(request.connection);
  const network = parseNetwork(loopback);
  return ways.flatMap(({database}) => {
    const of = {role, ...(database !== undefined && {database})};
    const groups = found?.groups ?? [];
    const isOpen = network && admits(rules, {...of, isEncrypted: hasTls, groups, network, major});
    return isOpen
      ? []
      : [{...of, type: 'host', address: loopback, method: methodFor(server, found)} as const];
  });
}

const loopback = '127.0.0.1/32';

function isOpen({login, database}: Way, request: PrepareRequest, {server, found}: Findings): boolean {
  const network = parseNetwork(request.clientNetwork ?? '');
  if (!network || !server.rules) return login.end !== 'kept-out';
  return admits(server.rules, {
    isEncrypted: isEncrypted(request, server),
    ...(database !== undefined && {database}),
    role: userOf(request.connection),
    groups: found?.groups ?? [],
    network,
    major: server.major,
  });
}

function newEntry({login}: Way, request: PrepareRequest, {server, found}: Findings): HbaEntry {
  const method = methodFor(server, found);
  const role = userOf(request.connection);
  const type = isEncrypted(request, server) ? 'hostssl' : 'host';
  if (request.clientNetwork !== undefined) return {type, role, address: request.clientNetwork, method};
  if (login.end === 'kept-out' && login.refusal) return entryFor(login.refusal, method);
  if (hostOf(request.connection).startsWith('/')) return {type: 'local', role, method};
  // A rule with another method than a password does not tell the address.
  if (server.clientAddress !== undefined)
    return {type, role, address: singleAddress(server.clientAddress), method};
  throw new UserError(
    `pg_hba.conf asks the role for something else than a password: ${login.end === 'in' ? '' : messageOf(login.error)}`,
    'Set client-address to the address of this runner as the server sees it.',
  );
}

/** `md5` also takes what is stored for scram-sha-256, and there goes on to when the password is set by hand. */
function methodFor(server: ServerState, found: RoleState | undefined): HbaMethod {
  return server.storesMd5 || found?.stored === 'as-md5' ? 'md5' : 'scram-sha-256';
}

function isEncrypted({connection}: PrepareRequest, {hasTls}: ServerState): boolean {
  return hasTls && connection.parameters.sslmode !== 'disable';
}
