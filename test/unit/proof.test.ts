import {expect, test} from 'vitest';
import {parseManifest} from '../../src/backup-set/manifest.js';
import {highest, type ProofLevel, proofOfFiles} from '../../src/backup-set/proof.js';
import {parseControlData} from '../../src/restore/recovery/control-data.js';
import {manifestText} from '../support/manifest.js';

test('the highest rung counts, in the order of the ladder', () => {
  expect(highest(new Set<ProofLevel>(['recovered', 'transferred', 'started']))).toBe('recovered');
  expect(highest(new Set<ProofLevel>(['read', 'transferred']))).toBe('read');
  expect(highest(new Set())).toBeUndefined();
});

test('a manifest without the checksum of one file proves names and sizes, unless there are metadata', () => {
  const summed = {Path: 'base/1/1', Size: 1, 'Checksum-Algorithm': 'CRC32C', Checksum: '00000000'};
  const whole = parseManifest(manifestText([summed]));
  const partly = parseManifest(manifestText([summed, {Path: 'base/1/2', Size: 1}]));
  expect(proofOfFiles(whole, false)).toEqual({reached: ['manifest-verified']});
  expect(proofOfFiles(partly, true)).toEqual({reached: ['transferred', 'manifest-verified']});
  expect(proofOfFiles(partly, false)).toEqual({
    reached: [],
    warning: expect.stringMatching(/^Names and sizes only: backup_manifest has no checksum of 1 files/),
  });
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
