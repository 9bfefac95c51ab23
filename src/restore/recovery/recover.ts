import {setTimeout as sleep} from 'node:timers/promises';
import {lsnPosition} from '../../backup-set/manifest.js';
import {UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import type {RestoreRequest} from '../request.js';
import {hasEnded, query, type Server, startFailure} from '../server.js';
import type {RecoveryLog} from './recovery-log.js';

/** Where recovery has got to. */
export interface Recovery {
  readonly isInRecovery: boolean;
  readonly isPaused: boolean;
  readonly isStreaming: boolean;
  /** The last WAL position that was replayed. */
  readonly replayedLsn: string;
  /** When the last transaction was completed that was replayed, by the source's clock; undefined: there was none. */
  readonly lastCommitTime: string | undefined;
}

/**
 * Waits until the server has left recovery, or is paused at the target as it was asked to; a standby is waited for
 * in standby.ts. Throws a UserError when it ends before, or takes longer than the deadline (milliseconds since 1970).
 */
export async function awaitRecovery(
  server: Server,
  request: RestoreRequest,
  deadline: number,
): Promise<Recovery> {
  for (;;) {
    const recovery = await readRecovery(server);
    if (recovery && isDone(recovery, request)) return recovery;
    if (await hasEnded(server)) throw await startFailure(server, 'The restored server ended during recovery');
    if (Date.now() > deadline) {
      const where = recovery ? `; it had replayed up to ${recovery.replayedLsn}` : '';
      throw await startFailure(
        server,
        `The restored server was still in recovery after ${request.startTimeoutSeconds} s${where}`,
      );
    }
    await sleep(100);
  }
}

function isDone({isInRecovery, isPaused}: Recovery, {recovery}: RestoreRequest): boolean {
  return recovery.action === 'pause' && recovery.target ? isPaused : !isInRecovery;
}

/** Asks a server where it is; undefined while it is starting. Throws a UserError when it refuses us. */
export async function readRecovery(server: Server): Promise<Recovery | undefined> {
  try {
    const [row] = await query(
      server,
      `select r, r and pg_is_wal_replay_paused(), exists (select from pg_stat_wal_receiver where status = 'streaming'),
              coalesce(pg_last_wal_replay_lsn(), '0/0'), pg_last_xact_replay_timestamp() from pg_is_in_recovery() r`,
    );
    return (
      row && {
        isInRecovery: row[0] === 't',
        isPaused: row[1] === 't',
        isStreaming: row[2] === 't',
        replayedLsn: row[3] ?? '0/0',
        lastCommitTime: row[4] || undefined,
      }
    );
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (/role ".*" does not exist/.test(error.stderr)) throw unknownRole(server, error);
    // Also while it ends: the log then tells why. "In recovery mode" is how it names that to a client.
    const isStarting =
      /starting up|in recovery mode|not yet accepting|Connection refused|No such file or directory|shutting down|closed the connection unexpectedly|terminating connection/;
    if (isStarting.test(error.stderr)) return undefined;
    throw new UserError(
      `The restored server started, and does not answer: ${error.message}`,
      'Set user to a superuser of that cluster, or override what hinders the login in postgresql-conf.',
      {cause: error},
    );
  }
}

function unknownRole({user}: Server, cause: unknown): UserError {
  return new UserError(
    `The restored server has no role "${user}".`,
    'The backup has no metadata that names its superuser: set user to the name of a superuser of that cluster.',
    {cause},
  );
}

/** Refuses a recovery that ended before the backup's own end. */
export function requireBackupEnd(recovery: Recovery, endLsn: string | undefined): void {
  if (endLsn === undefined || lsnPosition(recovery.replayedLsn) >= lsnPosition(endLsn)) return;
  throw new UserError(
    `Recovery replayed WAL up to ${recovery.replayedLsn}, but the backup ends at ${endLsn}: WAL is missing.`,
    'Restore another backup; of this one, pg_wal.tar is not complete.',
  );
}

/**
 * Refuses a recovery without a target that ended before the last segment of `wal-directory`: PostgreSQL takes a damaged
 * file for the end of the WAL.
 */
export function requireArchiveEnd(
  {replayedLsn}: Recovery,
  lastSegment: {readonly name: string; readonly startLsn: string} | undefined,
  {endOfWal}: RecoveryLog,
): void {
  if (lastSegment === undefined || lsnPosition(replayedLsn) >= lsnPosition(lastSegment.startLsn)) return;
  const why = endOfWal === undefined ? '' : `\nWhat the server found there: ${endOfWal}`;
  throw new UserError(
    `Recovery ended at ${replayedLsn}, and wal-directory goes on to ${lastSegment.name}.${why}`,
    'The segment that holds that position is damaged: copy it again, or set a recovery target before it.',
  );
}
