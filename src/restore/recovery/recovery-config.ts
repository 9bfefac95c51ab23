import type {Network} from '../../host/host.js';
import type {RecoveryTarget, RestoreRequest} from '../request.js';

/** What the generated configuration depends on, besides the request. */
export interface ConfigFacts {
  readonly major: number;
  readonly dataDirectory: string;
  readonly configDirectory: string;
  readonly socketDirectory: string;
  /** From `pg_controldata`: five settings that recovery must not undercut, and `track_commit_timestamp`. */
  readonly requiredSettings: Readonly<Record<string, string>>;
  readonly memoryBytes: number;
  readonly network: Network;
  /** What `restore_command` is. */
  readonly restoreCommand: string;
  readonly primaryConninfo?: string;
  /** Configuration files of the backup itself, which count when the server is not isolated. */
  readonly ownFiles: readonly string[];
}

/** A setting for the major versions that know it. */
interface Setting {
  readonly name: string;
  readonly value: string;
  readonly since?: number;
  readonly until?: number;
}

/**
 * Settings under which a copy of somebody's server can do no harm: it archives nothing, follows nobody, runs no
 * workers and no libraries, and fits on a small machine.
 */
const harmless: readonly Setting[] = [
  {name: 'archive_mode', value: 'off'},
  {name: 'archive_command', value: ''},
  {name: 'archive_library', value: '', since: 15},
  {name: 'shared_preload_libraries', value: ''},
  {name: 'session_preload_libraries', value: ''},
  {name: 'local_preload_libraries', value: ''},
  {name: 'max_logical_replication_workers', value: '0'},
  {name: 'sync_replication_slots', value: 'off', since: 17},
  {name: 'synchronized_standby_slots', value: '', since: 17},
  {name: 'summarize_wal', value: 'off', since: 17},
  {name: 'event_triggers', value: 'off', since: 17},
  {name: 'synchronous_standby_names', value: ''},
  {name: 'autovacuum', value: 'off'},
  {name: 'ssl', value: 'off'},
  {name: 'krb_server_keyfile', value: ''},
  {name: 'bonjour', value: 'off'},
  {name: 'oauth_validator_libraries', value: '', since: 18},
  {name: 'huge_pages', value: 'off'},
  {name: 'huge_page_size', value: '0', since: 14},
  {name: 'min_dynamic_shared_memory', value: '0', since: 14},
  {name: 'dynamic_shared_memory_type', value: 'posix'},
  {name: 'wal_buffers', value: '4MB'},
  {name: 'io_method', value: 'sync', since: 18},
  {name: 'effective_io_concurrency', value: '1'},
  {name: 'jit', value: 'off'},
  {name: 'TimeZone', value: 'UTC'},
  {name: 'temp_tablespaces', value: ''},
  {name: 'default_tablespace', value: ''},
  // Also the number of replication origins that a subscriber may have recorded, until 18 gave them their own.
  {name: 'max_replication_slots', value: '1000'},
  {name: 'max_active_replication_origins', value: '1000', since: 18},
];

/** Traces of the source's own recovery and replication, which would lead the copy elsewhere. */
const forgotten: readonly Setting[] = [
  {name: 'primary_conninfo', value: ''},
  {name: 'primary_slot_name', value: ''},
  {name: 'wal_receiver_create_temp_slot', value: 'off'},
  {name: 'archive_cleanup_command', value: ''},
  {name: 'recovery_end_command', value: ''},
  {name: 'recovery_min_apply_delay', value: '0'},
  {name: 'promote_trigger_file', value: '', until: 15},
  {name: 'recovery_target', value: ''},
  {name: 'recovery_target_time', value: ''},
  {name: 'recovery_target_lsn', value: ''},
  {name: 'recovery_target_xid', value: ''},
  {name: 'recovery_target_name', value: ''},
];

/** The generated `postgresql.conf`: later lines win over earlier ones, the user's own come last. */
export function postgresqlConf(request: RestoreRequest, facts: ConfigFacts): string {
  const {isolate} = request;
  const required = Object.entries(facts.requiredSettings).map(([name, value]) => ({name, value}));
  const settings = [
    ...(isolate ? [...harmless, {name: 'shared_buffers', value: sharedBuffers(facts.memoryBytes)}] : []),
    // A copy that is stopped after its checks need not survive a crash of the machine; flushing it takes longest.
    ...(isolate && !request.keepRunning && !request.inPlace ? [{name: 'fsync', value: 'off'}] : []),
    ...forgotten,
    ...places(request, facts),
    ...(isolate ? required : []),
    ...recovery(request, facts),
  ];
  const known = settings.filter(
    ({since = 0, until = Infinity}: Setting) => facts.major >= since && facts.major <= until,
  );
  return [
    '# Written by the restore; the configuration that came with the backup is unchanged in the data directory.',
    // Debian keeps the configuration elsewhere, so that the backup's own files may not name these.
    ...(isolate ? [] : required.map(line)),
    ...(isolate ? [] : facts.ownFiles.map((path) => `include ${quote(path)}`)),
    ...known.map(line),
    ...request.postgresqlConf,
    '',
  ].join('\n');
}

const line = ({name, value}: Setting) => `${name} = ${quote(value)}`;

function places(request: RestoreRequest, facts: ConfigFacts): readonly Setting[] {
  const {dataDirectory, configDirectory} = facts;
  return [
    {name: 'data_directory', value: dataDirectory},
    {name: 'hba_file', value: `${configDirectory}/pg_hba.conf`},
    {name: 'ident_file', value: `${configDirectory}/pg_ident.conf`},
    {name: 'listen_addresses', value: request.keepRunning ? both('127.0.0.1', facts.network.address) : ''},
    {name: 'port', value: String(request.listenPort)},
    {name: 'unix_socket_directories', value: facts.socketDirectory},
    // The configuration that came with the backup may name the original's.
    ...(request.isolate ? [] : [{name: 'external_pid_file', value: `${configDirectory}/external.pid`}]),
    {name: 'logging_collector', value: 'off'},
    {name: 'log_destination', value: 'stderr'},
    // How recovery ended is read in the log.
    {name: 'log_min_messages', value: 'warning'},
    {name: 'lc_messages', value: 'C'},
    {name: 'hot_standby', value: 'on'},
  ];
}

const both = (one: string, other: string) => [...new Set([one, other])].join();

const targetNames = {
  time: 'recovery_target_time',
  lsn: 'recovery_target_lsn',
  xid: 'recovery_target_xid',
  name: 'recovery_target_name',
  immediate: 'recovery_target',
} as const;

function recovery(
  {recovery: {target, inclusive, timeline, action}, slot}: RestoreRequest,
  facts: ConfigFacts,
): readonly Setting[] {
  return [
    {name: 'restore_command', value: facts.restoreCommand},
    {name: 'recovery_target_timeline', value: timeline},
    {name: 'recovery_target_inclusive', value: inclusive ? 'on' : 'off'},
    {name: 'recovery_target_action', value: action},
    // Without it recovery ends at a tablespace inside of the data directory (xlogrecovery.c, CheckTablespaceDirectory).
    {name: 'allow_in_place_tablespaces', value: 'on', since: 15},
    ...(target ? [{name: targetNames[target.kind], value: settingOf(target)}] : []),
    ...(facts.primaryConninfo === undefined
      ? []
      : [{name: 'primary_conninfo', value: facts.primaryConninfo}]),
    ...(slot === undefined ? [] : [{name: 'primary_slot_name', value: slot}]),
  ];
}

/** `Z` is an abbreviation to PostgreSQL, which knows none yet when it reads its configuration. */
const settingOf = ({kind, value}: RecoveryTarget) => (kind === 'time' ? value.replace(/ ?Z$/, '+00') : value);

/** An eighth of the memory, 128 MB at most: enough to recover, and never more than a runner has. */
function sharedBuffers(memoryBytes: number): string {
  return `${Math.max(16, Math.min(128, Math.floor(memoryBytes / 8 / 2 ** 20)))}MB`;
}

/** A value of postgresql.conf (PostgreSQL manual, "Parameter Interaction via the Configuration File"). */
function quote(value: string): string {
  if (/[\n\r\0]/.test(value)) throw new Error('A setting must not contain a line break.');
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/**
 * Who may connect to the restored server: everybody who can reach its private socket and, while it is kept running
 * in isolation, every process beside it over 127.0.0.1, and the runner. Without isolation the backup's own rules follow.
 */
export function pgHbaConf(
  {keepRunning, isolate}: RestoreRequest,
  {clientAddress}: Network,
  ownRules: string,
): string {
  const clients = new Set(['127.0.0.1', clientAddress]);
  const admitted = [...clients].map((address) => `host all all ${address}/32 trust`);
  return [
    'local all all trust',
    ...(keepRunning && isolate ? admitted : []),
    ...(isolate ? [] : [ownRules]),
    '',
  ].join('\n');
}
