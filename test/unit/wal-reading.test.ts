import fc from 'fast-check';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Checksum, loadChecksums, loadCrc32c} from '../../src/backup-set/checksum.js';
import {readPageHeader, showPosition, walPageBytes} from '../../src/backup-set/wal-page.js';
import {RecordReader} from '../../src/backup-set/wal-records.js';
import {
  isSegmentName,
  isSegmentSize,
  parseSegmentName,
  segmentName,
  segmentsOf,
} from '../../src/backup-set/wal-segment.js';

describe('the name of a segment', () => {
  const sizes = fc.integer({min: 20, max: 30}).map((power) => 2 ** power);

  test('is read as it is written, with segments of any size', () => {
    fc.assert(
      fc.property(sizes, fc.integer({min: 1, max: 0xffffffff}), fc.nat(2 ** 30), (size, timeline, at) => {
        const segment = {timeline, number: BigInt(at)};
        const name = segmentName(segment, size);
        expect(isSegmentName(name)).toBe(true);
        expect(parseSegmentName(name, size)).toEqual(segment);
      }),
    );
  });

  test.for([
    ['00000001000000000000000A', 16, 0xa],
    ['000000010000000100000000', 16, 256],
    ['000000010000000100000000', 1, 4096],
    ['000000020000000000000003', 1024, 3],
  ] as const)('%s with %i MB is the one that PostgreSQL means', ([name, megabytes, number]) => {
    expect(parseSegmentName(name, megabytes << 20).number).toBe(BigInt(number));
  });

  test('is no name of a history, a backup, or a part', () => {
    for (const name of [
      '00000002.history',
      '000000010000000000000002.00000028.backup',
      '00000001000000000000000a',
    ])
      expect(isSegmentName(name)).toBe(false);
  });

  test('stands for a size that is a power of two from 1 MB to 1 GB', () => {
    expect([1 << 20, 1 << 24, 1 << 30].every(isSegmentSize)).toBe(true);
    expect([0, 1 << 19, (1 << 24) + 1, 3 << 20, 2 ** 31].some(isSegmentSize)).toBe(false);
  });

  test('of a range are those from its first to its last byte', () => {
    const range = (startLsn: string, endLsn: string) => ({timeline: 1, startLsn, endLsn});
    expect(segmentsOf(range('0/2000028', '0/2000100'), 1 << 24)).toEqual({first: 2n, last: 2n});
    expect(segmentsOf(range('0/2000028', '0/3000000'), 1 << 24)).toEqual({first: 2n, last: 2n});
    expect(segmentsOf(range('0/2000028', '0/3000001'), 1 << 24)).toEqual({first: 2n, last: 3n});
    expect(segmentsOf(range('0/2000028', '0/2000028'), 1 << 24)).toBeUndefined();
  });
});

test('a checksum is that of PostgreSQL', async () => {
  const checksums = await loadChecksums();
  const of = (algorithm: Parameters<typeof checksums>[0], text: string) => {
    const checksum = checksums(algorithm);
    checksum.update(Buffer.from(text));
    return checksum.digest();
  };
  // The check value of CRC-32C, its bytes the low one first.
  expect(of('CRC32C', '123456789')).toBe('839206e3');
  expect(of('CRC32C', '')).toBe('00000000');
  expect(of('SHA224', 'abc')).toBe('23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7');
});

const magic = 0xd110;
const segmentBytes = 1 << 20;
const timeline = 3;
const start = 5 * segmentBytes + 40;

/** WAL of records with these lengths, as PostgreSQL lays them out from `start` on, and where it ends. */
function walOf(
  lengths: readonly number[],
  crc: () => Checksum,
  isRemovable = true,
): {bytes: Buffer; end: number; starts: number[]} {
  const pages: Buffer[] = [];
  const starts: number[] = [];
  let position = 5 * segmentBytes;
  let left = 0;
  const page = () => {
    const isLong = position % segmentBytes === 0;
    const header = Buffer.alloc(walPageBytes);
    header.writeUInt16LE(magic, 0);
    // XLP_BKP_REMOVABLE: of a page that was begun while no backup ran.
    header.writeUInt16LE((left > 0 ? 1 : 0) | (isLong ? 2 : 0) | (isRemovable ? 4 : 0), 2);
    header.writeUInt32LE(timeline, 4);
    header.writeUInt32LE(position % 2 ** 32, 8);
    header.writeUInt32LE(left, 16);
    pages.push(header);
    position += isLong ? 40 : 24;
  };
  let previous = 0;
  page();
  for (const length of lengths) {
    if (position % walPageBytes === 0) page();
    const record = Buffer.alloc(length, length % 256);
    record.writeUInt32LE(length, 0);
    record.writeBigUInt64LE(BigInt(previous), 8);
    record.writeUInt16LE(0x0a30, 16);
    const checksum = crc();
    checksum.update(record.subarray(24));
    checksum.update(record.subarray(0, 20));
    record.write(checksum.digest(), 20, 'hex');
    previous = position;
    starts.push(position);
    for (let written = 0; written < length; ) {
      if (position % walPageBytes === 0) {
        left = length - written;
        page();
        left = 0;
      }
      const room = walPageBytes - (position % walPageBytes);
      const copied = record.copy(pages.at(-1) ?? record, position % walPageBytes, written, written + room);
      written += copied;
      position += copied;
    }
    position = Math.ceil(position / 8) * 8;
  }
  return {bytes: Buffer.concat(pages), end: position, starts};
}

describe('the records of a range', () => {
  let crc: () => Checksum;
  let crcOfReader: () => Checksum;

  beforeAll(async () => {
    [crc, crcOfReader] = await Promise.all([loadCrc32c(), loadCrc32c()]);
  });

  function readAll(bytes: Buffer, end: number): {reader: RecordReader; reasons: string[]} {
    const reader = new RecordReader({timeline, start, end, segmentBytes, magic}, crcOfReader);
    const reasons: string[] = [];
    for (let at = 0; at < bytes.length; at += walPageBytes) {
      const reason = reader.read(5 * segmentBytes + at, bytes.subarray(at, at + walPageBytes));
      if (reason !== undefined) reasons.push(reason);
    }
    return {reader, reasons};
  }

  const lengths = fc.array(fc.oneof(fc.integer({min: 24, max: 300}), fc.integer({min: 24, max: 30_000})), {
    minLength: 1,
    maxLength: 60,
  });

  test('are all read, wherever they cross a page, begun while a backup ran or before', () => {
    fc.assert(
      fc.property(lengths, fc.boolean(), (wanted, isRemovable) => {
        const {bytes, end} = walOf(wanted, crc, isRemovable);
        const {reader, reasons} = readAll(bytes, end);
        expect(reasons).toEqual([]);
        expect(reader.count).toBe(wanted.length);
        expect(reader.unfinished).toBeUndefined();
      }),
    );
  });

  test('show every byte that is turned over, but for padding', () => {
    fc.assert(
      fc.property(lengths, fc.double({min: 0, max: 1, noNaN: true}), (wanted, share) => {
        const {bytes, end, starts} = walOf(wanted, crc);
        const index = Math.floor(share * (wanted.length - 1));
        const at = (starts[index] ?? 0) - 5 * segmentBytes;
        bytes.writeUInt8(bytes.readUInt8(at + 4) ^ 0x10, at + 4);
        const {reader, reasons} = readAll(bytes, end);
        expect(reasons).toHaveLength(1);
        expect(reasons[0]).toContain(showPosition(starts[index] ?? 0));
        expect(reader.count).toBe(index);
      }),
    );
  });

  test.for([
    ['another version', 0, /magic number/],
    ['flags', 3, /flags that no version knows/],
    ['timeline', 4, /is of timeline/],
    ['address', 9, /says that it is the one at/],
    ['length of what is left', 16, /does not continue the record/],
  ] as const)('show a page whose header has a wrong %s', ([, offset, reason]) => {
    const {bytes, end} = walOf([9000, 9000, 9000], crc);
    const at = 2 * walPageBytes + offset;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x40, at);
    expect(readAll(bytes, end).reasons).toEqual([expect.stringMatching(reason)]);
  });

  test('go on behind one whose rest was lost in a crash, and is overwritten', () => {
    const {bytes, starts} = walOf([100, 20_000], crc);
    // XLP_FIRST_IS_OVERWRITE_CONTRECORD, no longer XLP_FIRST_IS_CONTRECORD, and the record that follows the first one.
    const at = walPageBytes;
    bytes.writeUInt16LE(8, at + 2);
    bytes.writeUInt32LE(0, at + 16);
    const record = Buffer.alloc(40);
    record.writeUInt32LE(40, 0);
    record.writeBigUInt64LE(BigInt(starts[0] ?? 0), 8);
    record.writeUInt16LE(0xd0, 16);
    const checksum = crc();
    checksum.update(record.subarray(24));
    checksum.update(record.subarray(0, 20));
    record.write(checksum.digest(), 20, 'hex');
    record.copy(bytes, at + 24);
    const {reader, reasons} = readAll(bytes, 5 * segmentBytes + at + 64);
    expect(reasons).toEqual([]);
    expect(reader.count).toBe(2);
    expect(reader.unfinished).toBeUndefined();
  });

  test('show zeros where a record should be', () => {
    const {bytes, end} = walOf([100, 100], crc);
    expect(readAll(bytes, end + 8).reasons).toEqual([expect.stringMatching(/the WAL ends there/)]);
  });

  test('show one that is not over where the range is', () => {
    const {bytes, starts} = walOf([100, 20_000], crc);
    const {reader} = readAll(bytes, (starts[1] ?? 0) + 8);
    expect(reader.unfinished).toBe(showPosition(starts[1] ?? 0));
  });
});

test.for([
  ['low', true],
  ['high', false],
] as const)(
  'the header of a segment’s first page tells the cluster, with the %s byte first',
  ([, isLittle]) => {
    const page = new DataView(new ArrayBuffer(walPageBytes));
    page.setUint16(0, 0xd118, isLittle);
    page.setUint16(2, 2, isLittle);
    page.setUint32(4, 1, isLittle);
    page.setBigUint64(8, 0x28n << 32n, isLittle);
    page.setBigUint64(24, 7711086285421180246n, isLittle);
    page.setUint32(32, 1 << 24, isLittle);
    page.setUint32(36, 8192, isLittle);
    expect(readPageHeader(Buffer.from(page.buffer))).toEqual({
      magic: 0xd118,
      isBigEndian: !isLittle,
      isStrange: false,
      isContinued: false,
      isOverwritten: false,
      timeline: 1,
      position: 0x28 * 2 ** 32,
      leftBytes: 0,
      headerBytes: 40,
      segment: {systemIdentifier: '7711086285421180246', segmentBytes: 1 << 24, pageBytes: 8192},
    });
  },
);
