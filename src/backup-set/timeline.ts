import {lsnPosition} from './manifest.js';
import {
  isSegmentName,
  parseSegmentName,
  type SegmentRange,
  segmentName,
  segmentNumber,
} from './wal-segment.js';

/** A part of the way that recovery takes: a timeline, and the positions that it is followed between. */
export interface TimelineSpan {
  readonly timeline: number;
  readonly begin: bigint;
  /** Undefined on the last timeline. */
  readonly end?: bigint;
}

/**
 * Reads a timeline's history file into the way from the first timeline to this one; undefined when it is not one
 * (timeline.c, readTimeLineHistory).
 */
export function parseTimelineHistory(timeline: number, text: string): readonly TimelineSpan[] | undefined {
  const spans: TimelineSpan[] = [];
  let begin = 0n;
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [, parent, lsn] = /^\s*(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(\s|$)/.exec(line) ?? [];
    if (parent === undefined || lsn === undefined) return undefined;
    if (Number(parent) <= (spans.at(-1)?.timeline ?? 0)) return undefined;
    const end = lsnPosition(lsn);
    spans.push({timeline: Number(parent), begin, end});
    begin = end;
  }
  if (timeline <= (spans.at(-1)?.timeline ?? 0)) return undefined;
  return [...spans, {timeline, begin}];
}

/**
 * The timeline whose file PostgreSQL opens first for a segment: the newest that begins in it or before
 * (xlogrecovery.c, XLogFileReadAnyTLI).
 */
export function timelineOfSegment(
  way: readonly TimelineSpan[],
  number: bigint,
  segmentSizeBytes: number,
): number {
  const span = way.findLast(({begin}) => segmentNumber(begin, segmentSizeBytes) <= number);
  return span?.timeline ?? way[0]?.timeline ?? 1;
}

/** The names of the segments of a range along a way through timelines, one by one: they may be very many. */
export function* segmentsAlong(
  way: readonly TimelineSpan[],
  {first, last}: SegmentRange,
  segmentSizeBytes: number,
): Generator<string, void> {
  for (let number = first; number <= last; number += 1n) {
    const timeline = timelineOfSegment(way, number, segmentSizeBytes);
    yield segmentName({timeline, number}, segmentSizeBytes);
  }
}

/** Those of an archive's segments that lie in a range along a way through timelines, in their order. */
export function namesAlong(
  way: readonly TimelineSpan[],
  names: Iterable<string>,
  {first, last, segmentSizeBytes}: SegmentRange & {readonly segmentSizeBytes: number},
): readonly string[] {
  const segments = [...names].filter(isSegmentName).map((name) => ({
    name,
    ...parseSegmentName(name, segmentSizeBytes),
  }));
  return segments
    .filter(({number}) => number >= first && number <= last)
    .filter(({number, timeline}) => timelineOfSegment(way, number, segmentSizeBytes) === timeline)
    .sort((a, b) => (a.number < b.number ? -1 : 1))
    .map(({name}) => name);
}

/** The number of the last segment of an archive that recovery can come to along a way through timelines. */
export function lastSegmentAlong(
  way: readonly TimelineSpan[],
  names: Iterable<string>,
  segmentSizeBytes: number,
): bigint | undefined {
  let last: bigint | undefined;
  for (const name of names) {
    if (!isSegmentName(name)) continue;
    const segment = parseSegmentName(name, segmentSizeBytes);
    if (last !== undefined && segment.number <= last) continue;
    if (timelineOfSegment(way, segment.number, segmentSizeBytes) === segment.timeline) last = segment.number;
  }
  return last;
}

/** Names in their order as a text: neighbours as `first to last (n segments)`. */
export function describeSegments(names: readonly string[], segmentSizeBytes: number): string {
  const runs: string[][] = [];
  let expected = '';
  for (const name of names) {
    const run = runs.at(-1);
    if (run && name === expected) run.push(name);
    else runs.push([name]);
    const {timeline, number} = parseSegmentName(name, segmentSizeBytes);
    expected = segmentName({timeline, number: number + 1n}, segmentSizeBytes);
  }
  const texts = runs.map((run) =>
    run.length < 3 ? run.join(', ') : `${run[0]} to ${run.at(-1)} (${run.length} segments)`,
  );
  return texts.length > 8 ? `${texts.slice(0, 8).join(', ')}, …` : texts.join(', ');
}
