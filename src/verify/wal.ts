import type {Checksum} from '../backup-set/checksum.js';
import {lsnPosition, type WalRange} from '../backup-set/manifest.js';
import type {ContentSink} from '../backup-set/tar.js';
import {
  isPageMagic,
  isPageSize,
  readPageHeader,
  showPosition,
  walMagics,
  walPageBytes,
} from '../backup-set/wal-page.js';
import {RecordReader} from '../backup-set/wal-records.js';
import {
  isSegmentName,
  isSegmentSize,
  parseSegmentName,
  segmentName,
  segmentsOf,
} from '../backup-set/wal-segment.js';
import type {Problems} from './problems.js';

/** A range of the manifest with the computation of its records' checksums. */
export interface CheckedRange extends WalRange {
  readonly startChecksum: () => Checksum;
}

/** What the first page of a segment tells of all of them. */
interface Cluster {
  readonly segmentBytes: number;
  readonly pageBytes: number;
  readonly magic: number;
  readonly systemIdentifier: string;
}

/** What else is known of the cluster, to compare the WAL with. */
export interface KnownCluster {
  readonly major?: number | undefined;
  readonly systemIdentifier?: string | undefined;
}

const mostMissing = 20;

/** Reads the WAL in a backup: whether each segment is there and whole, and whether its records can be replayed. */
export class WalCheck {
  readonly #ranges: readonly CheckedRange[];
  readonly #problems: Problems;
  readonly #seen = new Set<string>();
  #cluster: Cluster | undefined;
  #readers: readonly {readonly range: CheckedRange; readonly reader: RecordReader}[] = [];

  constructor(ranges: readonly CheckedRange[], problems: Problems) {
    this.#ranges = ranges;
    this.#problems = problems;
  }

  /** Segments that were found. */
  get segmentCount(): number {
    return this.#seen.size;
  }

  /** Records whose checksum was right. */
  get recordCount(): number {
    return this.#readers.reduce((sum, {reader}) => sum + reader.count, 0);
  }

  /** False when records that cross from one segment to another could not be checked. */
  get isInOrder(): boolean {
    return this.#readers.every(({reader}) => reader.isInOrder);
  }

  /** The size of pages that cannot be read here; undefined: they can. */
  get strangePageBytes(): number | undefined {
    const {pageBytes = walPageBytes} = this.#cluster ?? {};
    return pageBytes === walPageBytes ? undefined : pageBytes;
  }

  /** Notes a file of `pg_wal`, and returns what reads it; undefined when it is no segment, or not whole. */
  open(name: string, sizeBytes: number): ContentSink | undefined {
    if (!isSegmentName(name)) return undefined;
    if (this.#seen.has(name)) this.#add(name, 'it is there twice');
    this.#seen.add(name);
    const expected = this.#cluster?.segmentBytes;
    if (!isSegmentSize(sizeBytes) || (expected !== undefined && sizeBytes !== expected)) {
      this.#add(name, `it has ${sizeBytes} bytes, which no segment of this WAL has: it is not whole`);
      return undefined;
    }
    return this.#readPages(name, sizeBytes);
  }

  #add(name: string, reason: string): void {
    this.#problems.add(`pg_wal/${name}`, reason);
  }

  #readPages(name: string, sizeBytes: number): ContentSink {
    const page = Buffer.alloc(walPageBytes);
    let [filled, offset, isBad] = [0, 0, false];
    const take = () => {
      if (offset === 0) isBad = !this.#readFirstPage(name, sizeBytes, page);
      isBad ||= this.strangePageBytes !== undefined;
      if (!isBad) isBad = !this.#readPage(name, offset, page);
      offset += walPageBytes;
    };
    return {
      write: (bytes) => {
        for (let at = 0; at < bytes.length && !isBad; ) {
          const copied = bytes.copy(page, filled, at);
          at += copied;
          filled = (filled + copied) % walPageBytes;
          if (filled === 0) take();
        }
      },
      end: () => undefined,
    };
  }

  /** Compares what the first page tells with the name, the size, and the other segments. */
  #readFirstPage(name: string, sizeBytes: number, page: Buffer): boolean {
    const {magic, isBigEndian, segment, position} = readPageHeader(page);
    const reason = (): string | undefined => {
      if (!isPageMagic(magic) || !segment) return 'its first page is not one of WAL';
      if (isBigEndian) return 'it is of a machine with another byte order';
      if (!isPageSize(segment.pageBytes))
        return `its pages have ${segment.pageBytes} bytes, which no build of PostgreSQL knows`;
      if (segment.segmentBytes !== sizeBytes)
        return `it has ${sizeBytes} bytes, but ${segment.segmentBytes} by its header: it is not whole`;
      const start = Number(parseSegmentName(name, sizeBytes).number) * sizeBytes;
      if (position !== start)
        return `its content is that of ${showPosition(position)}, and by its name it begins at ${showPosition(start)}`;
      this.#cluster ??= this.#learn({magic, ...segment});
      if (magic !== this.#cluster.magic) return 'it is of another version of PostgreSQL than other segments';
      if (segment.pageBytes !== this.#cluster.pageBytes)
        return `its pages have ${segment.pageBytes} bytes, unlike those of other segments`;
      if (segment.systemIdentifier !== this.#cluster.systemIdentifier)
        return `it is of another cluster, with the system identifier ${segment.systemIdentifier}`;
      return undefined;
    };
    const found = reason();
    if (found !== undefined) this.#add(name, found);
    return found === undefined;
  }

  #learn(cluster: Cluster): Cluster {
    const {segmentBytes, magic} = cluster;
    this.#readers = this.#ranges.map((range) => {
      const [start, end] = [Number(lsnPosition(range.startLsn)), Number(lsnPosition(range.endLsn))];
      const records = {timeline: range.timeline, start, end, segmentBytes, magic};
      return {range, reader: new RecordReader(records, range.startChecksum)};
    });
    return cluster;
  }

  #readPage(name: string, offset: number, page: Buffer): boolean {
    const {segmentBytes = 0} = this.#cluster ?? {};
    const {timeline, number} = parseSegmentName(name, segmentBytes);
    for (const {range, reader} of this.#readers) {
      if (range.timeline !== timeline) continue;
      const reason = reader.read(Number(number) * segmentBytes + offset, page);
      if (reason === undefined) continue;
      this.#add(name, reason);
      return false;
    }
    return true;
  }

  /** Notes what is missing, once all files were seen, and what does not belong to the cluster. */
  finish({major, systemIdentifier}: KnownCluster): void {
    if (!this.#cluster) return;
    const {magic, systemIdentifier: ofWal, segmentBytes} = this.#cluster;
    const right = major === undefined ? undefined : walMagics[major];
    if (right !== undefined && magic !== right)
      this.#problems.add('pg_wal', `it is not the WAL of PostgreSQL ${major} (${magic.toString(16)})`);
    if (systemIdentifier !== undefined && ofWal !== systemIdentifier)
      this.#problems.add(
        'pg_wal',
        `it is of the cluster with the system identifier ${ofWal}, but the backup is of ${systemIdentifier}`,
      );
    for (const {range, reader} of this.#readers) {
      if (this.#findMissing(range, segmentBytes) > 0 || reader.unfinished === undefined) continue;
      this.#problems.add(
        'pg_wal',
        `the record at ${reader.unfinished} is not over at ${range.endLsn}, where the backup ends`,
      );
    }
  }

  /** Notes the segments of a range that are missing, and returns how many. */
  #findMissing(range: WalRange, segmentBytes: number): number {
    const needed = segmentsOf(range, segmentBytes) ?? {first: 1n, last: 0n};
    let found = 0;
    // A range that somebody made up can be without end.
    for (let number = needed.first; number <= needed.last && found < mostMissing; number += 1n) {
      const name = segmentName({timeline: range.timeline, number}, segmentBytes);
      if (this.#seen.has(name)) continue;
      found += 1;
      this.#add(name, `it is missing, and the backup needs the WAL up to ${range.endLsn}`);
    }
    return found;
  }
}
