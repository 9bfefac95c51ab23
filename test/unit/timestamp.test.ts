import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {formatTimestamp, parseTimestamp} from '../../src/postgres/timestamp.js';

describe('a time with a zone', () => {
  test.each([
    ['2026-11-22 08:00:00+00', '2026-11-22T08:00:00Z'],
    ['2026-11-22T08:00:00Z', '2026-11-22T08:00:00Z'],
    ['2026-11-22 08:00 UTC', '2026-11-22T08:00:00Z'],
    ['2026-11-22 08:00:00 GMT', '2026-11-22T08:00:00Z'],
    ['2026-11-22 08:00:00 +01', '2026-11-22T07:00:00Z'],
    ['2026-11-22 08:00:00-0330', '2026-11-22T11:30:00Z'],
    ['2026-11-22 08:00:00+05:30', '2026-11-22T02:30:00Z'],
    ['1890-01-01 00:00:00+00:53:28', '1889-12-31T23:06:32Z'],
    ['2024-02-29 23:59:59+00', '2024-02-29T23:59:59Z'],
  ])('%s is %s', (text, expected) => {
    expect(parseTimestamp(text)).toBe(Date.parse(expected) * 1000);
  });

  test('keeps microseconds', () => {
    expect(parseTimestamp('1970-01-01 00:00:01.000002+00')).toBe(1_000_002);
    expect(parseTimestamp('1970-01-01 00:00:01.5+00')).toBe(1_500_000);
  });

  test.each([
    '2026-11-22 08:00:00',
    '2026-11-22 08:00:00+99:99',
    '2026-11-22 08:00:00+16',
    '99:99+00',
    '2026-13-22 08:00:00+00',
    '2026-02-29 08:00:00+00',
    '2026-11-22 24:00:00+00',
    '2026-11-22 08:60:00+00',
    '0000-01-01 00:00:00+00',
    'yesterday UTC',
    'infinity+00',
    '2026-11-22 08:00:00 Europe/Berlin',
    "2026-11-22 08:00:00+00'",
    '2026-11-22 08:00:00+00\n',
  ])('%j is none', (text) => {
    expect(parseTimestamp(text)).toBeUndefined();
  });

  test('is read as it was written', () => {
    const years = fc.integer({min: Date.parse('1000-01-01') * 1000, max: Date.parse('2999-12-31') * 1000});
    fc.assert(
      fc.property(years, (microseconds) => {
        expect(parseTimestamp(formatTimestamp(microseconds))).toBe(microseconds);
      }),
    );
  });
});
