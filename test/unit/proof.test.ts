import {expect, test} from 'vitest';
import {parseControlData} from '../../src/restore/control-data.js';
import {highest, type ProofLevel} from '../../src/restore/proof.js';

test('the highest rung counts, in the order of the ladder', () => {
  expect(highest(new Set<ProofLevel>(['recovered', 'transferred', 'started']))).toBe('recovered');
  expect(highest(new Set<ProofLevel>(['read', 'transferred']))).toBe('read');
  expect(highest(new Set())).toBeUndefined();
});

const controlData = `pg_control version number:            1300
Database system identifier:           7711086285421180246
Latest checkpoint's TimeLineID:       2
Latest checkpoint's full_page_writes: on
wal_level setting:                    replica
max_connections setting:              250
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           3
max_locks_per_xact setting:           64
track_commit_timestamp setting:       off
Data page checksum version:           1
`;

test('pg_controldata tells what recovery must not undercut, by the names of the settings', () => {
  expect(parseControlData(controlData)).toEqual({
    systemIdentifier: '7711086285421180246',
    timeline: 2,
    dataChecksums: true,
    settings: {
      max_connections: '250',
      max_worker_processes: '8',
      max_wal_senders: '10',
      max_prepared_transactions: '3',
      max_locks_per_transaction: '64',
      track_commit_timestamp: 'off',
    },
  });
});

test('pg_controldata of a version that says less is a bug of ours, told by what is missing', () => {
  expect(() => parseControlData(controlData.replace(/max_connections.*\n/, ''))).toThrow(
    'max_connections setting',
  );
});
