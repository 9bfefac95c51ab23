import {UserError} from '../errors.js';
import {isMd5, isStoredAs} from '../postgres/password.js';
import type {Row} from '../postgres/session.js';
import {majorOf} from '../postgres/version.js';
import type {Administrator} from './administrator.js';
import {type HbaRule, ruleOf} from './rules.js';

/** What the server says of itself and of the administrator. */
export interface ServerState {
  readonly major: number;
  readonly isStandby: boolean;
  readonly hasTls: boolean;
  /** Whether a password that is set by SQL is stored as md5. */
  readonly storesMd5: boolean;
  readonly scramIterations: number;
  /** This runner's address as the server sees it; undefined over a Unix socket. */
  readonly clientAddress?: string;
  /** Undefined where the administrator may not look, as with the next ones. */
  readonly hbaFile?: string;
  readonly rules?: readonly HbaRule[];
  readonly admin: {readonly role: string; readonly isSuperuser: boolean; readonly mayCreate: boolean};
}

/** An existing role. */
export interface RoleState {
  readonly canLogin: boolean;
  readonly canReplicate: boolean;
  readonly isSuperuser: boolean;
  /** Whether it is a member of pg_monitor. */
  readonly canMonitor: boolean;
  /** Whether the time that its password was valid for is over. */
  readonly isExpired: boolean;
  readonly groups: readonly string[];
  /** How its password is stored; undefined where the administrator may not look. */
  readonly stored?: 'other' | 'as-md5' | 'as-scram';
}

/** Asks the server for its state. Throws a UserError when it does not answer the administrator. */
export async function askServer(administrator: Administrator): Promise<ServerState> {
  const [row = {}] = await administrator.query(serverQuery).catch((error: unknown) => {
    throw new UserError(
      `The administrator (${administrator.name}) cannot ask the server.`,
      'Set admin-user and admin-password to a superuser of the server.',
      {cause: error},
    );
  });
  const major = majorOf(Number(row.version));
  const rules = row.sees_rules
    ? await administrator.query('select * from pg_hba_file_rules where error is null')
    : undefined;
  return {
    major,
    isStandby: Boolean(row.is_standby),
    hasTls: row.ssl === 'on',
    storesMd5: row.password_encryption === 'md5',
    scramIterations: Number(row.scram_iterations ?? 4096),
    ...(row.client_address != null && {clientAddress: String(row.client_address)}),
    ...(row.hba_file != null && {hbaFile: String(row.hba_file)}),
    ...(rules && {rules: rules.map(ruleOf)}),
    admin: {
      role: String(row.admin),
      isSuperuser: Boolean(row.is_superuser),
      mayCreate: Boolean(row.is_superuser) || (major >= 16 && Boolean(row.may_create)),
    },
  };
}

/** From 16 on, CREATEROLE together with REPLICATION makes a replication role; before, only a superuser does. */
const serverQuery = `
  select current_setting('server_version_num') as version, pg_is_in_recovery() as is_standby,
         current_setting('ssl') as ssl, current_setting('password_encryption') as password_encryption,
         current_setting('scram_iterations', true) as scram_iterations,
         host(inet_client_addr()) as client_address,
         (select setting from pg_settings where name = 'hba_file') as hba_file,
         has_function_privilege('pg_catalog.pg_hba_file_rules()', 'execute')
           and has_table_privilege('pg_catalog.pg_hba_file_rules', 'select') as sees_rules,
         rolname as admin, rolsuper as is_superuser, rolcreaterole and rolreplication as may_create
    from pg_roles where rolname = current_user`;

/** Asks for a role, and whether its stored password is the given one; undefined when there is no such role. */
export async function askRole(
  administrator: Administrator,
  role: string,
  password: string,
): Promise<RoleState | undefined> {
  const [row] = await administrator.query(roleQuery, [role]);
  if (!row) return undefined;
  const stored = row.sees_password ? await askStored(administrator, role, password) : undefined;
  return {
    canLogin: Boolean(row.can_login),
    canReplicate: Boolean(row.can_replicate),
    isSuperuser: Boolean(row.is_superuser),
    canMonitor: Boolean(row.can_monitor),
    isExpired: Boolean(row.is_expired),
    groups: (row.groups as string[] | null) ?? [],
    ...(stored && {stored}),
  };
}

const roleQuery = `
  select rolcanlogin as can_login, rolreplication as can_replicate, rolsuper as is_superuser,
         pg_has_role(oid, 'pg_monitor'::name, 'member') as can_monitor,
         coalesce(rolvaliduntil < now(), false) as is_expired,
         array(select rolname::text from pg_roles as one where pg_has_role(pg_roles.oid, one.oid, 'member')) as groups,
         has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'select') as sees_password
    from pg_roles where rolname = $1::text`;

async function askStored(
  administrator: Administrator,
  role: string,
  password: string,
): Promise<NonNullable<RoleState['stored']>> {
  const query = 'select rolpassword from pg_authid where rolname = $1::text';
  const [row]: readonly Row[] = await administrator.query(query, [role]);
  const stored = String(row?.rolpassword ?? '');
  if (!isStoredAs(stored, password, role)) return 'other';
  return isMd5(stored) ? 'as-md5' : 'as-scram';
}
