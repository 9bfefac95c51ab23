import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {formatLsn, lsnPosition} from '../../src/backup-set/manifest.js';
import {parseSegmentHeader} from '../../src/backup-set/segment-header.js';
import {
  describeSegments,
  lastSegmentAlong,
  parseTimelineHistory,
  segmentsAlong,
} from '../../src/backup-set/timeline.js';
import {
  historyName,
  isSegmentName,
  isSegmentSize,
  parseSegmentName,
  segmentName,
  segmentNumber,
  segmentsOf,
} from '../../src/backup-set/wal-segment.js';

const mebibyte = 2 ** 20;
const sizes = fc.integer({min: 20, max: 30}).map((exponent) => 2 ** exponent);
const positions = fc.bigInt({min: 0n, max: 2n ** 64n - 1n});
const timelines = fc.integer({min: 1, max: 2 ** 32 - 1});

/** Of 16 MB. */
const name = (lsn: string, timeline = 1) => nameAt(timeline, lsnPosition(lsn), 16 * mebibyte);

const nameAt = (timeline: number, position: bigint, size: number) =>
  segmentName({timeline, number: segmentNumber(position, size)}, size);

describe('a segment’s name', () => {
  test.each([
    ['0/1000000', 1, 16, '000000010000000000000001'],
    ['0/FFFFFFFF', 1, 16, '0000000100000000000000FF'],
    ['1/0', 1, 16, '000000010000000100000000'],
    ['A/12345678', 255, 16, '000000FF0000000A00000012'],
    ['0/300000', 1, 1, '000000010000000000000003'],
    ['3/FFFFFFFF', 2, 1, '000000020000000300000FFF'],
    ['1/40000000', 1, 1024, '000000010000000100000001'],
  ])('at %s on timeline %i with segments of %i MB is %s', (lsn, timeline, megabytes, expected) => {
    expect(nameAt(timeline, lsnPosition(lsn), megabytes * mebibyte)).toBe(expected);
  });

  test('tells timeline and number again', () => {
    fc.assert(
      fc.property(timelines, positions, sizes, (timeline, position, size) => {
        expect(parseSegmentName(nameAt(timeline, position, size), size)).toEqual({
          timeline,
          number: segmentNumber(position, size),
        });
      }),
    );
  });

  test.each(['00000001000000000000000', '00000002.history', '000000010000000000000001.partial', ''])(
    'is not %j',
    (text) => expect(isSegmentName(text)).toBe(false),
  );
});

test('an LSN is formatted as it is read', () => {
  fc.assert(
    fc.property(positions, (position) => {
      expect(lsnPosition(formatLsn(position))).toBe(position);
    }),
  );
  expect(formatLsn(0x1_0000_00abn)).toBe('1/AB');
});

describe('the segments of a range', () => {
  const of = (startLsn: string, endLsn: string) => segmentsOf({timeline: 1, startLsn, endLsn}, 16 * mebibyte);

  test('end with the one that holds the last byte', () => {
    expect(of('0/2000028', '0/3000000')).toEqual({first: 2n, last: 2n});
    expect(of('0/2000028', '0/3000001')).toEqual({first: 2n, last: 3n});
    expect(of('0/FF000000', '1/1')).toEqual({first: 255n, last: 256n});
    expect(of('0/2000028', '0/2000028')).toBeUndefined();
  });
});

describe('a segment’s first page', () => {
  function header(endianness: 'LE' | 'BE'): Buffer {
    const page = Buffer.alloc(40);
    const [two, four, eight] = [
      `writeUInt16${endianness}`,
      `writeUInt32${endianness}`,
      `writeBigUInt64${endianness}`,
    ] as const;
    page[two](0xd110, 0);
    page[two](0x0002, 2);
    page[eight](7_300_000_000_000_000_001n, 24);
    page[four](16 * mebibyte, 32);
    page[four](8192, 36);
    return page;
  }

  test.each(['LE', 'BE'] as const)('tells system and size: %s', (endianness) => {
    expect(parseSegmentHeader(header(endianness))).toEqual({
      systemIdentifier: '7300000000000000001',
      segmentSizeBytes: 16 * mebibyte,
    });
  });

  test('is none when it is cut, not long, or something else', () => {
    const short = header('LE');
    short.writeUInt16LE(0, 2);
    for (const bytes of [header('LE').subarray(0, 39), short, Buffer.alloc(40), Buffer.alloc(0)])
      expect(parseSegmentHeader(bytes)).toBeUndefined();
  });

  test('can be any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({maxLength: 64}), (bytes) => {
        const found = parseSegmentHeader(Buffer.from(bytes));
        expect(found === undefined || isSegmentSize(found.segmentSizeBytes)).toBe(true);
      }),
    );
  });
});

describe('a timeline’s history', () => {
  test('is the way from the first timeline', () => {
    const text = '1\t0/3000148\tno recovery target specified\n\n# a note\n2\t0/50000A0\tbefore 2026-11-22\n';
    expect(parseTimelineHistory(3, text)).toEqual([
      {timeline: 1, begin: 0n, end: 0x3000148n},
      {timeline: 2, begin: 0x3000148n, end: 0x50000a0n},
      {timeline: 3, begin: 0x50000a0n},
    ]);
    expect(parseTimelineHistory(1, '')).toEqual([{timeline: 1, begin: 0n}]);
  });

  test.each([
    [2, '1 no lsn\n'],
    [2, '\0\0\0\0'],
    [2, '2\t0/3000148\titself\n'],
    [4, '2\t0/3000148\tx\n1\t0/4000000\tbackwards\n'],
  ])('is none: timeline %i, %j', (timeline, text) => {
    expect(parseTimelineHistory(timeline, text)).toBeUndefined();
  });

  test('can be any text', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseTimelineHistory(2, text)));
  });
});

describe('a way across a promotion', () => {
  const way = parseTimelineHistory(2, '1\t0/4000100\tpromoted\n') ?? [];
  const range = (first: bigint, last: bigint) => [...segmentsAlong(way, {first, last}, 16 * mebibyte)];

  test('takes the new timeline’s segment where both have one', () => {
    expect(range(3n, 5n)).toEqual([name('0/3000000'), name('0/4000000', 2), name('0/5000000', 2)]);
  });

  test('ends with the last segment that is on it', () => {
    const names = [
      name('0/3000000'),
      name('0/9000000'),
      name('0/4000000', 2),
      name('0/A000000', 3),
      '00000002.history',
    ];
    expect(lastSegmentAlong(way, names, 16 * mebibyte)).toBe(4n);
    expect(lastSegmentAlong(way, [], 16 * mebibyte)).toBeUndefined();
  });
});

test('missing segments are told in runs', () => {
  const size = 16 * mebibyte;
  const names = ['0/1000000', '0/2000000', '0/5000000', '0/6000000', '0/7000000'].map((lsn) => name(lsn));
  expect(describeSegments(names, size)).toBe(
    `${names[0]}, ${names[1]}, ${names[2]} to ${names[4]} (3 segments)`,
  );
  expect(describeSegments(names.slice(0, 1), size)).toBe(names[0]);
  const scattered = Array.from({length: 20}, (_, index) => name(formatLsn(BigInt(index * 2 * size))));
  expect(describeSegments(scattered, size)).toMatch(/, …$/);
});

test('a history file is named by its timeline', () => {
  expect(historyName(2)).toBe('00000002.history');
  expect(historyName(255)).toBe('000000FF.history');
});
