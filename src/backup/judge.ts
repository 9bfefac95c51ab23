import type {Finding} from '../finding.js';
import type {Answers, SqlFacts} from '../postgres/facts.js';
import {quoteIdentifier} from '../postgres/failures.js';
import type {Readiness} from '../postgres/readiness.js';
import type {BackupRequest} from './request.js';
import {judgeSpace, showSize as size} from './space.js';
import {bytesPerSecondOf} from './window.js';

/** What findings are made from. */
export interface Situation {
  readonly request: BackupRequest;
  readonly facts: SqlFacts;
  readonly readiness: Readiness;
  readonly serverMajor: number;
  /** Bytes that can be written where the backup goes. */
  readonly freeBytes: number;
  /** The largest file that the store takes; undefined: any. */
  readonly largestFileBytes?: number;
  /** Whether the files are stored while they are written, and need not fit on the disk. */
  readonly isStreamed: boolean;
  /** What the store itself has on the disk meanwhile. */
  readonly storeDiskBytes: number;
}

/** Judges what a server says of itself by SQL. Pure. */
export function judge(situation: Situation): readonly Finding[] {
  return rules.flatMap((rule) => rule(situation) ?? []);
}

type Rule = (situation: Situation) => Finding | readonly Finding[] | undefined;

const finding =
  (level: Finding['level']) =>
  (subject: string, observed: string, cure = ''): Finding => ({level, subject, observed, cure});
const error = finding('error');
const warn = finding('warning');
const note = finding('note');

const rules: readonly Rule[] = [
  ({readiness: {canReplicate, role}}) =>
    canReplicate
      ? undefined
      : error(
          'Role',
          `${quoteIdentifier(role)} has no REPLICATION`,
          `As a superuser run: ALTER ROLE ${quoteIdentifier(role)} REPLICATION;`,
        ),
  ({readiness: {isPrivate}, request: {connection}}) =>
    isPrivate || isLoopback(connection.parameters.host)
      ? undefined
      : warn(
          'Encryption',
          'the connection is not encrypted: all data would cross the network in the clear',
          'Turn TLS on at the server (ssl = on), and set sslmode: verify-full',
        ),
  ({readiness: {walLevel}}) =>
    walLevel === 'minimal'
      ? error(
          'wal_level',
          'it is minimal, which allows no backups',
          "On the server run: ALTER SYSTEM SET wal_level = 'replica'; ALTER SYSTEM SET max_wal_senders = 10; and restart it.",
        )
      : undefined,
  walSenders,
  slots,
  oldSlots,
  ({request: {walMethod}, readiness: {slotKeepBytes, dataBytes}}) =>
    walMethod === 'stream' && slotKeepBytes !== undefined && slotKeepBytes < (dataBytes ?? 0) / 10
      ? warn(
          'max_slot_wal_keep_size',
          `it is ${size(slotKeepBytes)}: a slow backup of ${size(dataBytes ?? 0)} may lose its WAL when more than that is written meanwhile`,
          'On the server run: ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf();',
        )
      : undefined,
  standby,
  ({readiness: {backupsInProgress}}) =>
    backupsInProgress
      ? warn(
          'Other backups',
          `${backupsInProgress} in progress on this server: both take longer`,
          'Give the workflows one concurrency group: concurrency: backup',
        )
      : undefined,
  checksums,
  ({readiness: {filesOutside}}) =>
    filesOutside && filesOutside.length > 0
      ? note(
          'Configuration',
          `not in the data directory, so not in the backup: ${filesOutside.join(', ')}`,
          'Keep a copy of these files elsewhere.',
        )
      : undefined,
  inPlaceTablespaces,
  // Who reads a log need not be who may read the backup.
  ({facts: {tablespaces}, request: {encryption}}) =>
    tablespaces && tablespaces.length > 0
      ? note(
          'Tablespaces',
          tablespaces.map(({oid, path}) => (encryption ? oid : `${oid} at ${path}`)).join(', '),
        )
      : undefined,
  ({readiness: {unloggedTables}, request: {connection}}) =>
    unloggedTables
      ? note(
          'Unlogged tables',
          `${unloggedTables} in database ${JSON.stringify(connection.parameters.dbname ?? 'postgres')}: empty after a restore`,
        )
      : undefined,
  judgeSpace,
  duration,
];

const isLoopback = (host = '') => host === '' || /^(\/|localhost$|127\.|::1$)/.test(host);

function walSenders({request: {walMethod}, readiness: {walLevel, walSenders: senders}}: Situation) {
  const needed = walMethod === 'stream' ? 2 : 1;
  const free = senders.limit - senders.used;
  if (free >= needed || walLevel === 'minimal') return undefined;
  return error(
    'WAL senders',
    `${senders.used} of ${senders.limit} (max_wal_senders) are in use, and wal-method: ${walMethod} needs ${needed}`,
    `On the server run: ALTER SYSTEM SET max_wal_senders = ${senders.limit + 10}; and restart it.${free === 1 ? ' Until then: wal-method: fetch' : ''}`,
  );
}

function slots({request: {walMethod, slot}, readiness}: Situation) {
  if (walMethod !== 'stream') return undefined;
  const {limit, used} = readiness.slots;
  if (slot !== undefined) return namedSlot(slot, readiness);
  if (limit > used) return undefined;
  return error(
    'Replication slots',
    `all ${limit} (max_replication_slots) are taken, and wal-method: stream needs one for the time of the backup`,
    'Drop one that nobody uses (SELECT slot_name, active FROM pg_replication_slots;), or raise max_replication_slots and restart the server.',
  );
}

function namedSlot(slot: string, {physicalSlots}: Readiness) {
  if (physicalSlots === null) return undefined;
  const found = physicalSlots.find(({name}) => name === slot);
  if (found?.isActive) {
    return error('Slot', `${slot} is in use by another backup or standby`, 'Give each its own slot.');
  }
  return found
    ? undefined
    : error(
        'Slot',
        `the server has no physical replication slot named ${slot}`,
        `On the server run: SELECT pg_create_physical_replication_slot('${slot}'); or leave slot out: a temporary one is made.`,
      );
}

/** A temporary slot of pg_basebackup's bears its name and a process number; others belong to somebody. */
function oldSlots({request: {slot}, readiness: {physicalSlots}}: Situation) {
  return (physicalSlots ?? [])
    .filter(({name, isActive, keptBytes}) => !isActive && keptBytes !== null && name !== slot)
    .map(({name, keptBytes}) =>
      warn(
        'Unused slot',
        `${name} is used by nobody, and the server keeps ${size(keptBytes ?? 0)} of WAL for it`,
        `If nobody needs it: SELECT pg_drop_replication_slot('${name.replaceAll("'", "''")}');`,
      ),
    );
}

function standby({request: {walMethod}, facts: {isStandby}, readiness: {fullPageWrites}}: Situation) {
  if (!isStandby) return undefined;
  const promotion = note('Standby', 'the backup fails if this server is promoted meanwhile');
  if (fullPageWrites === false) {
    return error(
      'full_page_writes',
      'it is off on the primary, so that a standby cannot be backed up',
      'On the primary run: ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(); CHECKPOINT; then wait for a restartpoint here, or back up the primary.',
    );
  }
  if (walMethod !== 'none') return promotion;
  return [
    promotion,
    warn(
      'Standby',
      'with wal-method: none, a backup of a standby waits until its WAL is archived, which an idle primary may put off',
      'Use wal-method: stream.',
    ),
  ];
}

function checksums({facts: {dataChecksums}, readiness: {damagedDatabases}}: Situation) {
  if (damagedDatabases && damagedDatabases.length > 0) {
    return warn(
      'Damaged pages',
      `the server has met some in ${damagedDatabases.join(', ')}`,
      'Keep your older backups, and look: pg_amcheck --all; SELECT datname, checksum_failures, checksum_last_failure FROM pg_stat_database;',
    );
  }
  return dataChecksums === false
    ? note(
        'Page checksums',
        'they are off: a backup does not notice damaged pages',
        'With the server stopped: pg_checksums --enable --pgdata=<data directory>',
      )
    : undefined;
}

/** Seen with 15.18: neither the archive nor the manifest has the files, and pg_basebackup ends with status 0. */
function inPlaceTablespaces({facts: {tablespaces}, serverMajor}: Situation) {
  const inPlace = (tablespaces ?? []).filter(({path}) => !path.startsWith('/'));
  if (inPlace.length === 0 || serverMajor >= 16) return undefined;
  return error(
    'Tablespaces',
    `${inPlace.map(({path}) => path).join(', ')} are in place (allow_in_place_tablespaces), and pg_basebackup leaves them out before PostgreSQL 16`,
    'Move what is in them to a tablespace with a directory of its own: ALTER TABLE … SET TABLESPACE …;',
  );
}

function duration({request: {maxRate}, readiness: {dataBytes}}: Situation) {
  if (maxRate === undefined || dataBytes === null) return undefined;
  const minutes = Math.ceil(dataBytes / bytesPerSecondOf(maxRate) / 60);
  const text = `at ${maxRate} (max-rate) the backup takes at least ${minutes} minutes`;
  return minutes > 350
    ? warn('Duration', `${text}; GitHub ends a job after 6 hours`, 'Raise max-rate.')
    : note('Duration', text);
}

/** Host names of services that give nobody the right to take a physical backup. */
const services: readonly (readonly [RegExp, string])[] = [
  [/\.rds\.amazonaws\.com$|^rds_superuser$/, 'Amazon RDS'],
  [/^cloudsqlsuperuser$/, 'Google Cloud SQL'],
  [/\.postgres\.database\.azure\.com$|^azure_pg_admin$/, 'Azure Database for PostgreSQL'],
  [/\.neon\.tech$|^neon_superuser$/, 'Neon'],
  [/\.supabase\.(co|com)$|^supabase_admin$/, 'Supabase'],
];

/** The managed service that a server belongs to, by its name or by roles that only it has; undefined: none known. */
export function managedService(host: string | undefined, {sql}: Answers): string | undefined {
  const signs = [host ?? '', ...('readiness' in sql ? sql.readiness.serviceRoles : [])];
  return services.find(([pattern]) => signs.some((sign) => pattern.test(sign)))?.[1];
}
