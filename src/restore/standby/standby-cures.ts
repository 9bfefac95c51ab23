/** A line of a standby's log that says why it does not follow, and what to do about it. */
interface StandbyCure {
  readonly pattern: RegExp;
  cure(match: RegExpExecArray): string;
  /** Whether waiting cannot help; `without archive`: only an archive can. */
  readonly final?: true | 'without archive';
}

/** By the stable fragments of messages: PostgreSQL 13 to 18 (walreceiver.c, libpqwalreceiver.c, walsender.c, slot.c). */
export const standbyCures: readonly StandbyCure[] = [
  {
    pattern: /requested WAL segment \S+ has already been removed/,
    cure: () =>
      'The primary no longer has the WAL that follows the backup. Take a newer backup; to have it kept, make a slot before the backup is taken and give it as slot, raise wal_keep_size there, or give wal-directory or restore-command.',
    final: 'without archive',
  },
  {
    pattern: /replication slot "(.+?)" does not exist/,
    cure: ([, slot]) => `On the primary run: SELECT pg_create_physical_replication_slot('${slot}', true);`,
    final: true,
  },
  {
    pattern: /replication slot "(.+?)" is active for PID (\d+)/,
    cure: ([, , pid]) =>
      `Give each standby a slot of its own, or end the other on the primary: SELECT pg_terminate_backend(${pid});`,
  },
  {
    pattern: /can(not| no longer) (read from|get changes from|access|use) .*replication slot "(.+?)"/,
    cure: ([, , , slot]) =>
      `The slot has lost WAL. On the primary make it anew, and take a new backup: SELECT pg_drop_replication_slot('${slot}'); SELECT pg_create_physical_replication_slot('${slot}', true);`,
    final: 'without archive',
  },
  {
    pattern: /password authentication failed|no password supplied/,
    cure: () =>
      'The primary refuses the password: check the secret behind `password`, and whether it was changed meanwhile.',
    final: true,
  },
  {
    pattern: /no pg_hba\.conf entry for replication connection from host "(.+?)", user "(.+?)"/,
    cure: ([, address = '', user]) =>
      `On the primary add to pg_hba.conf, then SELECT pg_reload_conf(): host replication "${user}" ${address}/${address.includes(':') ? 128 : 32} scram-sha-256`,
    final: true,
  },
  {
    pattern: /database system identifier differs between the primary and standby/,
    cure: () => 'The primary is another cluster than the backup: check host and port, or backup-name.',
    final: true,
  },
  {
    pattern:
      /is not in this server's history|is behind recovery timeline|is not a child of this server's history/,
    cure: () =>
      'The primary went another way than the backup (it was promoted, or restored). Take a new backup of it.',
    final: true,
  },
  {
    pattern:
      /hot standby is not possible because|recovery aborted because of insufficient parameter settings/,
    cure: () =>
      'The source, or the primary, was given more than the restored server has: recovery demands no less of max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions, max_locks_per_transaction. Remove them from postgresql-conf, or set them as there.',
  },
  {
    pattern: /could not connect to the primary server/,
    cure: () =>
      'The primary does not answer where the standby runs: check that it runs, and host, port, listen_addresses and firewall.',
  },
];

/** Whether a line of the log tells that a standby will never follow, however long one waits. */
export function isFinal(line: string, hasArchive: boolean): boolean {
  return standbyCures.some(
    ({pattern, final}) =>
      (final === true || (final === 'without archive' && !hasArchive)) &&
      /(FATAL|ERROR): /.test(line) &&
      pattern.test(line),
  );
}
