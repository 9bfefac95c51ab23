import type {BackupLabel} from './backup-label.js';
import {formatLsn} from './manifest.js';
import {isSegmentName, parseSegmentName, segmentName, segmentSizeOf} from './wal-segment.js';

/** WAL segments of one timeline that follow one another without a gap. */
export interface SegmentRun {
  readonly timeline: number;
  readonly startLsn: string;
  /** The end of the last segment. */
  readonly endLsn: string;
  readonly firstName: string;
  readonly lastName: string;
}

/**
 * The WAL that recovery can read among the names of a `pg_wal`: from where a backup starts, and what newer timelines
 * have, which it goes over to.
 */
export function segmentRuns(names: readonly string[], label: BackupLabel): readonly SegmentRun[] {
  const segmentSizeBytes = segmentSizeOf(label);
  const runs: {timeline: number; first: bigint; last: bigint}[] = [];
  for (const name of names.filter(isSegmentName).sort()) {
    const {timeline, number} = parseSegmentName(name, segmentSizeBytes);
    if (timeline < label.timeline || (timeline === label.timeline && name < label.startSegment)) continue;
    const run = runs.at(-1);
    if (run && run.timeline === timeline && run.last + 1n === number) run.last = number;
    else runs.push({timeline, first: number, last: number});
  }
  const size = BigInt(segmentSizeBytes);
  return runs.map(({timeline, first, last}) => ({
    timeline,
    startLsn:
      timeline === label.timeline && first === runs[0]?.first ? label.startLsn : formatLsn(first * size),
    endLsn: formatLsn((last + 1n) * size),
    firstName: segmentName({timeline, number: first}, segmentSizeBytes),
    lastName: segmentName({timeline, number: last}, segmentSizeBytes),
  }));
}
