import {formatLsn, lsnPosition} from '../../backup-set/manifest.js';
import {UserError} from '../../errors.js';
import {formatTimestamp, parseTimestamp} from '../../postgres/timestamp.js';
import type {RecoveryRequest, RecoveryTarget} from '../request.js';
import type {RecoveryLog, RecoveryStop} from './recovery-log.js';

/** A target in words: `transaction 742`. */
export function describeTarget({kind, value}: RecoveryTarget): string {
  switch (kind) {
    case 'time':
      return `the time ${value}`;
    case 'lsn':
      return `LSN ${value}`;
    case 'xid':
      return `transaction ${value}`;
    case 'name':
      return `the restore point ${JSON.stringify(value)}`;
    case 'immediate':
      return 'the end of the backup';
  }
}

/** The time up to which a recovery goes; undefined when it goes by something else. */
export function targetTime({target}: RecoveryRequest): Date | undefined {
  if (target?.kind !== 'time') return undefined;
  return new Date((parseTimestamp(target.value) ?? Number.NaN) / 1000);
}

/** Which states a backup can be recovered to. */
export interface BackupReach {
  readonly startLsn: string;
  readonly endLsn: string;
  /** Whether `endLsn` is only where the WAL ends that came with the backup: its own end is then not after that. */
  readonly isEndUnknown?: boolean;
  readonly timeline: number;
  readonly fromStandby?: boolean;
  /** False when all WAL has to come from an archive. */
  readonly selfContained: boolean;
  readonly systemIdentifier?: string;
  /** For an archive of which no file tells it. */
  readonly segmentSizeBytes?: number;
  /** By the server's clock, between the start and the end of the backup. */
  readonly takenAt?: Date;
  /** By the clock of the runner that made the backup. */
  readonly finishedAt?: Date;
}

/** Where a backup that has its WAL ends, in words. */
export function describeEnd({endLsn, isEndUnknown}: BackupReach): string {
  return isEndUnknown ? `the end of the WAL in the backup (${endLsn})` : `the end of the backup (${endLsn})`;
}

/**
 * Refuses a target that this backup cannot reach for certain. Returns a warning where that is not known before the
 * recovery: the moment of the backup's end by the server's clock is written down nowhere.
 */
export function requireInReach(recovery: RecoveryRequest, reach: BackupReach): string | undefined {
  const {target} = recovery;
  if (target?.kind === 'lsn') requireLsnInReach(target.value, recovery, reach);
  if (target?.kind === 'time') return requireTimeInReach(target.value, reach);
  return undefined;
}

/** The record that ends a backup ends at its end LSN, and nothing before makes the copy consistent. */
function requireLsnInReach(
  value: string,
  {walDirectory, restoreCommand}: RecoveryRequest,
  reach: BackupReach,
) {
  const [position, end] = [lsnPosition(value), lsnPosition(reach.endLsn)];
  const {isEndUnknown = false, startLsn} = reach;
  if (position < (isEndUnknown ? lsnPosition(startLsn) : end))
    throw tooEarly(
      `recovery-target-lsn ${value}`,
      isEndUnknown ? `after LSN ${startLsn}` : `LSN ${formatLsn(end)}`,
    );
  if (isEndUnknown && position < end) return;
  if (position === end || walDirectory !== undefined || restoreCommand !== undefined) return;
  throw new UserError(
    `recovery-target-lsn ${value} lies after ${describeEnd(reach)}, and there is no archive to recover from.`,
    'Set wal-directory or restore-command, which bring the WAL that follows the backup.',
  );
}

/** Refused by the server's clock alone: that of the machine that took the backup may be off by any time. */
function requireTimeInReach(value: string, reach: BackupReach): string | undefined {
  const {takenAt, finishedAt} = reach;
  const target = (parseTimestamp(value) ?? Number.NaN) / 1000;
  const end = finishedAt ?? takenAt;
  const told = end && formatTimestamp(end.getTime() * 1000);
  if (takenAt !== undefined && target < takenAt.getTime()) {
    const prefix = finishedAt ? '' : 'after ';
    throw tooEarly(`recovery-target-time ${value}`, `${prefix}${told}`, olderByTime);
  }
  if (finishedAt === undefined || target >= finishedAt.getTime()) return undefined;
  return `recovery-target-time ${value} is not after ${told}, when the backup was finished by the clock of the machine that took it. Whether the backup can be recovered to it, PostgreSQL tells at the end of the recovery.`;
}

const olderByTime =
  ' (backup-name: latest, or a pattern, has taken the newest that was finished by then, and where there is none, the oldest)';

function tooEarly(target: string, earliest: string, older = ' (backup-name)'): UserError {
  return new UserError(
    `${target} lies before the end of the backup. The earliest that this backup can be recovered to is ${earliest}.`,
    `Restore an older backup${older}, choose a later target, or set recovery-target: immediate, which stops at the end of this backup.`,
  );
}

/**
 * Makes sure by the server's log that recovery set out for the target and stopped there. PostgreSQL ignores a target
 * without a word when a setting that is read later clears it. Returns where it stopped.
 */
export function requireStop(recovery: RecoveryRequest, {aim, stop}: RecoveryLog): RecoveryStop | undefined {
  const {target} = recovery;
  if (target === undefined) return undefined;
  if (aim !== undefined && stop && isAim(target, aim) && isStop(recovery, target, stop)) return stop;
  const did = stop ? `stopped ${stop.text}` : 'tells of no stop';
  throw new UserError(
    `Recovery was to stop at ${describeTarget(target)}, but the server's log says that it set out for ${aim ?? 'no target'} and ${did}.`,
    'Remove from postgresql-conf what sets a recovery_target… or where and how the server logs (log_destination, log_min_messages, lc_messages).',
  );
}

/** The ids in the log have 32 bits; an input may have the epoch in front of them. */
const transactionId = (value: string) => String(BigInt(value) % 2n ** 32n);

function isAim({kind, value}: RecoveryTarget, aim: string): boolean {
  switch (kind) {
    case 'time':
      return parseTimestamp(aim) === parseTimestamp(value);
    case 'lsn':
      return aim.startsWith('WAL location') && lsnPosition(lsnIn(aim)) === lsnPosition(value);
    case 'xid':
      return aim === `XID ${transactionId(value)}`;
    case 'name':
      return aim === `"${value}"`;
    case 'immediate':
      return aim === 'earliest consistent point';
  }
}

const lsnIn = (text: string) => /[0-9A-F]+\/[0-9A-F]+/.exec(text)?.[0] ?? '';

function isStop({inclusive}: RecoveryRequest, {kind, value}: RecoveryTarget, stop: RecoveryStop): boolean {
  const side = inclusive ? 'after' : 'before';
  switch (kind) {
    case 'time': {
      // Always before a commit: of the first transaction that is later, or not earlier.
      const [found, wanted] = [parseTimestamp(stop.time ?? ''), parseTimestamp(value)];
      if (found === undefined || wanted === undefined || stop.side !== 'before') return false;
      return inclusive ? found > wanted : found >= wanted;
    }
    case 'lsn':
      return stop.side === side && lsnPosition(stop.lsn ?? '0/0') >= lsnPosition(value);
    case 'xid':
      return stop.side === side && stop.transactionId === transactionId(value);
    case 'name':
      return stop.restorePoint === value;
    case 'immediate':
      return stop.text === 'after reaching consistency';
  }
}
