import {describe, expect, test} from 'vitest';
import type {BackupRequest} from '../../src/backup/request.js';
import {parseRequest, type Request} from '../../src/inputs/inputs.js';
import type {RestoreRequest} from '../../src/restore/request.js';

function parse(inputs: Record<string, string>, environment: NodeJS.ProcessEnv = {}): Request {
  return parseRequest((name) => inputs[name] ?? '', {
    workspace: '/work',
    temporaryDirectory: '/temp',
    environment,
    now: new Date('2026-11-22T08:09:10Z'),
    applicationName: 'pg-basebackup-action 1-1',
    defaultLabel: 'nightly, run 1, attempt 1',
  });
}

function parseBackup(inputs: Record<string, string>, environment?: NodeJS.ProcessEnv): BackupRequest {
  const request = parse(inputs, environment);
  if (request.mode !== 'backup') throw new Error('not a backup');
  return request;
}

function parseRestore(inputs: Record<string, string>): RestoreRequest {
  const request = parse({mode: 'restore', ...inputs});
  if (request.mode !== 'restore') throw new Error('not a restore');
  return request;
}

test('a backup without inputs has every default', () => {
  expect(parse({})).toEqual({
    mode: 'backup',
    storage: {kind: 'artifact'},
    connection: {parameters: {application_name: 'pg-basebackup-action 1-1'}, environment: {}},
    name: 'basebackup-20261122-080910',
    directory: '/work/backups',
    pgVersion: 'auto',
    format: 'tar',
    walMethod: 'stream',
    checkpoint: 'fast',
    compress: 'auto',
    label: 'nightly, run 1, attempt 1',
    writeRecoveryConf: false,
    manifestChecksums: 'crc32c',
    tablespaceMapping: new Map(),
    dryRun: false,
  });
});

test('a restore without inputs has every default', () => {
  expect(parse({mode: 'restore'})).toEqual({
    mode: 'restore',
    storage: {kind: 'artifact'},
    backupName: 'latest',
    pgVersion: 'auto',
    dataDirectory: '/temp/pgdata',
    tablespaceMapping: new Map(),
    recovery: {inclusive: true, timeline: 'latest', action: 'promote'},
    postgresqlConf: [],
    isolate: true,
    listenPort: 5433,
    startTimeoutSeconds: 300,
    checks: ['manifest'],
    checkSql: [],
    checkDatabase: 'postgres',
    keepRunning: false,
    dryRun: false,
  });
});

describe('a connection', () => {
  test('takes single inputs before the string, and the string before the environment', () => {
    const inputs = {host: 'input', 'connection-string': 'host=string port=1 user=string'};
    const environment = {
      PGHOST: 'variable',
      PGPORT: '2',
      PGUSER: 'variable',
      PGDATABASE: 'variable',
      PGSSLMODE: 'require',
    };
    expect(parseBackup(inputs, environment).connection.parameters).toEqual({
      application_name: 'pg-basebackup-action 1-1',
      host: 'input',
      port: '1',
      user: 'string',
      dbname: 'variable',
      sslmode: 'require',
    });
  });

  test('keeps its password apart, wherever it comes from', () => {
    const password = `p@ss:/ w%rd?#'"\\`;
    for (const connection of [
      parseBackup({password}).connection,
      parseBackup({'connection-string': `postgresql://u:${encodeURIComponent(password)}@db`}).connection,
      parseBackup({}, {PGPASSWORD: password}).connection,
    ]) {
      expect(connection.password).toBe(password);
      expect(JSON.stringify([connection.parameters, connection.environment])).not.toContain('w%rd');
    }
  });

  test('hands on libpq’s other variables, but none that leads elsewhere', () => {
    const environment = {
      PGSSLCERT: '/c',
      PGPASSFILE: '/p',
      PGSERVICE: 'x',
      PGOPTIONS: '-c x=y',
      PGDATA: '/d',
      OTHER: 'x',
    };
    expect(parseBackup({}, environment).connection.environment).toEqual({PGSSLCERT: '/c', PGPASSFILE: '/p'});
  });
});

describe('compress', () => {
  test.each([
    ['none', {method: 'none'}],
    ['gzip', {method: 'gzip'}],
    ['gzip:6', {method: 'gzip', detail: '6'}],
    ['client-zstd:level=3,workers=4', {method: 'zstd', where: 'client', detail: 'level=3,workers=4'}],
    ['server-lz4', {method: 'lz4', where: 'server'}],
    ['zstd:long', {method: 'zstd', detail: 'long'}],
  ])('%s', (text, expected) => {
    expect(parseBackup({compress: text}).compress).toEqual(expected);
  });

  test.each(['rar', 'gzip:', 'gzip:thunk', 'client-none', 'none:1', 'middle-gzip', 'gzip:level=x'])(
    'refuses %s',
    (text) => {
      expect(() => parse({compress: text})).toThrow(/compress: .* is not auto, none/);
    },
  );

  test('in the client is refused for a plain backup', () => {
    expect(() => parse({format: 'plain', compress: 'gzip'})).toThrow('only format: tar');
    expect(parseBackup({format: 'plain', compress: 'server-gzip'}).compress).toEqual({
      method: 'gzip',
      where: 'server',
    });
  });
});

test('a mapping reads escaped equals signs', () => {
  const request = parseRestore({'tablespace-mapping': '/a\\=b=/c\n\n /d = /e '});
  expect([...request.tablespaceMapping]).toEqual([
    ['/a=b', '/c'],
    ['/d', '/e'],
  ]);
});

test.each([
  ['90m', 5400],
  ['26h', 93_600],
  ['8d', 691_200],
  ['2w', 1_209_600],
])('an age of %s is %d seconds', (text, seconds) => {
  expect(parseRestore({'max-backup-age': text}).maxBackupAgeSeconds).toBe(seconds);
});

test.each([
  [{'recovery-target-time': '2026-11-22 08:00:00+00'}, {kind: 'time', value: '2026-11-22 08:00:00+00'}],
  [{'recovery-target-lsn': '0/3000060'}, {kind: 'lsn', value: '0/3000060'}],
  [{'recovery-target': 'immediate'}, {kind: 'immediate', value: 'immediate'}],
])('%j is a recovery target', (inputs, target) => {
  expect(parseRestore(inputs).recovery.target).toEqual(target);
});

test('checks are listed by line, comma or blank, and run in a fixed order', () => {
  expect(parseRestore({checks: 'amcheck, dump\nmanifest'}).checks).toEqual(['manifest', 'dump', 'amcheck']);
});

test('a standby takes a connection and is not isolated', () => {
  const request = parseRestore({standby: 'true', host: 'primary'});
  expect(request.primary?.parameters.host).toBe('primary');
  expect(request.isolate).toBe(false);
});

test.each([
  [{mode: 'restore', 'recovery-target-time': '2026-11-22 08:00:00'}, 'with a zone'],
  [
    {mode: 'restore', 'recovery-target-time': '2026-11-22 08:00+00', 'recovery-target-lsn': '0/1'},
    'one target at most',
  ],
  [{mode: 'restore', format: 'tar'}, 'format: it belongs to mode: backup'],
  [{mode: 'restore', host: 'db'}, 'host: in mode: restore it is used with standby: true only'],
  [{'keep-running': 'true'}, 'keep-running: it belongs to mode: restore'],
  [{mode: 'restore', 'run-id': '7'}, 'github-token: it is not set'],
  [{mode: 'restore', 'data-directory': '/x$(id)'}, 'data-directory'],
  [{mode: 'restore', 'listen-port': '70000'}, 'listen-port'],
  [{mode: 'restore', checks: 'everything'}, '"everything" is not one of manifest'],
  [{'tablespace-mapping': '/a=/b'}, 'belongs to format: plain'],
  [{format: 'plain', 'tablespace-mapping': '/a=b'}, 'two absolute paths'],
  [{'wal-method': 'fetch', slot: 's'}, 'wal-method: stream only'],
  [{storage: 'directory', 'retention-days': '3'}, 'storage: artifact only'],
  [{'dry-run': 'yes'}, '"yes" is not true or false'],
  [{'max-rate': '12 parsecs'}, 'max-rate'],
  [{host: 'a,b'}, 'several hosts'],
])('%j is refused', (inputs, message) => {
  expect(() => parse(inputs as unknown as Record<string, string>)).toThrow(message);
});

test('everything that is wrong is reported together', () => {
  const bad = () => parse({format: 'rar', checkpoint: 'slow', 'backup-name': 'a/b', label: 'a\nb'});
  expect(bad).toThrow(/4 inputs[\s\S]*format: "rar"[\s\S]*checkpoint: "slow" is not one of fast, spread/);
});

test('a password that broke a connection string is not repeated', () => {
  const secret = 'p@ss:/w%rd';
  expect(() => parse({'connection-string': `postgresql://u:${secret}@db`})).not.toThrow(/w%rd/);
  expect(() => parse({'connection-string': `postgresql://u:${secret}@db`})).toThrow('connection-string');
});
