import type {Statement} from './administrator.js';
import type {Login} from './login.js';
import type {RoleState} from './survey.js';

/** A role as it shall be. */
export interface WantedRole {
  readonly name: string;
  /** What PostgreSQL shall store of its password; without it, the password stays. */
  readonly secret?: string;
}

/** The statements that make a role a replication role: none for one that is. */
export function roleStatements(wanted: WantedRole, found: RoleState | undefined): readonly Statement[] {
  const {name, secret} = wanted;
  const options = [
    ...(found?.canLogin ? [] : ['login']),
    ...(found?.canReplicate ? [] : ['replication']),
    ...(secret === undefined ? [] : ['password %L']),
  ];
  const role: Statement = {
    template: `${found ? 'alter' : 'create'} role %I ${options.join(' ')}`,
    values: [name, ...(secret === undefined ? [] : [secret])],
    shown: [name, '…'],
  };
  const grant: Statement = {template: 'grant pg_monitor to %I', values: [name]};
  return [...(options.length === 0 ? [] : [role]), ...(found?.canMonitor ? [] : [grant])];
}

/**
 * Whether a role's password has to be set. Where the administrator may not look at what is stored, logins tell; a
 * password that is stored as md5 is set again, and then stored for scram-sha-256, where pg_hba.conf does not take it.
 */
export function needsPassword(found: RoleState | undefined, logins: readonly Login[]): boolean {
  const ends = logins.map(({end}) => end);
  if (found?.stored === 'as-scram') return false;
  if (!found || found.stored === 'other' || ends.includes('wrong-password')) return true;
  return found.stored === undefined && !ends.includes('in') && !ends.includes('not-allowed');
}
