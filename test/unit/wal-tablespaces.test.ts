import {describe, expect, test} from 'vitest';
import {namesAlong} from '../../src/backup-set/timeline.js';
import {piecesOf} from '../../src/restore/recovery/wal-pieces.js';
import {parseCreations} from '../../src/restore/recovery/wal-tablespaces.js';
import {cureOf} from '../../src/restore/start-cures.js';

const segmentSizeBytes = 16 * 2 ** 20;
const name = (timeline: number, number: number) =>
  [timeline, 0, number].map((part) => part.toString(16).toUpperCase().padStart(8, '0')).join('');

describe('records that create a tablespace', () => {
  /** As pg_waldump of 15 prints them. */
  const line = (path: string, lsn = '0/03000028') =>
    `rmgr: Tablespace  len (rec/tot):     56/    56, tx:        738, lsn: ${lsn}, prev 0/02FFFFE0, desc: CREATE 16384 "${path}"\n`;

  test('are found with their path, whatever is in it', () => {
    const paths = ['/srv/fast', '', '../x', '/a "b"', '/two\nlines', '/x" desc: CREATE 1 "/y'];
    const drop =
      'rmgr: Tablespace  len (rec/tot):     30/    30, tx:        739, lsn: 0/03000060, prev 0/03000028, desc: DROP 16384\n';
    for (const path of paths) {
      const creation = {path, lsn: '0/3000028', previousLsn: '0/2FFFFE0'};
      expect(parseCreations(line(path))).toEqual([creation]);
      expect(parseCreations(line(path) + drop + line('/other', '0/03000090'))).toEqual([
        creation,
        {...creation, path: '/other', lsn: '0/3000090'},
      ]);
    }
    expect(parseCreations(drop)).toEqual([]);
  });

  test('whose directory is missing have a cure, which a missing data directory is not told', () => {
    expect(cureOf(['[42] FATAL:  directory "/srv/fast" does not exist'], 17)).toContain(
      'create the directory /srv/fast where the server runs, empty',
    );
    expect(cureOf(['[42] FATAL:  data directory "/srv/data" does not exist'], 17)).toBeUndefined();
  });
});

describe('pieces of an archive', () => {
  test('overlap by a segment, and end at a gap', () => {
    const numbers = (most: number, ...segments: readonly number[]) =>
      piecesOf(
        segments.map((number) => name(1, number)),
        segmentSizeBytes,
        most,
      ).map((piece) => piece.map((one) => Number.parseInt(one.slice(16), 16)));
    expect(numbers(3, 1, 2, 3, 4, 5, 6)).toEqual([
      [1, 2, 3],
      [3, 4, 5],
      [5, 6],
    ]);
    expect(numbers(2, 1, 2, 3)).toEqual([
      [1, 2],
      [2, 3],
    ]);
    expect(numbers(9, 1, 2, 4, 6, 7)).toEqual([[1, 2], [4], [6, 7]]);
    expect(numbers(9)).toEqual([]);
  });

  test('are of what recovery reads along its way', () => {
    const way = [
      {timeline: 1, begin: 0n, end: BigInt(4.5 * segmentSizeBytes)},
      {timeline: 2, begin: BigInt(4.5 * segmentSizeBytes)},
    ];
    const names = [name(1, 5), name(2, 5), name(1, 4), name(2, 4), name(1, 3), name(1, 2), name(3, 4)];
    const range = {first: 3n, last: 5n, segmentSizeBytes};
    expect(namesAlong(way, names, range)).toEqual([name(1, 3), name(2, 4), name(2, 5)]);
    expect(namesAlong(way, [], range)).toEqual([]);
  });
});
