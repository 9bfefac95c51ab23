import {isPageMagic, longHeaderBytes, readPageHeader} from './wal-page.js';
import {isSegmentSize} from './wal-segment.js';

/** What the first page of a segment says of it. */
export interface SegmentHeader {
  readonly systemIdentifier: string;
  readonly segmentSizeBytes: number;
}

/** Bytes at the start of a segment that `parseSegmentHeader` needs. */
export const segmentHeaderBytes = longHeaderBytes;

/** Reads the long header of a segment's first page, in either byte order; undefined when it is none. */
export function parseSegmentHeader(head: Buffer): SegmentHeader | undefined {
  if (head.length < segmentHeaderBytes) return undefined;
  const {magic, segment} = readPageHeader(head);
  if (!isPageMagic(magic) || !segment || !isSegmentSize(segment.segmentBytes)) return undefined;
  return {systemIdentifier: segment.systemIdentifier, segmentSizeBytes: segment.segmentBytes};
}
