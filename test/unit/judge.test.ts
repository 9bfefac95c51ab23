import {describe, expect, test} from 'vitest';
import {judge, managedService, type Situation} from '../../src/backup/judge.js';
import type {BackupRequest} from '../../src/backup/request.js';
import {HinderedError, refuseErrors} from '../../src/finding.js';
import type {Answers, SqlFacts} from '../../src/postgres/facts.js';
import type {Readiness} from '../../src/postgres/readiness.js';

const request: BackupRequest = {
  mode: 'backup',
  connection: {parameters: {host: 'db.example.com'}, environment: {}},
  name: 'nightly',
  directory: '/backups',
  pgVersion: 'auto',
  format: 'tar',
  walMethod: 'stream',
  checkpoint: 'fast',
  compress: 'auto',
  allowPublicPlaintext: false,
  decryption: {},
  stallTimeoutSeconds: 600,
  label: 'nightly',
  writeRecoveryConf: false,
  manifestChecksums: 'crc32c',
  tablespaceMapping: new Map(),
  dryRun: false,
};

const ready: Readiness = {
  role: 'backup',
  canReplicate: true,
  isPrivate: true,
  walLevel: 'replica',
  walSenders: {limit: 10, used: 0},
  slots: {limit: 10, used: 0},
  physicalSlots: [],
  fullPageWrites: true,
  dataBytes: 1e9,
  unloggedTables: 0,
  backupsInProgress: 0,
  damagedDatabases: [],
  filesOutside: [],
  serviceRoles: [],
};

const facts: SqlFacts = {
  isStandby: false,
  tablespaces: [],
  bootstrapSuperuser: 'postgres',
  requiredSettings: {},
  dataChecksums: true,
  collations: [],
  libcVersion: '2.36',
  preloadLibraries: [],
};

interface Changes {
  readonly request?: Partial<BackupRequest>;
  readonly readiness?: Partial<Readiness>;
  readonly facts?: Partial<SqlFacts>;
  readonly freeBytes?: number;
  readonly serverMajor?: number;
  readonly largestFileBytes?: number;
  readonly isStreamed?: boolean;
  readonly storeDiskBytes?: number;
}

function judged({request: asked, readiness, facts: known, ...rest}: Changes) {
  const situation: Situation = {
    request: {...request, ...asked},
    readiness: {...ready, ...readiness},
    facts: {...facts, ...known},
    freeBytes: 1e12,
    serverMajor: 17,
    isStreamed: false,
    storeDiskBytes: 0,
    ...rest,
  };
  return judge(situation).map(
    ({level, subject, observed, cure}) => `${level} ${subject}: ${observed} -> ${cure}`,
  );
}

test('a server that is ready gives no finding', () => {
  expect(judged({})).toEqual([]);
});

test('what a role may not see is no finding', () => {
  const unknown = {
    physicalSlots: null,
    fullPageWrites: null,
    dataBytes: null,
    unloggedTables: null,
    backupsInProgress: null,
    damagedDatabases: null,
    filesOutside: null,
  };
  expect(
    judged({readiness: unknown, facts: {tablespaces: null, dataChecksums: null, isStandby: true}}),
  ).toEqual([expect.stringContaining('note Standby')]);
});

describe('the finding for', () => {
  test.each<[string, Changes, string, string]>([
    [
      'a role without the right',
      {readiness: {canReplicate: false}},
      'error Role',
      'ALTER ROLE "backup" REPLICATION;',
    ],
    [
      'a connection in the clear',
      {readiness: {isPrivate: false}},
      'warning Encryption',
      'sslmode: verify-full',
    ],
    [
      'wal_level = minimal',
      {readiness: {walLevel: 'minimal', walSenders: {limit: 0, used: 0}}},
      'error wal_level',
      "wal_level = 'replica'",
    ],
    [
      'one free sender',
      {readiness: {walSenders: {limit: 2, used: 1}}},
      'error WAL senders',
      'wal-method: fetch',
    ],
    [
      'no free sender',
      {request: {walMethod: 'fetch'}, readiness: {walSenders: {limit: 2, used: 2}}},
      'error WAL senders',
      'max_wal_senders = 12',
    ],
    [
      'no free slot',
      {readiness: {slots: {limit: 3, used: 3}}},
      'error Replication slots',
      'max_replication_slots',
    ],
    [
      'a slot that is not there',
      {request: {slot: 'mine'}},
      'error Slot',
      "pg_create_physical_replication_slot('mine')",
    ],
    [
      'a slot that is in use',
      {request: {slot: 'mine'}, readiness: {physicalSlots: [{name: 'mine', isActive: true, keptBytes: 0}]}},
      'error Slot',
      'slot of its own',
    ],
    [
      'a slot that nobody uses',
      {readiness: {physicalSlots: [{name: "it's", isActive: false, keptBytes: 5e9}]}},
      'warning Unused slot',
      "pg_drop_replication_slot('it''s')",
    ],
    [
      'a small limit of WAL',
      {readiness: {slotKeepBytes: 64 * 2 ** 20}},
      'warning max_slot_wal_keep_size',
      'max_slot_wal_keep_size = -1',
    ],
    [
      'a standby without full pages',
      {facts: {isStandby: true}, readiness: {fullPageWrites: false}},
      'error full_page_writes',
      'full_page_writes = on',
    ],
    [
      'a standby without WAL',
      {facts: {isStandby: true}, request: {walMethod: 'none'}},
      'warning Standby',
      'stream',
    ],
    ['another backup', {readiness: {backupsInProgress: 1}}, 'warning Other backups', 'concurrency'],
    [
      'pages that are damaged',
      {readiness: {damagedDatabases: ['shop']}},
      'warning Damaged pages',
      'pg_amcheck',
    ],
    ['no page checksums', {facts: {dataChecksums: false}}, 'note Page checksums', 'pg_checksums --enable'],
    [
      'files elsewhere',
      {readiness: {filesOutside: ['/etc/postgresql/15/main/pg_hba.conf']}},
      'note Configuration',
      'copy',
    ],
    [
      'a tablespace in place',
      {serverMajor: 15, facts: {tablespaces: [{oid: '16385', path: 'pg_tblspc/16385', sizeBytes: 1}]}},
      'error Tablespaces',
      'SET TABLESPACE',
    ],
    [
      'tablespaces',
      {facts: {tablespaces: [{oid: '16385', path: '/fast', sizeBytes: 1}]}},
      'note Tablespaces',
      '16385 at /fast',
    ],
    ['unlogged tables', {readiness: {unloggedTables: 3}}, 'note Unlogged tables', 'empty after a restore'],
    [
      'a disk that is too small',
      {freeBytes: 1e8, request: {compress: {method: 'none'}}},
      'error Disk',
      'larger disk',
    ],
    ['a disk that may be too small', {freeBytes: 1e8}, 'warning Disk', 'larger disk'],
    [
      'a disk too small for what is on its way',
      {freeBytes: 5e7, isStreamed: true},
      'error Disk',
      'larger disk',
    ],
    [
      'a disk that may be too small for parts that are on their way',
      {freeBytes: 5e8, isStreamed: true, storeDiskBytes: 1e9},
      'warning Disk',
      'set artifact-part-size lower',
    ],
    [
      'more than parts can have',
      {largestFileBytes: 1e8, isStreamed: true, storeDiskBytes: 1e6},
      'warning Storage',
      'Set artifact-part-size higher',
    ],
    ['a file too large', {largestFileBytes: 1e8}, 'warning Storage', 'storage: directory'],
    ['a rate', {request: {maxRate: '10M'}}, 'note Duration', 'at least 2 minutes'],
    ['a rate beyond a job', {request: {maxRate: '32k'}}, 'warning Duration', '6 hours'],
  ])('%s', (_, changes, start, part) => {
    const all = judged(changes).filter((text) => text.startsWith(`${start}:`));
    expect(all).toHaveLength(1);
    expect(all[0]).toContain(part === 'slot of its own' ? 'its own slot' : part);
  });
});

describe('errors', () => {
  const one = {level: 'error', subject: 'Slot', observed: 'it is gone', cure: 'Make it.'} as const;
  const other = {level: 'error', subject: 'Disk', observed: 'it is full', cure: 'Empty it.'} as const;

  test('of one are told alone', () => {
    expect(() => refuseErrors([one], 'backup')).toThrow('Slot: it is gone');
  });

  test('of several are told together, each with its cure', () => {
    try {
      refuseErrors([one, other], 'backup');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(HinderedError);
      expect(String(error)).toMatch(/2 things[\s\S]*it is gone\nMake it\.[\s\S]*it is full\nEmpty it\./);
    }
  });

  test('that are none let the backup go on', () => {
    expect(() => refuseErrors([{...one, level: 'warning'}], 'backup')).not.toThrow();
  });
});

test.each([
  ['prod.abc.eu-west-1.rds.amazonaws.com', [], 'Amazon RDS'],
  ['10.0.0.3', ['cloudsqlsuperuser'], 'Google Cloud SQL'],
  ['x.postgres.database.azure.com', [], 'Azure Database for PostgreSQL'],
  ['ep-cool.eu.aws.neon.tech', [], 'Neon'],
  ['db.abc.supabase.co', [], 'Supabase'],
  ['db.example.com', [], undefined],
])('%s with the roles %j is %s', (host, serviceRoles, service) => {
  const sql = {versionNumber: 150000, facts, readiness: {...ready, serviceRoles}};
  const answers: Answers = {identity: {refusal: new Error('no')}, sql};
  expect(managedService(host, answers)).toBe(service);
});
