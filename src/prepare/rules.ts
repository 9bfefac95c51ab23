import {hbaWord} from '../postgres/hba.js';
import type {Row} from '../postgres/session.js';
import {contains, type Network, overlap, parseNetwork} from './network.js';

/** A rule of pg_hba.conf, as `pg_hba_file_rules` shows it: names without their quotes. */
export interface HbaRule {
  readonly type: string;
  readonly databases: readonly string[];
  readonly users: readonly string[];
  readonly address?: string;
  readonly netmask?: string;
  readonly method: string;
}

/** Connections over TCP that a role makes from a network. */
export interface Client {
  readonly isEncrypted: boolean;
  /** Without one, replication. */
  readonly database?: string;
  readonly role: string;
  /** The roles that it is a member of. */
  readonly groups: readonly string[];
  readonly network: Network;
  /** The server's, by which a name that starts with a slash means itself or a regular expression. */
  readonly major: number;
}

/** A rule from a row of `pg_hba_file_rules`. */
export function ruleOf(row: Row): HbaRule {
  return {
    type: String(row.type),
    databases: (row.database as string[] | null) ?? [],
    users: (row.user_name as string[] | null) ?? [],
    ...(row.address != null && {address: String(row.address)}),
    ...(row.netmask != null && {netmask: String(row.netmask)}),
    method: String(row.auth_method),
  };
}

/**
 * Whether the rules, of which the first that matches decides, surely let every such connection in to a password. A rule
 * of which we cannot tell whether it matches (a host name, a regular expression) is passed over where it would let in
 * and counts where it would not.
 */
export function admits(rules: readonly HbaRule[], client: Client): boolean {
  for (const rule of rules) {
    const match = matches(rule, client);
    if (match === 'no') continue;
    if (!admittingMethods.includes(rule.method)) return false;
    if (match === 'yes') return true;
  }
  return false;
}

/** Methods that take the password of a role that is stored for scram-sha-256. */
const admittingMethods = ['scram-sha-256', 'md5', 'password', 'trust'];

type Match = 'yes' | 'maybe' | 'no';

function matches(rule: HbaRule, client: Client): Match {
  const all = [
    matchesType(rule, client),
    matchesAny(rule.databases, (name) => matchesDatabase(name, client)),
    matchesAny(rule.users, (name) => matchesRole(name, client)),
    matchesAddress(rule, client),
  ];
  if (all.includes('no')) return 'no';
  return all.includes('maybe') ? 'maybe' : 'yes';
}

const sure = (condition: boolean): Match => (condition ? 'yes' : 'no');

function matchesAny(names: readonly string[], match: (name: string) => Match): Match {
  const found = names.map(match);
  return found.includes('yes') ? 'yes' : found.includes('maybe') ? 'maybe' : 'no';
}

function matchesType({type}: HbaRule, {isEncrypted}: Client): Match {
  const types = ['host', 'hostnogssenc', isEncrypted ? 'hostssl' : 'hostnossl'];
  return sure(types.includes(type));
}

function matchesDatabase(name: string, {database, role, groups, major}: Client): Match {
  if (database === undefined) return sure(name === 'replication');
  if (name === 'all' || name === database || name === hbaWord(database, major)) return 'yes';
  if (name === 'sameuser') return sure(database === role);
  if (name === 'samerole' || name === 'samegroup')
    return sure(database === role || groups.includes(database));
  return isRegex(name, major) ? 'maybe' : 'no';
}

function matchesRole(name: string, {role, groups, major}: Client): Match {
  if (name === 'all' || name === role || name === hbaWord(role, major)) return 'yes';
  if (name.startsWith('+') && [role, ...groups].includes(name.slice(1))) return 'yes';
  return isRegex(name, major) ? 'maybe' : 'no';
}

const isRegex = (name: string, major: number) => name.startsWith('/') && major >= 16;

function matchesAddress({address, netmask}: HbaRule, {network}: Client): Match {
  if (address === 'all') return 'yes';
  const own = parseNetwork(address ?? '', netmask);
  // A host name, `samehost` or `samenet`: only the server can tell.
  if (!own) return 'maybe';
  if (contains(own, network)) return 'yes';
  return overlap(own, network) ? 'maybe' : 'no';
}
