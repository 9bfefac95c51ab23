import {UserError} from '../errors.js';
import {group, info} from '../log.js';
import {type Connection, userOf} from '../postgres/connection.js';
import {quoteIdentifier} from '../postgres/failures.js';
import {formatHbaEntry, type HbaEntry} from '../postgres/hba.js';
import {scramSecret} from '../postgres/password.js';
import {type Administrator, type Statement, showStatements} from './administrator.js';
import {missingEntries} from './entries.js';
import {refuseErrors} from './hba-file.js';
import {tryLogin} from './login.js';
import type {PrepareRequest} from './request.js';
import {needsPassword, roleStatements} from './role.js';
import {askRole, askServer, type RoleState, type ServerState} from './survey.js';

/** All that a preparation is going to do. */
export interface PreparePlan {
  readonly request: PrepareRequest;
  /** The role's name. */
  readonly role: string;
  /** As the role logs in, with the database named. */
  readonly connection: Connection;
  readonly server: ServerState;
  readonly statements: readonly Statement[];
  /** The statements as text, without the password. */
  readonly shown: readonly string[];
  /** What pg_hba.conf lacks. */
  readonly entries: readonly HbaEntry[];
  /** The same as lines of the file. */
  readonly lines: readonly string[];
}

/** Looks at the server and tries the role's login. Throws a UserError when the role cannot be prepared. */
export async function planPreparation(
  request: PrepareRequest,
  administrator: Administrator,
): Promise<PreparePlan> {
  const role = userOf(request.connection);
  const {parameters, password} = request.connection;
  const connection = {...request.connection, parameters: {dbname: 'postgres', ...parameters}};
  const server = await askServer(administrator);
  const found = await askRole(administrator, role, password);
  refuseRole(role, found, server);
  const logins = {
    replication: await tryLogin(connection, 'replication'),
    sql: await tryLogin(connection, 'sql'),
  };
  const secret = needsPassword(found, [logins.replication, logins.sql])
    ? scramSecret(password, server.scramIterations)
    : undefined;
  const statements = roleStatements({name: role, ...(secret !== undefined && {secret})}, found);
  const shown = await showStatements(administrator, statements);
  if (statements.length > 0) refuseAdministrator(server, role, shown);
  const entries = missingEntries({...request, connection}, {server, found, logins});
  const lines = entries.map((entry) => formatHbaEntry(entry, server.major));
  if (lines.length > 0 && administrator.host) await refuseHbaFile(administrator, server);
  return {request, role, connection, server, statements, shown, entries, lines};
}

/** Prints what is going to happen. `canEdit`: pg_hba.conf is within reach. */
export async function showPlan(plan: PreparePlan, canEdit: boolean): Promise<void> {
  const {role, shown, lines, server, request} = plan;
  await group(request.dryRun ? 'Plan' : 'What is to be done', async () => {
    if (shown.length === 0) info(`The role ${JSON.stringify(role)} is as it should be.`);
    for (const statement of shown) info(statement);
    if (lines.length === 0) info('pg_hba.conf lets it in.');
    else
      info(
        `To be added ${canEdit ? '' : 'by hand '}to ${server.hbaFile ?? 'pg_hba.conf'}, as its first lines:`,
      );
    for (const line of lines) info(line);
  });
}

function refuseRole(role: string, found: RoleState | undefined, {admin}: ServerState): void {
  const name = JSON.stringify(role);
  if (role === admin.role || found?.isSuperuser) {
    throw new UserError(
      `The role ${name} is ${role === admin.role ? 'the administrator itself' : 'a superuser'}, and prepare would set its password.`,
      'Set user to a role for backups alone, such as backup.',
    );
  }
  if (found?.isExpired) {
    throw new UserError(
      `The password of the role ${name} is no longer valid, and prepare does not prolong it.`,
      `As a superuser run: ALTER ROLE ${quoteIdentifier(role)} VALID UNTIL 'infinity';`,
    );
  }
}

function refuseAdministrator(
  {isStandby, admin, major}: ServerState,
  role: string,
  shown: readonly string[],
): void {
  if (isStandby) {
    throw new UserError(
      'The server is a standby, where no role can be made or changed.',
      `Let prepare make the role on the primary first, or there run:\n${shown.join('\n')}`,
    );
  }
  if (!admin.mayCreate) {
    const message = `The role ${JSON.stringify(admin.role)} may not make or change a replication role.`;
    throw new UserError(message, cureOfRights({admin, major}, role, shown));
  }
}

async function refuseHbaFile(administrator: Administrator, {hbaFile}: ServerState): Promise<void> {
  if (hbaFile === undefined) {
    const message = `${administrator.name} may not see where pg_hba.conf is.`;
    throw new UserError(message, 'Set admin-user to a superuser.');
  }
  const what = `${hbaFile} has errors, so that the server would load no change of it`;
  await refuseErrors(administrator, what, 'Correct it, and run: SELECT pg_reload_conf();');
}

/** What to do when the administrator may not run the statements. */
export function cureOfRights(
  {admin, major}: Pick<ServerState, 'admin' | 'major'>,
  role: string,
  shown: readonly string[],
): string {
  const name = quoteIdentifier(admin.role);
  const isThere = shown.some((statement) => statement.startsWith('alter role'));
  const rights = [
    `ALTER ROLE ${name} CREATEROLE REPLICATION;`,
    `GRANT pg_monitor TO ${name} WITH ADMIN OPTION;`,
    ...(isThere ? [`GRANT ${quoteIdentifier(role)} TO ${name} WITH ADMIN OPTION;`] : []),
  ];
  const others = major < 16 ? [] : ['or let a superuser give it the rights:', ...rights];
  return ['Set admin-user and admin-password to a superuser, or as one run:', ...shown, ...others].join('\n');
}
