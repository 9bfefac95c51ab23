import type {Finding} from '../../finding.js';
import type {Host} from '../../host/host.js';
import type {Check, RestoreRequest} from '../request.js';

/** What the checks that were asked for are judged by. */
export interface CheckSituation {
  readonly request: Pick<RestoreRequest, 'checks'>;
  readonly host: Pick<Host, 'name' | 'adviseInstall'>;
  /** Of the backup. */
  readonly major: number;
  /** What is there to run; undefined where nobody knows yet. */
  readonly there?: {
    readonly directory: string;
    /** The names in it. */
    readonly names: readonly string[];
    /** Whether the library of the extension amcheck is missing. */
    readonly lacksAmcheck: boolean;
  };
}

/** What a check runs that not every package of PostgreSQL's programs brings, and the kind of package that does. */
const programOf: Partial<Record<Check, readonly [program: string, what: 'client' | 'server']>> = {
  dump: ['pg_dump', 'client'],
  checksums: ['pg_checksums', 'server'],
  amcheck: ['pg_amcheck', 'client'],
};

/** The checks that cannot run here on a backup of that version. Pure. */
export function judgeChecks(situation: CheckSituation): readonly Finding[] {
  return situation.request.checks.flatMap((check) => judgeCheck(check, situation) ?? []);
}

function judgeCheck(check: Check, {host, major, there}: CheckSituation): Finding | undefined {
  const refuse = (observed: string, cure: string): Finding => ({
    level: 'error',
    subject: `Check ${check}`,
    observed,
    cure,
  });
  if (check === 'amcheck' && major < 14) {
    return refuse(
      `checks: amcheck needs PostgreSQL 14 or newer; the backup is of ${major}.`,
      'Use checks: dump.',
    );
  }
  const needed = programOf[check];
  if (needed === undefined || there === undefined) return undefined;
  const [program, what] = needed;
  if (!there.names.includes(program))
    return refuse(`${host.name} has no ${program} in ${there.directory}.`, host.adviseInstall(what, major));
  if (check !== 'amcheck' || !there.lacksAmcheck) return undefined;
  return refuse(
    `${host.name} lacks the extension amcheck, which pg_amcheck installs in the copy.`,
    `${host.adviseInstall('server', major)} (with its contrib modules), or use checks: dump.`,
  );
}

/** What the source had, as its metadata or `pg_controldata` tell; null where they do not. */
export interface SourceFacts {
  /** Settings that recovery must not undercut. */
  readonly settings: Readonly<Record<string, string>> | null;
  readonly dataChecksums: boolean | null;
}

/** What the source had that this restore has to reckon with. Pure. */
export function judgeSource(
  {settings, dataChecksums}: SourceFacts,
  request: Pick<RestoreRequest, 'checks' | 'postgresqlConf'>,
  host: Pick<Host, 'name' | 'memoryBytes'>,
): readonly Finding[] {
  const findings = [
    request.checks.includes('checksums') && dataChecksums === false ? noChecksums : undefined,
    settings === null ? undefined : judgeMemory(settings, request, host),
  ];
  return findings.filter((finding) => finding !== undefined);
}

const noChecksums: Finding = {
  level: 'warning',
  subject: 'Check checksums',
  observed: 'checks: checksums checks nothing, because the source has no page checksums.',
  cure: 'Turn them on at the source, while it is stopped: pg_checksums --enable --pgdata=<data directory>; or use checks: dump and amcheck.',
};

/** Recovery refuses less of these than the source had, so that a small machine cannot start the copy of a large one. */
function judgeMemory(
  settings: Readonly<Record<string, string>>,
  {postgresqlConf}: Pick<RestoreRequest, 'postgresqlConf'>,
  {name, memoryBytes}: Pick<Host, 'name' | 'memoryBytes'>,
): Finding | undefined {
  const neededBytes = sharedMemoryBytes(settings) + sharedBuffersBytes(postgresqlConf);
  if (!(neededBytes > memoryBytes / 2)) return undefined;
  const asked = Object.entries(settings)
    .filter(([setting]) => setting.startsWith('max_'))
    .map(([setting, value]) => `${setting} = ${value}`);
  const isTooMuch = neededBytes > memoryBytes;
  return {
    level: isTooMuch ? 'error' : 'warning',
    subject: 'Memory',
    observed: `The server needs about ${megabytes(neededBytes)} of shared memory, and ${name} has ${megabytes(memoryBytes)} of memory: recovery demands what the source had, ${asked.join(', ')}.`,
    cure: 'Use a runner with more memory, or give the service more (options: --memory); or lower these settings on the source before the next backup.',
  };
}

/**
 * Shared memory without buffers, from below: for each connection, process or prepared transaction that there may be
 * some 20 kB (state, predicate locks) and 360 bytes a lock, as `postgres -C shared_memory_size` tells it of 15.18.
 */
function sharedMemoryBytes(settings: Readonly<Record<string, string>>): number {
  const value = (name: string) => Number(settings[name] ?? 0);
  const holders =
    value('max_connections') +
    value('max_worker_processes') +
    value('max_wal_senders') +
    value('max_prepared_transactions');
  return holders * (20e3 + 360 * value('max_locks_per_transaction'));
}

const unitBytes: Readonly<Record<string, number>> = {
  '': 8192,
  b: 1,
  kb: 2 ** 10,
  mb: 2 ** 20,
  gb: 2 ** 30,
  tb: 2 ** 40,
};

/** What the user sets; without it `isolate` takes no more than an eighth of the memory. */
function sharedBuffersBytes(lines: readonly string[]): number {
  const last = lines.findLast((line) => /^\s*shared_buffers\b/i.test(line)) ?? '';
  const [, number, unit = ''] =
    /^\s*shared_buffers\s*=?\s*'?(\d+)\s*(B|kB|MB|GB|TB)?'?\s*(?:#.*)?$/i.exec(last) ?? [];
  return number === undefined ? 0 : Number(number) * (unitBytes[unit.toLowerCase()] ?? 0);
}

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
