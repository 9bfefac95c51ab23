import {setTimeout as sleep} from 'node:timers/promises';
import {messageOf, UserError} from '../errors.js';
import {explain} from '../postgres/failures.js';
import type {SessionKind} from '../postgres/session.js';
import {addByHand} from './hba-file.js';
import {type Login, tryLogin} from './login.js';
import {contains, parseNetwork} from './network.js';
import type {PreparePlan} from './plan.js';

/** How far a prepared role is proven. */
export interface Proof {
  /** Whether it opened a replication connection from here. */
  readonly replicates: boolean;
  readonly warnings: readonly string[];
}

/** A server loads a changed pg_hba.conf a moment after it was told to. */
const reloadSeconds = 10;

/**
 * Logs in as the role: for replication, which must work, and for SQL, without which a backup goes with fewer checks.
 * Throws a UserError with what is still to be done. `isEdited`: what pg_hba.conf lacked was just added.
 */
export async function prove(plan: PreparePlan, isEdited: boolean): Promise<Proof> {
  const patience = isEdited ? reloadSeconds : 0;
  const replication = await loginWithin(plan, 'replication', patience);
  const isLacking = !isEdited && plan.entries.some(({database}) => database === undefined);
  if (isLacking) throw stillLacking(plan, replication);
  const isOutside = replication.end === 'kept-out' && isElsewhere(plan, replication);
  if (replication.end !== 'in' && !isOutside) throw notProven(plan, replication);
  const sql = await loginWithin(plan, 'sql', patience);
  return {
    replicates: replication.end === 'in',
    warnings: [
      ...(isOutside ? [outside(plan)] : []),
      ...sqlWarning(plan, sql, {isEdited, isOutside}),
      ...(plan.request.clientNetwork !== undefined && !plan.server.rules ? [unseen(plan)] : []),
    ],
  };
}

/** The first login that is not kept out by rules that may still be the old ones. */
async function loginWithin(plan: PreparePlan, kind: SessionKind, patienceSeconds: number): Promise<Login> {
  for (const end = performance.now() + patienceSeconds * 1000; ; await sleep(200)) {
    const login = await tryLogin(plan.connection, kind);
    if (login.end !== 'kept-out' || isElsewhere(plan, login) || performance.now() > end) return login;
  }
}

/** Whether this runner is not among the clients that the role was to be let in from. */
function isElsewhere({request}: PreparePlan, {refusal}: Extract<Login, {end: 'kept-out'}>): boolean {
  const network = parseNetwork(request.clientNetwork ?? '');
  const here = parseNetwork(refusal?.address ?? '');
  return network !== undefined && here !== undefined && !contains(network, here);
}

function stillLacking({role, lines, server, request}: PreparePlan, login: Login): UserError {
  const where = request.clientNetwork === undefined ? '' : ` from ${request.clientNetwork}`;
  const cause = login.end === 'in' ? undefined : login.error;
  return new UserError(
    `The role ${JSON.stringify(role)} is ready, but pg_hba.conf does not let it in${where}${cause === undefined ? '.' : `: ${messageOf(cause)}`}`,
    addByHand(server.hbaFile, lines),
    {cause},
  );
}

function notProven({role, connection}: PreparePlan, login: Exclude<Login, {end: 'in'}>): UserError {
  const name = JSON.stringify(role);
  if (login.end !== 'wrong-password')
    return explain(`The role ${name} is ready, but cannot replicate`, login.error, connection);
  return new UserError(
    `The role ${name} has the password, and the server still refuses it: ${messageOf(login.error)}`,
    'Look into pg_hba.conf for a rule that asks somebody else (ldap, radius, pam), or give a password of ASCII characters alone.',
    {cause: login.error},
  );
}

function sqlWarning(
  {role, connection, lines, entries}: PreparePlan,
  sql: Login,
  {isEdited, isOutside}: {isEdited: boolean; isOutside: boolean},
): readonly string[] {
  const line = isEdited ? undefined : lines[entries.findIndex(({database}) => database !== undefined)];
  if (line === undefined && (sql.end === 'in' || isOutside)) return [];
  const why = sql.end === 'in' ? '' : ` (${messageOf(sql.error)})`;
  const cure = line === undefined ? '' : ` This line of pg_hba.conf lets it in: ${line}`;
  return [
    `The role ${JSON.stringify(role)} can replicate, but not use SQL in ${JSON.stringify(connection.parameters.dbname)}${why}: backups go with fewer checks.${cure}`,
  ];
}

const outside = ({request}: PreparePlan) =>
  `No login was tried from ${request.clientNetwork}, and this runner is not in it: the role is prepared, but not proven.`;

const unseen = ({request, server}: PreparePlan) =>
  `Whether pg_hba.conf lets the role in from ${request.clientNetwork} is not known: ${JSON.stringify(server.admin.role)} may not read pg_hba_file_rules.`;
