import {describe, expect, test} from 'vitest';
import {pgBasebackup, progressLines, readLine} from '../../src/backup/pg-basebackup.js';
import type {BackupRequest} from '../../src/backup/request.js';

function backupRequest(changes: Partial<BackupRequest> = {}): BackupRequest {
  return {
    mode: 'backup',
    connection: {parameters: {}, environment: {}},
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
    label: 'nightly, run 1',
    writeRecoveryConf: false,
    manifestChecksums: 'crc32c',
    tablespaceMapping: new Map(),
    dryRun: false,
    ...changes,
  };
}

function argsOf(
  changes: Partial<BackupRequest>,
  facts: Partial<Parameters<typeof pgBasebackup>[1]> = {},
): readonly string[] {
  return pgBasebackup(backupRequest(changes), {
    programs: {directory: '/usr/lib/postgresql/17/bin', major: 17, version: ''},
    compression: {method: 'none'},
    tablespaceMapping: new Map(),
    targetDirectory: '/backups/nightly.partial',
    conninfo: "host='db'",
    isStreamed: false,
    ...facts,
  }).args;
}

test('takes a tar backup that streams its WAL and asks for no password', () => {
  expect(argsOf({})).toEqual([
    '--pgdata=/backups/nightly.partial',
    '--format=tar',
    '--wal-method=stream',
    '--checkpoint=fast',
    '--label=nightly, run 1',
    '--manifest-checksums=crc32c',
    '--progress',
    '--verbose',
    '--no-password',
    "--dbname=host='db'",
  ]);
});

test('takes the changes since another backup by its manifest', () => {
  expect(argsOf({}, {parentManifest: '/tmp/of=parent/backup_manifest'})).toContain(
    '--incremental=/tmp/of=parent/backup_manifest',
  );
});

test('does not wait for the disk when the files are stored meanwhile', () => {
  expect(argsOf({}, {isStreamed: true})).toContain('--no-sync');
});

test.each([
  [{maxRate: '32M'}, '--max-rate=32M'],
  [{slot: 'nightly'}, '--slot=nightly'],
  [{writeRecoveryConf: true}, '--write-recovery-conf'],
  [{checkpoint: 'spread'} as const, '--checkpoint=spread'],
  [{walMethod: 'none'} as const, '--wal-method=none'],
  // Its files are removed for the encrypted ones, which are brought to disk.
  [{encryption: {kind: 'passphrase', passphrase: 'long enough by far'}} as const, '--no-sync'],
])('%j adds %s', (changes, expected) => {
  expect(argsOf(changes)).toContain(expected);
});

test('escapes equals signs of a tablespace mapping', () => {
  const tablespaceMapping = new Map([['/srv/a=b', '/new']]);
  expect(argsOf({}, {tablespaceMapping})).toContain(String.raw`--tablespace-mapping=/srv/a\=b=/new`);
});

describe('compression', () => {
  test.each([
    [
      17,
      {method: 'zstd', where: 'client', detail: 'level=1,workers=4'},
      ['--compress=client-zstd:level=1,workers=4'],
    ],
    [15, {method: 'gzip', detail: '6'}, ['--compress=gzip:6']],
    [14, {method: 'gzip'}, ['--gzip']],
    [13, {method: 'gzip', detail: '6'}, ['--compress=6']],
    [17, {method: 'pigz'}, []],
    [17, {method: 'none'}, []],
  ] as const)('client %d, %j', (major, compression, expected) => {
    const args = argsOf({}, {compression, programs: {directory: '', major, version: ''}});
    expect(args.filter((arg) => /compress|gzip/.test(arg))).toEqual(expected);
  });
});

describe('a line of its output', () => {
  test.each([
    ['  1024/4096 kB (25%), 0/1 tablespace', {kind: 'progress', doneBytes: 1_048_576, totalBytes: 4_194_304}],
    [
      '4096/4096 kB (100%), 2/2 tablespaces (…/base.tar)',
      {kind: 'progress', doneBytes: 4_194_304, totalBytes: 4_194_304},
    ],
    [
      'WARNING:  skipping special file "./conf.d"',
      {kind: 'warning', text: 'skipping special file "./conf.d"'},
    ],
    [
      'pg_basebackup: warning: changes will not be undone',
      {kind: 'warning', text: 'changes will not be undone'},
    ],
    ['pg_basebackup: checkpoint completed', {kind: 'message', text: 'pg_basebackup: checkpoint completed'}],
    ['', undefined],
  ])('%s', (line, expected) => {
    expect(readLine(line)).toEqual(expected);
  });
});

test('progress is a line every few seconds with percent, bytes and rate', () => {
  let milliseconds = 0;
  const progress = progressLines(() => milliseconds, 5);
  expect(progress(0, 1e9)).toBeUndefined();
  milliseconds = 4999;
  expect(progress(3e8, 1e9)).toBeUndefined();
  milliseconds = 5000;
  expect(progress(5e8, 1e9)).toBe(' 50 %  500 MB of 1000 MB  100 MB/s');
  milliseconds = 9000;
  expect(progress(6e8, 1e9)).toBeUndefined();
  milliseconds = 10_000;
  expect(progress(1.2e9, 1e9)).toBe('100 %  1200 MB of 1000 MB  140 MB/s');
});
