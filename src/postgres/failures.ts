import {messageOf, PassingError, UserError} from '../errors.js';
import {CommandError} from '../host/host.js';
import {type Connection, hostOf, nameOf, userOf} from './connection.js';
import {entryFor, formatHbaEntry, hbaRefusalIn} from './hba.js';

/** A message of PostgreSQL and what to do about it. Quotes around settings' names are new in 17. */
interface Failure {
  readonly pattern: RegExp;
  /** Whether it may be gone when the same is tried again. */
  readonly isPassing?: true;
  cure(match: RegExpExecArray, connection: Connection): string;
}

/** A name in a statement that a message shows; what we run ourselves is quoted by the server. */
export const quoteIdentifier = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** The line that admits the replication connection that a message is about. */
function lineFor([message]: RegExpExecArray): string {
  const refusal = hbaRefusalIn(message);
  return refusal ? formatHbaEntry(entryFor(refusal, 'scram-sha-256')) : '';
}

/** Messages by their stable fragments: PostgreSQL 13 to 18, LC_MESSAGES=C. */
const failures: readonly Failure[] = [
  {
    pattern: /no pg_hba\.conf entry for replication connection from host .*/,
    cure: (match) =>
      `Add this line to the server's pg_hba.conf (the word "all" does not match replication):\n${lineFor(match)}\nthen run: SELECT pg_reload_conf();`,
  },
  {
    pattern: /pg_hba\.conf rejects replication connection for host .*/,
    cure: (match) =>
      `A "reject" line of the server's pg_hba.conf matches. Above it, add:\n${lineFor(match)}\nthen run: SELECT pg_reload_conf();`,
  },
  {
    pattern: /must be superuser or replication role to start walsender|permission denied to start WAL sender/,
    cure: (_, connection) =>
      `As a superuser run: ALTER ROLE ${quoteIdentifier(userOf(connection))} REPLICATION;`,
  },
  {
    // PgBouncer says no more than that of SASL.
    pattern:
      /password authentication failed|no password supplied|password must be a string|SASL authentication failed/,
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
    // Also under wal-method: stream, where another backup's checkpoint comes between the start and the slot.
    isPassing: true,
    pattern: /requested WAL segment \S+ has already been removed/,
    cure: () =>
      "The server recycled WAL that the backup needs. Use wal-method: stream (the default), take no two backups at the same moment, or on the server run: ALTER SYSTEM SET wal_keep_size = '1GB'; SELECT pg_reload_conf();",
  },
  {
    pattern: /WAL summarization is not enabled|unless WAL summarization is enabled/,
    cure: () => 'On the server run: ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();',
  },
  {
    pattern: /WAL summaries are required on timeline|WAL summarization is not progressing/,
    cure: () =>
      "The server has not noted down all that has changed since the last backup. It begins to with summarize_wal = on, and forgets after wal_summary_keep_time: back up more often, or raise that: ALTER SYSTEM SET wal_summary_keep_time = '30d'; SELECT pg_reload_conf();",
  },
  {
    pattern:
      /timeline \d+ found in manifest, but not in this server's history|manifest requires WAL from (?:initial|final) timeline/,
    cure: () =>
      'The last backup is of a history that this server did not have: of another copy of it, or of a time after the point that it was recovered to. The next backup builds on the full one.',
  },
  {
    pattern: /[Uu]nsupported startup parameter:? "?replication|database "replication" does not exist/,
    cure: (_, connection) =>
      `A pooler is in between: it answers at ${nameOf(connection)}, and hands no replication on. Set host and port to the server itself.`,
  },
  {
    pattern: /could not open (?:file|directory) "([^"]+)": Permission denied/,
    cure: ([, path = '']) =>
      `The server's own account cannot read that file in its data directory. On the server: chown postgres '${path}'`,
  },
  {
    pattern: /file name too long for tar format: "([^"]+)"/,
    cure: () =>
      'A tar archive takes names of 100 bytes at most. On the server, move that file out of the data directory; or use format: plain.',
  },
  {
    pattern: /the standby was promoted during online backup/,
    isPassing: true,
    cure: () => 'Run the step again: the server is a primary now.',
  },
  {
    pattern: /WAL generated with "?full_page_writes=off/,
    cure: () =>
      'On the primary run: ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(); CHECKPOINT; and wait for a restartpoint of the standby, or back up the primary.',
  },
  {
    pattern: /replication slot "(.+?)" (does not exist|is active)/,
    cure: ([, slot = '', what = '']) =>
      what === 'is active'
        ? 'Another backup or standby uses that slot: give each its own, or leave slot out.'
        : `On the server run: SELECT pg_create_physical_replication_slot('${slot}'); or leave slot out: a temporary one is made.`,
  },
  // Ahead of what the receiver of the WAL ends with when its disk is full.
  {
    pattern: /No space left on device/,
    cure: () => 'Free space on the runner, or use a runner with a larger disk.',
  },
  {
    isPassing: true,
    pattern: /background process terminated unexpectedly|child process exited with (?:exit code|error)/,
    cure: () =>
      'The second connection, which streams the WAL, was lost. Look at the server’s log: the slot lost its WAL (max_slot_wal_keep_size), or somebody ended the WAL sender. Then run the step again.',
  },
  {
    isPassing: true,
    pattern:
      /server closed the connection unexpectedly|SSL SYSCALL error: EOF|terminating connection due to administrator command|terminating walsender process|Connection terminated unexpectedly|ECONNRESET|EPIPE|the database system is (?:shutting down|starting up|in recovery mode)/,
    cure: () =>
      'The connection was lost on the way, or the server was stopped. Look at the server’s log, then run the step again.',
  },
  {
    isPassing: true,
    pattern: /server did not answer for \d+ s/,
    cure: () =>
      'Look for what lies between: a proxy, a firewall that forgets connections, a server or disk that is overloaded. stall-timeout gives more time.',
  },
  {
    pattern: /too many (?:connections|clients)|remaining connection slots are reserved/,
    cure: () => 'The server has no connection left: raise max_connections, or run the step at another time.',
  },
  {
    pattern: /checksum error occurred|checksum verification failed/,
    cure: () =>
      'The source has corrupt pages: no backup was kept. Run pg_amcheck and pg_checksums --check on the source, and keep your older backups.',
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
    cure: () =>
      'The server has no TLS. On the server, set ssl_cert_file and ssl_key_file, then run: ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf(); or, where nobody can listen on the network, set sslmode: disable.',
  },
  {
    pattern: /certificate has expired/,
    cure: () =>
      'Renew the server’s certificate (ssl_cert_file), then on the server run: SELECT pg_reload_conf();',
  },
  {
    pattern: /certificate is not yet valid/,
    cure: () => 'Compare the clocks: by the runner’s, the server’s certificate begins in the future.',
  },
  {
    pattern: /does not match (?:certificate|host name)/,
    cure: (_, connection) =>
      `The server’s certificate is not for ${hostOf(connection)}. Set host to a name that it is for, or have it issued for this one; sslmode: verify-ca looks at its authority alone.`,
  },
  {
    pattern: /self-signed certificate|unable to (?:get|verify)/i,
    cure: () =>
      'Set sslrootcert to the file of the authority that signed the server’s certificate: the one that is in use did not.',
  },
  {
    // libpq alone: it does not say which of the two it is.
    pattern: /certificate verify failed/,
    cure: (_, {parameters}) =>
      `The server’s certificate has expired, or another authority signed it than that of sslrootcert. To see which: openssl s_client -starttls postgres -connect ${parameters.host}:${parameters.port ?? '5432'} -CAfile ${parameters.sslrootcert ?? '~/.postgresql/root.crt'}`,
  },
  {
    pattern:
      /(root certificate|private key) file "(.+?)" does not exist|certificate present, but not private key|(?:ENOENT|EACCES): .*, open '|could not read root certificate file|PEM routines/,
    cure: () =>
      'Set sslrootcert, and sslcert and sslkey where you use them (PGSSLCERT, PGSSLKEY), to files in PEM format that exist and can be read.',
  },
  {
    pattern: /this build does not support compression with (\S+)/,
    cure: ([, codec]) =>
      `This pg_basebackup was built without ${codec}. Set compress: gzip, or install PostgreSQL's own packages.`,
  },
];

/** The messages that have a cure, for docs/troubleshooting.md to be held to. */
export const knownMessages: readonly RegExp[] = failures.map(({pattern}) => pattern);

/** The line that told why, where a program ended with another one. */
function reasonAhead(text: string, match: RegExpExecArray, message: string): string {
  if (message.includes(match[0])) return '';
  const line = text.split('\n').find((one) => one.includes(match[0]));
  return line === undefined ? '' : ` Ahead of that: ${line.trim()}`;
}

/** Which is of no use to somebody who does not start Node. */
const adviceOfNode = /; if the root CA is installed locally, try running Node.*/;
/** What ended a program that says nothing of it itself. */
const killed =
  'Something on the runner killed it, most often the kernel for lack of memory (dmesg tells). Lower compress (client-zstd:level=1, or none), or use a larger runner.';

/** The failure of a connection or a client program as a UserError, with a cure where we know one. */
export function explain(what: string, thrown: unknown, connection: Connection): UserError {
  const text = thrown instanceof CommandError ? thrown.stderr : messageOf(thrown);
  const message = `${what}: ${messageOf(thrown).replace(adviceOfNode, '')}`;
  for (const {pattern, cure, isPassing} of failures) {
    const match = pattern.exec(text);
    if (!match) continue;
    const Kind = isPassing ? PassingError : UserError;
    return new Kind(message + reasonAhead(text, match, message), cure(match, connection), {cause: thrown});
  }
  const isKilled = thrown instanceof CommandError && thrown.status === 'SIGKILL';
  const cure = isKilled ? killed : 'The lines above this one in the log are what the program printed.';
  return new UserError(message, cure, {cause: thrown});
}
