/** An entry of pg_hba.conf, as a value. */
export interface HbaEntry {
  readonly type: 'local' | 'host' | 'hostssl';
  /** The database that it admits to; without one, replication. */
  readonly database?: string;
  readonly role: string;
  /** `192.0.2.7/32`; none with type `local`. */
  readonly address?: string;
  readonly method: HbaMethod;
}

/** How a role shows its password; `md5` also takes one that is stored for scram-sha-256. */
export type HbaMethod = 'scram-sha-256' | 'md5';

/** The line of an entry. `major` is the server's; without it, 16 or newer is assumed. */
export function formatHbaEntry(entry: HbaEntry, major = 16): string {
  const database = entry.database === undefined ? 'replication' : hbaName(entry.database, major);
  const fields = [entry.type, database, hbaName(entry.role, major), entry.address, entry.method];
  return fields.filter((field) => field !== undefined).join(' ');
}

/**
 * A name as a field of pg_hba.conf that means nothing but this name. Quotes take the special meaning from `all`,
 * `+group`, `@file` and the like, but not from a leading slash: from 16 on it starts a regular expression also in
 * quotes (hba.c, regcomp_auth_token), so that such a name is written as the one that matches it alone.
 */
function hbaName(name: string, major: number): string {
  return `"${hbaWord(name, major).replaceAll('"', '""')}"`;
}

/** A name as `pg_hba_file_rules` shows the field that `formatHbaEntry` writes: without its quotes. */
export function hbaWord(name: string, major: number): string {
  const isRegex = name.startsWith('/') && major >= 16;
  return isRegex ? `/^${name.replaceAll(/[\\.*+?()[\]{}|^$]/g, '\\$&')}$` : name;
}

/** What a server tells when pg_hba.conf keeps a connection out. */
export interface HbaRefusal {
  /** The client's address as the server sees it; undefined for its Unix socket. */
  readonly address?: string;
  readonly role: string;
  /** By TLS. */
  readonly isEncrypted: boolean;
}

/** Reads PostgreSQL's message (13 to 18, LC_MESSAGES=C); undefined when it is another. */
export function hbaRefusalIn(message: string): HbaRefusal | undefined {
  const match =
    /(?:no pg_hba\.conf entry|pg_hba\.conf rejects)[a-z ]* host "([^"]+)", user "(.+?)", (.*)/.exec(message);
  if (!match) return undefined;
  const [, host = '', role = '', rest = ''] = match;
  return {
    role,
    isEncrypted: /SSL (encryption|on)\s*$/.test(rest),
    ...(host !== '[local]' && {address: host.replace(/%.*/, '')}),
  };
}

/** The entry that admits a replication connection that was refused. */
export function entryFor({address, role, isEncrypted}: HbaRefusal, method: HbaMethod): HbaEntry {
  if (address === undefined) return {type: 'local', role, method};
  return {type: isEncrypted ? 'hostssl' : 'host', role, address: singleAddress(address), method};
}

/** `192.0.2.7` -> `192.0.2.7/32`, the network of one address. */
export function singleAddress(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`;
}
