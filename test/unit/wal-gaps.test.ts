import {describe, expect, test} from 'vitest';
import type {TimelineSpan} from '../../src/backup-set/timeline.js';
import type {BackupReach} from '../../src/restore/recovery/recovery-target.js';
import type {ArchivedFile} from '../../src/restore/recovery/wal-archive.js';
import {neededRange} from '../../src/restore/recovery/wal-gaps.js';
import type {RecoveryTarget} from '../../src/restore/request.js';

const segmentSizeBytes = 16 * 2 ** 20;
const first: readonly TimelineSpan[] = [{timeline: 1, begin: 0n}];

/** From segment 2 to segment 3. */
const backup: BackupReach = {startLsn: '0/2000028', endLsn: '0/3000100', timeline: 1, selfContained: true};

function needed(
  {
    target,
    reach = {},
    way = first,
  }: {
    target?: RecoveryTarget;
    reach?: Partial<BackupReach>;
    way?: readonly TimelineSpan[];
  },
  archived: readonly string[],
) {
  const file: ArchivedFile = {path: '', codec: 'none', sizeBytes: segmentSizeBytes};
  const segments = new Map(archived.map((name) => [name, file]));
  const recovery = {inclusive: true, timeline: 'latest', action: 'promote', ...(target && {target})} as const;
  const sized = {recovery, reach: {...backup, ...reach}, segmentSizeBytes};
  const range = neededRange({segments}, way, sized);
  return [range.first, range.last, range.lastCertain].map(Number);
}

const archive = ['000000010000000000000001', '000000010000000000000005', '000000020000000000000009'];
const lsn = {kind: 'lsn', value: '0/7000000'} as const;
const point = {kind: 'name', value: 'x'} as const;
const immediate = {kind: 'immediate', value: 'immediate'} as const;
const without = {selfContained: false};

describe('the segments that recovery needs: first, last, last for certain', () => {
  test.each([
    ['to the end of the archive', {}, [4, 5, 5]],
    ['to an LSN beyond it', {target: lsn}, [4, 7, 7]],
    ['to a restore point somewhere', {target: point}, [4, 5, 3]],
    ['to the end of the backup', {target: immediate}, [4, 3, 3]],
    ['of a standby, whose segment is not full', {reach: {fromStandby: true}}, [3, 5, 5]],
    ['that ends with a segment', {reach: {endLsn: '0/4000000'}}, [4, 5, 5]],
    ['without WAL', {reach: without}, [2, 5, 5]],
    ['without WAL, to a restore point', {reach: without, target: point}, [2, 5, 3]],
    ['without WAL, to the end of the backup', {reach: without, target: immediate}, [2, 3, 3]],
  ] as const)('of a backup, %s', (_, facts, expected) => {
    expect(needed(facts, archive)).toEqual(expected);
  });

  test('are none that are not there, of a backup that is whole', () => {
    expect(needed({}, [])).toEqual([4, 3, 3]);
    expect(needed({reach: without}, [])).toEqual([2, 3, 3]);
    expect(needed({}, archive.slice(0, 1))).toEqual([4, 3, 3]);
  });

  test('begin with the new timeline’s own, where it branches off in the segment of the backup’s end', () => {
    const fork = (at: bigint) => [
      {timeline: 1, begin: 0n, end: at},
      {timeline: 2, begin: at},
    ];
    expect(needed({way: fork(0x3000100n)}, archive)).toEqual([3, 9, 9]);
    expect(needed({way: fork(0x4000000n)}, archive)).toEqual([4, 9, 9]);
  });
});
