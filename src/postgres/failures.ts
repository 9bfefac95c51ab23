import {messageOf, UserError} from '../errors.js';
import {CommandError} from '../host/host.js';
import {type Connection, nameOf, userOf} from './connection.js';

/** A message of PostgreSQL and what to do about it. Quotes around settings' names are new in 17. */
interface Failure {
  readonly pattern: RegExp;
  cure(match: RegExpExecArray, connection: Connection): string;
}

const quoteIdentifier = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** The line that admits a replication connection from where the server saw it come; `[local]` is its socket. */
function hbaLine([, address = '', user = '', security = '']: RegExpExecArray): string {
  const role = quoteIdentifier(user);
  if (address === '[local]') return `local replication ${role} scram-sha-256`;
  const type = /no encryption|SSL off/.test(security) ? 'host' : 'hostssl';
  return `${type} replication ${role} ${address.replace(/%.*/, '')}/${address.includes(':') ? 128 : 32} scram-sha-256`;
}

/** Messages by their stable fragments: PostgreSQL 13 to 18, LC_MESSAGES=C. */
const failures: readonly Failure[] = [
  {
    pattern: /no pg_hba\.conf entry for replication connection from host "([^"]+)", user "(.+?)", (.*)/,
    cure: (match) =>
      `Add this line to the server's pg_hba.conf (the word "all" does not match replication):\n${hbaLine(match)}\nthen run: SELECT pg_reload_conf();`,
  },
  {
    pattern: /pg_hba\.conf rejects replication connection for host "([^"]+)", user "(.+?)", (.*)/,
    cure: (match) =>
      `A "reject" line of the server's pg_hba.conf matches. Above it, add:\n${hbaLine(match)}\nthen run: SELECT pg_reload_conf();`,
  },
  {
    pattern: /must be superuser or replication role to start walsender|permission denied to start WAL sender/,
    cure: (_, connection) =>
      `As a superuser run: ALTER ROLE ${quoteIdentifier(userOf(connection))} REPLICATION;`,
  },
  {
    pattern: /password authentication failed|no password supplied|password must be a string/,
    cure: (_, connection) =>
      connection.password === undefined
        ? `No password was given. Set password: \${{ secrets.YOUR_SECRET }}.`
        : `Check the secret behind \`password\`; as a superuser: \\password ${quoteIdentifier(userOf(connection))}`,
  },
  {
    pattern: /role "(.+)" does not exist/,
    cure: ([, role = ''], connection) =>
      connection.parameters.user === undefined
        ? `user is not set, so the operating system's was taken. Set user.`
        : `Check user, or as a superuser run: CREATE ROLE ${quoteIdentifier(role)} LOGIN REPLICATION PASSWORD '…';`,
  },
  {
    pattern: /number of requested standby connections exceeds "?max_wal_senders"? \(currently (\d+)\)/,
    cure: ([, limit]) =>
      `wal-method: stream needs two WAL senders. On the server run: ALTER SYSTEM SET max_wal_senders = ${Number(limit) + 10}; and restart it (wal_level must not be minimal).`,
  },
  {
    pattern: /all replication slots are in use/,
    cure: () =>
      'Drop a slot that nobody uses (SELECT slot_name, active FROM pg_replication_slots;) or raise max_replication_slots and restart.',
  },
  {
    pattern: /incompatible server version (\S+)/,
    cure: ([, version = '']) =>
      `Install a client of the server's version: sudo apt-get install --yes postgresql-client-${version.split('.')[0]}`,
  },
  {
    pattern: /requested WAL segment \S+ has already been removed/,
    cure: () =>
      'The server recycled WAL during the backup. Use wal-method: stream (the default), or raise wal_keep_size on the server.',
  },
  {
    pattern: /checksum error occurred|checksum verification failed/,
    cure: () =>
      'The source has corrupt pages: no backup was kept. Run pg_amcheck and pg_checksums --check on the source, and keep your older backups.',
  },
  {
    pattern: /No space left on device/,
    cure: () => 'Free space on the runner, or use a runner with a larger disk.',
  },
  {
    pattern: /ECONNREFUSED|Connection refused|ENOENT .*\.s\.PGSQL/,
    cure: (_, connection) =>
      `Nothing listens at ${nameOf(connection)}. Check host, port, listen_addresses, and that the server runs.`,
  },
  {
    pattern: /ENOTFOUND|EAI_AGAIN|could not translate host name/,
    cure: (_, connection) => `The name does not resolve on the runner: check host (${nameOf(connection)}).`,
  },
  {
    pattern: /ETIMEDOUT|timeout expired|Connection terminated due to connection timeout/,
    cure: (_, connection) => `Nothing answers at ${nameOf(connection)}: check host, port and firewall.`,
  },
  {
    pattern: /does not support SSL/,
    cure: () => 'The server has no TLS. Turn it on (ssl = on), or set sslmode: disable.',
  },
  {
    pattern:
      /self-signed certificate|unable to (get|verify)|does not match certificate|certificate has expired/i,
    cure: () =>
      'Set sslrootcert to the file of the authority that signed the server’s certificate, and host to a name in it.',
  },
  {
    pattern: /this build does not support compression with (\S+)/,
    cure: ([, codec]) =>
      `This pg_basebackup was built without ${codec}. Set compress: gzip, or install PostgreSQL's own packages.`,
  },
];

/** The failure of a connection or a client program as a UserError, with a cure where we know one. */
export function explain(what: string, thrown: unknown, connection: Connection): UserError {
  const text = thrown instanceof CommandError ? thrown.stderr : messageOf(thrown);
  const message = `${what}: ${messageOf(thrown)}`;
  for (const {pattern, cure} of failures) {
    const match = pattern.exec(text);
    if (match) return new UserError(message, cure(match, connection), {cause: thrown});
  }
  return new UserError(message, 'The lines above this one in the log are what the program printed.', {
    cause: thrown,
  });
}
