/** Where and why recovery stopped, as the server's log tells it. */
export interface RecoveryStop {
  /** For people: `before commit of transaction 742, time 2026-11-22 08:00:00+00`. */
  readonly text: string;
  readonly side: 'before' | 'after' | 'at';
  /** Where the record starts that it stopped at, for a target by LSN. */
  readonly lsn?: string;
  readonly transactionId?: string;
  readonly time?: string;
  readonly restorePoint?: string;
}

/** What the log of a restored server tells of its recovery. */
export interface RecoveryLog {
  /** What it set out for: `XID 742`, `"a name"`, a time, …; undefined: not for a target. */
  readonly aim: string | undefined;
  readonly stop: RecoveryStop | undefined;
  /** Whether the WAL ended before the target. */
  readonly endedBeforeTarget: boolean;
  /** Where the last record starts that was replayed. */
  readonly lastRecordLsn: string | undefined;
  /** When the last transaction was completed that was replayed. */
  readonly lastCommitTime: string | undefined;
  /** What the server found where the WAL ended. */
  readonly endOfWal: string | undefined;
  /** Names of the files that came from the archive. */
  readonly restoredFiles: ReadonlySet<string>;
}

/** Messages of xlogrecovery.c (xlog.c in 13 and 14), xlogreader.c and xlogarchive.c, PostgreSQL 13 to 18. */
const patterns = {
  aim: /starting point-in-time recovery to (.+)$/gm,
  stop: /recovery stopping ((before|after|at) .+)$/gm,
  endedBeforeTarget: /recovery ended before configured recovery target was reached/,
  lastRecord: /redo done at ([0-9A-F]+\/[0-9A-F]+)/gm,
  lastCommit: /last completed transaction was at log time (.+)$/gm,
  endOfWal:
    /LOG: +(invalid (?:magic number|info bits|record length|record offset|resource manager ID|xl_info|contrecord length) .+|(?:unexpected pageaddr|out-of-sequence timeline ID|there is no contrecord flag|record with incorrect prev-link|record with invalid length|incorrect resource manager data checksum in record) .+|WAL file is from different database system.*|could not read (?:from )?(?:log|WAL) segment .+)$/gm,
  restored: /restored log file "([0-9A-F]{24})" from archive/g,
} as const;

/** Reads a server's log. Of a server that was started more than once the last start counts. */
export function parseRecoveryLog(text: string): RecoveryLog {
  const last = (pattern: RegExp) => [...text.matchAll(pattern)].at(-1)?.[1];
  const stop = [...text.matchAll(patterns.stop)].at(-1);
  return {
    aim: last(patterns.aim),
    stop: stop && parseStop(stop[1] ?? '', stop[2] as RecoveryStop['side']),
    endedBeforeTarget: patterns.endedBeforeTarget.test(text),
    lastRecordLsn: last(patterns.lastRecord),
    lastCommitTime: last(patterns.lastCommit),
    endOfWal: last(patterns.endOfWal),
    restoredFiles: new Set([...text.matchAll(patterns.restored)].map(([, name = '']) => name)),
  };
}

function parseStop(text: string, side: RecoveryStop['side']): RecoveryStop {
  const lsn = /WAL location \(LSN\) "(.+)"$/.exec(text)?.[1];
  const transactionId = /(?:commit|abort) of transaction (\d+)/.exec(text)?.[1];
  const restorePoint = /^at restore point "(.*)", time /.exec(text)?.[1];
  const time = /, time (.+)$/.exec(text)?.[1];
  return {
    text,
    side,
    ...(lsn !== undefined && {lsn}),
    ...(transactionId !== undefined && {transactionId}),
    ...(restorePoint !== undefined && {restorePoint}),
    ...(time !== undefined && {time}),
  };
}

/** The WAL segment that was asked for last: of those that did not come, if there are any. */
export function lastAskedSegment(asked: string, {restoredFiles}: RecoveryLog): string | undefined {
  const names = asked.split('\n').filter((name) => /^[0-9A-F]{24}$/.test(name));
  return names.findLast((name) => !restoredFiles.has(name)) ?? names.at(-1);
}
