import type {RecoveryRequest} from '../request.js';
import {lastAskedSegment, parseRecoveryLog, type RecoveryLog} from './recovery-log.js';
import {describeTarget} from './recovery-target.js';

/** What a recovery that did not succeed was asked for and left behind. */
export interface RecoveryTraces {
  readonly recovery: RecoveryRequest;
  /** The server's log. */
  readonly log: string;
  /** Names of the files that were asked of the archive, one a line. */
  readonly asked: string;
}

/** How a failure reads. */
export interface ToldFailure {
  readonly message: string;
  readonly cure: string;
}

/** The failure of a recovery whose WAL ended before its target; undefined when it failed in another way. */
export function tellEarlyEnd({recovery, log: text, asked}: RecoveryTraces): ToldFailure | undefined {
  const log = parseRecoveryLog(text);
  const {target} = recovery;
  if (!log.endedBeforeTarget || target === undefined) return undefined;
  const segment = lastAskedSegment(asked, log);
  const sentences = [
    `FATAL: recovery ended before configured recovery target was reached: ${describeTarget(target)}.`,
    `${howFar(log)}.`,
    ...(segment === undefined ? [] : [`The WAL that it asked for last is ${segment}${fate(segment, log)}.`]),
  ];
  const isDamaged = segment !== undefined && breaksOff(segment, log);
  return {message: sentences.join('\n'), cure: cureOfEarlyEnd(recovery, segment, isDamaged)};
}

function howFar({lastRecordLsn, lastCommitTime}: RecoveryLog): string {
  const lsn =
    lastRecordLsn === undefined
      ? 'It replayed no WAL'
      : `The last record that it replayed starts at ${lastRecordLsn}`;
  return `${lsn}, ${lastCommitTime === undefined ? 'and none was a commit' : `the last commit was at ${lastCommitTime}`}`;
}

/** A file that came, and in which the WAL broke off, is damaged or was the last that had been written to. */
function fate(segment: string, {restoredFiles, endOfWal}: RecoveryLog): string {
  if (!restoredFiles.has(segment)) return ', which did not come';
  return endOfWal === undefined ? '' : `, in which the WAL breaks off: ${endOfWal}`;
}

const breaksOff = (segment: string, {restoredFiles, endOfWal}: RecoveryLog) =>
  restoredFiles.has(segment) && endOfWal !== undefined;

function cureOfEarlyEnd(recovery: RecoveryRequest, segment: string | undefined, isDamaged: boolean): string {
  const {target, walDirectory, restoreCommand} = recovery;
  const from = segment === undefined ? 'the WAL up to the target' : `the WAL from ${segment} on`;
  const source =
    walDirectory !== undefined
      ? `Add ${from} to ${walDirectory}`
      : restoreCommand !== undefined
        ? `Have restore-command bring ${from}`
        : 'Set wal-directory or restore-command, which bring the WAL that follows the backup';
  const hint = {
    time: 'The last state needs no target at all: a time is reached only when the WAL has a later commit.',
    lsn: 'Or choose an earlier LSN.',
    xid: 'Or check the id: it must be that of a transaction that ended after the backup did.',
    name: 'Or check the name, and recovery-target-timeline: the restore point must have been made after the backup.',
    immediate: 'Or restore another backup.',
  }[target?.kind ?? 'immediate'];
  // A segment that was still being written to looks like one that is damaged.
  const again = isDamaged
    ? `If ${segment} is not the last segment that the source had archived, it is damaged: copy it again. Else: `
    : '';
  return `${again}${source} (select pg_switch_wal() has the source archive the segment that it writes to). ${hint}`;
}

/** Which file of the archive a server waits for that is not up in time; undefined when it waits for none. */
export function awaitedFile({log, asked}: Omit<RecoveryTraces, 'recovery'>): string | undefined {
  const name = asked.trimEnd().split('\n').at(-1);
  return name === '' || log.includes(`restored log file "${name}" from archive`) ? undefined : name;
}
