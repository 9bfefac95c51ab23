import type {BackupLabel} from './backup-label.js';
import {damaged} from './digest.js';
import {lsnPosition, type WalRange} from './manifest.js';

/** A file of WAL, by its name. */
export interface WalSegment {
  readonly timeline: number;
  /** Counted from the beginning of the WAL. */
  readonly number: bigint;
}

/** Whether a file of `pg_wal` is a segment (xlog_internal.h, IsXLogFileName). */
export function isSegmentName(name: string): boolean {
  return /^[0-9A-F]{24}$/.test(name);
}

/** Whether segments can have that size: a power of two that `initdb --wal-segsize` allows. */
export function isSegmentSize(bytes: number): boolean {
  return Number.isInteger(Math.log2(bytes)) && bytes >= 2 ** 20 && bytes <= 2 ** 30;
}

/** Reads a segment's name (xlog_internal.h, XLogFromFileName); the size of segments decides what it means. */
export function parseSegmentName(name: string, segmentSizeBytes: number): WalSegment {
  const part = (from: number) => BigInt(`0x${name.slice(from, from + 8)}`);
  return {timeline: Number(part(0)), number: part(8) * segmentsPerId(segmentSizeBytes) + part(16)};
}

/** The name of a segment (xlog_internal.h, XLogFileName). */
export function segmentName({timeline, number}: WalSegment, segmentSizeBytes: number): string {
  const perId = segmentsPerId(segmentSizeBytes);
  return [BigInt(timeline), number / perId, number % perId].map(eightDigits).join('');
}

/** The name of the file that tells where a timeline comes from. */
export function historyName(timeline: number): string {
  return `${eightDigits(BigInt(timeline))}.history`;
}

const segmentsPerId = (segmentSizeBytes: number) => 2n ** 32n / BigInt(segmentSizeBytes);
const eightDigits = (value: bigint) => value.toString(16).toUpperCase().padStart(8, '0');

/** The number of the segment that holds a WAL position: how many segments come before it. */
export function segmentNumber(position: bigint, segmentSizeBytes: number): bigint {
  return position / BigInt(segmentSizeBytes);
}

/** Segments by their numbers, both included. */
export interface SegmentRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** The segments of a range of WAL; undefined for one that is empty. */
export function segmentsOf({startLsn, endLsn}: WalRange, segmentSizeBytes: number): SegmentRange | undefined {
  const [start, end] = [lsnPosition(startLsn), lsnPosition(endLsn)];
  if (start === end) return undefined;
  // The end is the position after the last byte (XLByteToPrevSeg).
  return {first: segmentNumber(start, segmentSizeBytes), last: segmentNumber(end - 1n, segmentSizeBytes)};
}

/**
 * The size of a segment, which the first one of a backup tells: its name is that of the position within it. Throws a
 * UserError when a label's position and segment fit no size, as none does that PostgreSQL wrote.
 */
export function segmentSizeOf({startLsn, startSegment}: BackupLabel): number {
  const position = lsnPosition(startLsn);
  for (let bytes = 2 ** 20; bytes <= 2 ** 30; bytes *= 2) {
    if (segmentNumber(position, bytes) === parseSegmentName(startSegment, bytes).number) return bytes;
  }
  throw damaged('backup_label', `${startLsn} is not in WAL segment ${startSegment}`);
}
