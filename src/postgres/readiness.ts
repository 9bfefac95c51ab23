import {askIfAllowed, type Row, type Session} from './session.js';

/** How many of something a server has, and how many of them are taken. */
export interface Capacity {
  readonly limit: number;
  readonly used: number;
}

/** A physical replication slot. */
export interface PhysicalSlot {
  readonly name: string;
  readonly isActive: boolean;
  /** Bytes of WAL that the server keeps for it; null where it keeps none. */
  readonly keptBytes: number | null;
}

/** Which blocks WAL has changed, as the server notes it down with `summarize_wal`. */
export interface WalSummaries {
  readonly isOn: boolean;
  /** Where the oldest summary that is there begins; undefined: there is none, or the role may not look. */
  readonly oldestLsn?: string;
}

/** What tells whether a server is ready for a base backup. Null: the role may not look. */
export interface Readiness {
  readonly role: string;
  readonly canReplicate: boolean;
  /** Whether the connection that asked is by TLS, or over a Unix socket. */
  readonly isPrivate: boolean;
  readonly walLevel: string;
  /** Senders of WAL; those of our own asking do not count. */
  readonly walSenders: Capacity;
  readonly slots: Capacity;
  readonly physicalSlots: readonly PhysicalSlot[] | null;
  /** As the last checkpoint recorded it: on a standby, that of its primary. */
  readonly fullPageWrites: boolean | null;
  /** `max_slot_wal_keep_size`; undefined: no limit. */
  readonly slotKeepBytes?: number;
  /** Of all databases. */
  readonly dataBytes: number | null;
  /** In the database that was asked. */
  readonly unloggedTables: number | null;
  readonly backupsInProgress: number | null;
  /** Databases in which damaged pages have been counted. */
  readonly damagedDatabases: readonly string[] | null;
  /** Configuration files that are not in the data directory. */
  readonly filesOutside: readonly string[] | null;
  /** What incremental backups are made from; undefined before version 17. */
  readonly walSummaries?: WalSummaries;
  /** Roles that only a managed service has, such as `rds_superuser`. */
  readonly serviceRoles: readonly string[];
}

/** Asks a server how ready it is. Throws what node-postgres throws when not even its settings can be had. */
export async function askReadiness(session: Session): Promise<Readiness> {
  const ask = (statement: string) => askIfAllowed(session, statement);
  const [state = {}] = await session.query(stateQuery);
  const [slots, pages, size, unlogged, backups, damaged, files] = [
    await ask(slotsQuery),
    await ask('select full_page_writes as value from pg_control_checkpoint()'),
    await ask('select sum(pg_database_size(oid))::text as value from pg_database'),
    await ask(`select count(*)::text as value from pg_class where relpersistence = 'u' and relkind = 'r'`),
    await ask('select count(*)::text as value from pg_stat_progress_basebackup'),
    await ask('select datname as value from pg_stat_database where checksum_failures > 0'),
    await ask(filesQuery),
  ];
  const walSummaries = await askWalSummaries(state, ask);
  return {
    ...(walSummaries && {walSummaries}),
    role: String(state.role),
    canReplicate: Boolean(state.can_replicate),
    isPrivate: Boolean(state.is_private),
    walLevel: String(state.wal_level),
    walSenders: {limit: Number(state.max_wal_senders), used: Number(state.senders)},
    slots: {limit: Number(state.max_replication_slots), used: Number(state.slots)},
    physicalSlots: slots?.map(toSlot) ?? null,
    fullPageWrites: pages && Boolean(pages[0]?.value),
    ...(Number(state.keep_megabytes) >= 0 && {slotKeepBytes: Number(state.keep_megabytes) * 2 ** 20}),
    dataBytes: size && Number(size[0]?.value),
    unloggedTables: unlogged && Number(unlogged[0]?.value),
    backupsInProgress: backups && Number(backups[0]?.value),
    damagedDatabases: damaged?.map(({value}) => String(value ?? 'shared catalogs')) ?? null,
    filesOutside: files && toFilesOutside(files),
    serviceRoles: (state.service_roles as string[] | null) ?? [],
  };
}

async function askWalSummaries(
  {summarize_wal: setting}: Row,
  ask: (statement: string) => Promise<readonly Row[] | null>,
): Promise<WalSummaries | undefined> {
  if (setting == null) return undefined;
  if (setting !== 'on') return {isOn: false};
  const oldest = await ask('select min(start_lsn)::text as value from pg_available_wal_summaries()');
  const oldestLsn = oldest?.[0]?.value;
  return {isOn: true, ...(oldestLsn != null && {oldestLsn: String(oldestLsn)})};
}

/** Roles by which managed services give themselves away; none of them lets a user take a physical backup. */
const serviceRoles = [
  'rds_superuser',
  'cloudsqlsuperuser',
  'azure_pg_admin',
  'neon_superuser',
  'supabase_admin',
];

const stateQuery = `
  select rolname as role, rolreplication or rolsuper as can_replicate,
         inet_client_addr() is null or coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)
           as is_private,
         current_setting('wal_level') as wal_level, current_setting('max_wal_senders') as max_wal_senders,
         (select count(*) from pg_stat_replication
           where application_name is distinct from current_setting('application_name')) as senders,
         current_setting('max_replication_slots') as max_replication_slots,
         (select count(*) from pg_replication_slots) as slots,
         (select setting from pg_settings where name = 'max_slot_wal_keep_size') as keep_megabytes,
         (select setting from pg_settings where name = 'summarize_wal') as summarize_wal,
         array(select rolname::text from pg_roles where rolname in ('${serviceRoles.join("', '")}')) as service_roles
    from pg_roles where rolname = current_user`;

const slotsQuery = `
  select slot_name as name, active,
         pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                         restart_lsn)::text as kept
    from pg_replication_slots where slot_type = 'physical' order by 1`;

const filesQuery = `
  select name, setting as value from pg_settings where name in ('data_directory', 'config_file', 'hba_file', 'ident_file')
  union select 'included', sourcefile from pg_settings where sourcefile is not null`;

const toSlot = ({name, active, kept}: Row): PhysicalSlot => ({
  name: String(name),
  isActive: Boolean(active),
  keptBytes: kept == null ? null : Number(kept),
});

/** Null without the right to see where the data directory is. */
function toFilesOutside(rows: readonly Row[]): readonly string[] | null {
  const directory = rows.find(({name}) => name === 'data_directory')?.value;
  if (directory == null) return null;
  const files = rows.filter(({name}) => name !== 'data_directory').map(({value}) => String(value ?? ''));
  return [...new Set(files)]
    .filter((path) => path.startsWith('/') && !path.startsWith(`${directory}/`))
    .sort();
}
