import {PassThrough} from 'node:stream';
import {text} from 'node:stream/consumers';
import {formatLsn, lsnPosition} from '../../backup-set/manifest.js';
import {segmentRuns} from '../../backup-set/wal-run.js';
import {UserError} from '../../errors.js';
import {CommandError, type Host} from '../../host/host.js';
import {warning} from '../../log.js';
import {type Programs, pathOf} from '../../postgres/programs.js';
import type {RecoveryRequest, RecoveryTarget} from '../request.js';
import type {Extracted} from '../unpack/examine.js';
import {type ArchivedWal, fetchedPieces} from './wal-pieces.js';

/** Where WAL is looked through. */
export interface Looking {
  readonly host: Host;
  readonly programs: Programs;
  /** A directory that the restore may make there, and removes again. */
  readonly scratchDirectory: string;
}

/** All WAL that recovery may read, but for what a command brings. */
export interface ReplayedWal {
  readonly extracted: Extracted;
  /** What of `wal-directory` lies between the start of the backup and the target, where that is set. */
  readonly archive?: ArchivedWal | undefined;
  readonly target?: RecoveryTarget | undefined;
}

/**
 * Refuses WAL that creates a tablespace at a path that is in use here: replay writes to the literal path, which may
 * be the original's, and empties it first (tablespace.c, create_tablespace_directories; PostgreSQL manual,
 * "Continuous Archiving", "Caveats"). All of `pg_wal` is read, as recovery does, and not only what the manifest tells;
 * and all of the archive from the start of the backup on, for recovery asks that first.
 */
export async function refuseTablespaceCreation(looking: Looking, wal: ReplayedWal): Promise<void> {
  const {dataDirectory, hasWal, label} = wal.extracted;
  const {host} = looking;
  const directory = `${dataDirectory}/pg_wal`;
  for (const run of hasWal ? segmentRuns(await host.list(directory), label) : []) {
    for (const creation of await creationsIn(looking, directory, run))
      await requireUnused(creation, {host, target: wal.target, source: 'the backup'});
  }
  if (wal.archive === undefined) return;
  for await (const {directory: piece, run} of fetchedPieces(looking, wal.archive, label)) {
    for (const creation of await creationsIn(looking, piece, run))
      await requireUnused(creation, {host, target: wal.target, source: 'wal-directory'});
  }
}

/** A record that makes a tablespace. */
interface Creation {
  readonly path: string;
  /** Where the record starts, and the one before it. */
  readonly lsn: string;
  readonly previousLsn: string;
}

interface Place {
  readonly host: Host;
  readonly target: RecoveryTarget | undefined;
  readonly source: 'the backup' | 'wal-directory';
}

async function requireUnused({path, lsn, previousLsn}: Creation, {host, target, source}: Place) {
  // Recovery stops after the first record that starts at its target or behind it.
  if (target?.kind === 'lsn' && lsnPosition(previousLsn) >= lsnPosition(target.value)) return;
  // One inside of the data directory has no path (allow_in_place_tablespaces).
  if (path === '') return;
  const told = JSON.stringify(path);
  if (!path.startsWith('/') || path.includes('\uFFFD')) {
    throw new UserError(
      `The WAL of ${source} creates a tablespace at ${told} (LSN ${lsn}), which is no absolute path in UTF-8: replay could write anywhere.`,
      'PostgreSQL makes no tablespace at a relative path: find out who wrote this WAL. Nothing was started.',
    );
  }
  if (['absent', 'empty-directory'].includes(await host.look(path))) return;
  throw new UserError(
    `The WAL of ${source} creates a tablespace at ${told} (LSN ${lsn}), which exists on ${host.name}: replay would write into it, and it may be the original's.`,
    source === 'the backup'
      ? 'Restore a backup that was taken when no tablespace was being created, or restore on another machine or in a container.'
      : `Restore on another machine or in a container, or stop before it: recovery-target-lsn: ${previousLsn}`,
  );
}

/** How pg_waldump tells that the WAL ends, or is damaged: recovery, too, ends there. */
const isEnd =
  /error in WAL record at|could not find a valid record after|WAL segment size must be|invalid WAL segment size|could not read (from )?file .*read -?\d+ of \d+/;

/**
 * Throws a UserError when pg_waldump itself fails. A warning would not do: what is not seen here may destroy a
 * tablespace that is in use, and pg_waldump comes with the server that is to be started.
 */
async function creationsIn(
  {host, programs}: Looking,
  directory: string,
  {timeline, startLsn, endLsn, firstName, lastName}: ReturnType<typeof segmentRuns>[number],
): Promise<readonly Creation[]> {
  // With an end at the end of the last segment it does not wait five seconds for the one that would follow. And the
  // size of segments is read in the first file that is named, not in one that happens to be listed first.
  const range = [`--timeline=${timeline}`, `--start=${startLsn}`, `--end=${endLsn}`];
  const args = ['--rmgr=Tablespace', `--path=${directory}`, ...range, firstName, lastName];
  const stdout = new PassThrough();
  const output = text(stdout);
  try {
    await host.run({program: pathOf(programs, 'pg_waldump'), args}, {stdout});
  } catch (error) {
    stdout.end();
    if (!(error instanceof CommandError)) throw error;
    if (!isEnd.test(error.stderr)) {
      throw new UserError(
        `Whether the WAL creates a tablespace at a path that is in use here cannot be told: ${error.message}`,
        `Make pg_waldump of PostgreSQL ${programs.major} work on ${host.name}: it comes with the server's package.`,
        {cause: error},
      );
    }
  }
  return parseCreations(await output);
}

/** Reads what pg_waldump prints of the resource manager Tablespace; a path may hold line breaks and quotes. */
export function parseCreations(printed: string): readonly Creation[] {
  const record =
    /lsn: ([0-9A-F]+\/[0-9A-F]+), prev ([0-9A-F]+\/[0-9A-F]+), desc: CREATE \d+ "([\s\S]*?)"(?=\n*$|\nrmgr: )/g;
  return [...printed.matchAll(record)].map(([, lsn = '', previousLsn = '', path = '']) => ({
    path,
    lsn: formatLsn(lsnPosition(lsn)),
    previousLsn: formatLsn(lsnPosition(previousLsn)),
  }));
}

/**
 * Warns where `restore-command` may bring WAL that creates a tablespace beside the original's: what a command brings
 * cannot be looked at before PostgreSQL replays it. `paths` are those of the source's tablespaces.
 */
export async function warnOfUnseenWal(
  host: Host,
  {restoreCommand}: RecoveryRequest,
  paths: Iterable<string>,
): Promise<void> {
  if (restoreCommand === undefined) return;
  for (const path of new Set(paths)) {
    if (!path.startsWith('/') || ['absent', 'empty-directory'].includes(await host.look(path))) continue;
    warning(
      `${JSON.stringify(path)}, a tablespace of the source, exists on ${host.name}. The WAL that restore-command brings is not looked at: if it creates a tablespace at a path that exists here, replay destroys what is there. Restore on another machine or in a container, or use wal-directory, which is looked at.`,
    );
    return;
  }
}
