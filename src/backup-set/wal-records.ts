import type {Checksum} from './checksum.js';
import {readPageHeader, readPosition, showPosition, type WalPageHeader, walPageBytes} from './wal-page.js';

/** A stretch of WAL as positions. */
export interface RecordRange {
  readonly timeline: number;
  /** Where the first record begins. */
  readonly start: number;
  /** Behind the last record. */
  readonly end: number;
  readonly segmentBytes: number;
  /** The magic number of its version. */
  readonly magic: number;
}

/** Bytes of XLogRecord (xlogrecord.h): length, transaction, previous record, info, resource manager, checksum. */
const headerBytes = 24;

/** A record of which a part has been read. */
interface OpenRecord {
  readonly start: number;
  left: number;
  readonly header: Buffer;
  /** Bytes of the header that are there. */
  filled: number;
  /** Undefined for the rest of a record whose beginning was not seen. */
  readonly checksum?: Checksum;
}

/**
 * Reads WAL as recovery does, without replaying it: page headers, the chain of records, and the checksum of each
 * (xlogreader.c of 13 to 18: XLogDecodeNextRecord, ValidXLogRecord, XLogReaderValidatePageHeader).
 */
export class RecordReader {
  /** Records whose checksum was right. */
  count = 0;
  /** False once a page came that does not follow the last one: then what crosses from one to the other is not checked. */
  isInOrder = true;
  readonly #range: RecordRange;
  readonly #startChecksum: () => Checksum;
  #open: OpenRecord | undefined;
  /** Where the next record begins, unless one is open. */
  #next: number;
  /** Where the last whole record began; undefined when the next one cannot be compared with it. */
  #previous: number | undefined;
  #expectedPage: number;
  #timeline = 0;
  #hasFailed = false;

  constructor(range: RecordRange, startChecksum: () => Checksum) {
    this.#range = range;
    this.#startChecksum = startChecksum;
    this.#next = range.start;
    this.#expectedPage = range.start - (range.start % walPageBytes);
  }

  /** Takes a page of the range's WAL; returns what is wrong with it. After that, nothing more is read. */
  read(position: number, page: Buffer): string | undefined {
    if (this.#hasFailed || position >= this.#range.end || position + walPageBytes <= this.#range.start)
      return undefined;
    if (position === this.#expectedPage) {
      this.#expectedPage += walPageBytes;
      // What follows a switch to the next segment is not looked at.
      if (!this.#open && position + walPageBytes <= this.#next) return undefined;
    } else this.#startOver(position, page);
    const reason = this.#readPage(position, page);
    this.#hasFailed = reason !== undefined;
    return reason;
  }

  /** The record that goes on behind the end of the range, which no backup leaves. */
  get unfinished(): string | undefined {
    return this.#open && !this.#hasFailed && this.isInOrder ? showPosition(this.#open.start) : undefined;
  }

  /** Segments that do not come in their order are read each from its first record on. */
  #startOver(position: number, page: Buffer): void {
    const {start} = this.#range;
    const header = readPageHeader(page);
    this.isInOrder = false;
    this.#previous = undefined;
    this.#timeline = 0;
    this.#open = undefined;
    this.#expectedPage = position + walPageBytes;
    this.#next = start > position ? start : position;
    if (start <= position && header.isContinued)
      this.#open = {start: position, left: header.leftBytes, header: Buffer.alloc(0), filled: 0};
  }

  #readPage(position: number, page: Buffer): string | undefined {
    const header = readPageHeader(page);
    const reason =
      wrongHeader(header, position, this.#range.magic) ?? this.#wrongTimeline(header) ?? this.#join(header);
    if (reason !== undefined) return reason;
    if (!this.#open && this.#next === position) this.#next += header.headerBytes;
    let at = this.#open ? header.headerBytes : this.#next - position;
    if (at < header.headerBytes) return `no record can begin at ${showPosition(position + at)}`;
    while (at < walPageBytes && (this.#open || position + at < this.#range.end)) {
      const wrong = this.#readRecord(position, page, at);
      if (wrong !== undefined || this.#open) return wrong;
      at = this.#next - position;
    }
    return undefined;
  }

  /** Pages of an older timeline may come first: those that the newer one has copied. */
  #wrongTimeline({timeline, position}: WalPageHeader): string | undefined {
    if (timeline > this.#range.timeline || timeline < this.#timeline)
      return `the page at ${showPosition(position)} is of timeline ${timeline}`;
    this.#timeline = timeline;
    return undefined;
  }

  /** Compares what a page says of an open record with what is left of it. */
  #join({position, isContinued, isOverwritten, leftBytes}: WalPageHeader): string | undefined {
    const at = showPosition(position);
    if (!this.#open) {
      if (this.#next === position && isContinued) return `the page at ${at} continues a record that is over`;
      return undefined;
    }
    if (isOverwritten) {
      this.#open = undefined;
      this.#next = position;
    } else if (!isContinued || leftBytes !== this.#open.left) {
      return `the page at ${at} does not continue the record at ${showPosition(this.#open.start)}`;
    }
    return undefined;
  }

  /** Reads what the page has of a record, and closes it at its end. */
  #readRecord(position: number, page: Buffer, at: number): string | undefined {
    let record = this.#open;
    if (!record) {
      const [start, left] = [position + at, page.readUInt32LE(at)];
      if (left < headerBytes) return `there is no record at ${showPosition(start)}: the WAL ends there`;
      record = {start, left, header: Buffer.alloc(headerBytes), filled: 0, checksum: this.#startChecksum()};
      this.#open = record;
    }
    const bytes = page.subarray(at, at + record.left);
    record.left -= bytes.length;
    const reason = this.#take(record, bytes);
    if (reason !== undefined || record.left > 0) return reason;
    this.#open = undefined;
    // The next one begins at a multiple of 8 (MAXALIGN).
    this.#next = position + Math.ceil((at + bytes.length) / 8) * 8;
    return this.#close(record);
  }

  #take(record: OpenRecord, bytes: Buffer): string | undefined {
    const copied = bytes.copy(record.header, record.filled);
    record.filled += copied;
    if (copied > 0 && record.filled === headerBytes) {
      const link = readPosition(record.header, 8);
      const follows = this.#previous === undefined ? link < record.start : link === this.#previous;
      if (!follows) return `the record at ${showPosition(record.start)} does not follow the one before it`;
    }
    record.checksum?.update(bytes.subarray(copied));
    return undefined;
  }

  #close({start, header, checksum}: OpenRecord): string | undefined {
    if (!checksum) return undefined;
    checksum.update(header.subarray(0, 20));
    if (checksum.digest() !== header.toString('hex', 20, headerBytes))
      return `the checksum of the record at ${showPosition(start)} is wrong`;
    this.count += 1;
    this.#previous = start;
    const {segmentBytes} = this.#range;
    // The rest of the segment is empty (xlogreader.c: "Pretend it extends to end of segment").
    if (isSwitch(header)) this.#next = Math.ceil(this.#next / segmentBytes) * segmentBytes;
    return undefined;
  }
}

function wrongHeader(header: WalPageHeader, position: number, magic: number): string | undefined {
  const at = showPosition(position);
  if (header.magic !== magic) return `the page at ${at} has the magic number ${header.magic.toString(16)}`;
  if (header.isStrange) return `the header of the page at ${at} has flags that no version knows`;
  if (header.position === position) return undefined;
  return `the page at ${at} says that it is the one at ${showPosition(header.position)}`;
}

/** XLOG_SWITCH of the resource manager XLOG (pg_control.h, rmgrlist.h). */
const isSwitch = (header: Buffer) => header[17] === 0 && ((header[16] ?? 0) & 0xf0) === 0x40;
