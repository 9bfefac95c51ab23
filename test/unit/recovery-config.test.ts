import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {formatTablespaceMap, readTablespaceMap} from '../../src/backup-set/tablespace-map.js';
import {shellWord} from '../../src/restore/recovery/fetch-wal.js';
import {pgHbaConf, postgresqlConf} from '../../src/restore/recovery/recovery-config.js';
import type {RestoreRequest} from '../../src/restore/request.js';

function restoreRequest(changes: Partial<RestoreRequest> = {}): RestoreRequest {
  return {
    mode: 'restore',
    backupName: 'latest',
    decryption: {},
    pgVersion: 'auto',
    dataDirectory: '/data',
    tablespaceMapping: new Map(),
    recovery: {inclusive: true, timeline: 'latest', action: 'promote'},
    postgresqlConf: [],
    isolate: true,
    listenPort: 5433,
    startTimeoutSeconds: 300,
    checks: [],
    checkSql: [],
    checkDatabase: 'postgres',
    keepRunning: false,
    inPlace: false,
    dryRun: false,
    ...changes,
  };
}

const runner = {address: '127.0.0.1', clientAddress: '127.0.0.1', isReachable: true};
const container = {address: '172.17.0.2', clientAddress: '172.17.0.1', isReachable: true};

function linesOf(
  changes: Partial<RestoreRequest> = {},
  facts: Partial<Parameters<typeof postgresqlConf>[1]> = {},
): readonly string[] {
  return postgresqlConf(restoreRequest(changes), {
    major: 17,
    dataDirectory: '/data',
    configDirectory: '/data_config',
    socketDirectory: '/data_config/socket',
    requiredSettings: {max_connections: '250'},
    memoryBytes: 16 * 2 ** 30,
    network: runner,
    restoreCommand: 'false',
    ownFiles: ['/data/postgresql.conf'],
    ...facts,
  }).split('\n');
}

describe('the configuration of an isolated server', () => {
  test.each([
    "archive_mode = 'off'",
    "shared_preload_libraries = ''",
    "primary_conninfo = ''",
    "listen_addresses = ''",
    "autovacuum = 'off'",
    "max_connections = '250'",
    "shared_buffers = '128MB'",
    "restore_command = 'false'",
    "recovery_target_action = 'promote'",
    "data_directory = '/data'",
    "hba_file = '/data_config/pg_hba.conf'",
  ])('has %s', (line) => {
    expect(linesOf()).toContain(line);
  });

  test('never reads the files that came with the backup', () => {
    expect(linesOf().join('\n')).not.toContain('include');
  });

  test.each([
    ['archive_library', 15, 18],
    ['huge_page_size', 14, 18],
    ['event_triggers', 17, 18],
    ['io_method', 18, 18],
    ['promote_trigger_file', 13, 15],
    ['allow_in_place_tablespaces', 15, 18],
  ])('names %s in the majors that know it', (name, since, until) => {
    const majors = [13, 14, 15, 16, 17, 18].filter((major) =>
      linesOf({}, {major}).some((line) => line.startsWith(`${name} =`)),
    );
    expect([majors.at(0), majors.at(-1)]).toEqual([since, until]);
  });

  test('lets the user’s own lines come last', () => {
    expect(linesOf({postgresqlConf: ["work_mem = '1GB'"]}).slice(-2)).toEqual(["work_mem = '1GB'", '']);
  });

  test('is small on a small machine', () => {
    expect(linesOf({}, {memoryBytes: 2 ** 28})).toContain("shared_buffers = '32MB'");
  });
});

test('a server that is not isolated starts from its own configuration, without its recovery settings', () => {
  const lines = linesOf({isolate: false});
  expect(lines.slice(1, 3)).toEqual(["max_connections = '250'", "include '/data/postgresql.conf'"]);
  expect(lines).toContain("primary_conninfo = ''");
  expect(lines.join('\n')).not.toContain('archive_mode');
});

test.each([
  ['time', 'recovery_target_time'],
  ['lsn', 'recovery_target_lsn'],
  ['xid', 'recovery_target_xid'],
  ['name', 'recovery_target_name'],
  ['immediate', 'recovery_target'],
] as const)('a target by %s is set after the source’s was cleared', (kind, name) => {
  const lines = linesOf({
    recovery: {target: {kind, value: "it's"}, inclusive: false, timeline: '2', action: 'pause'},
  });
  expect(lines.indexOf(`${name} = 'it''s'`)).toBeGreaterThan(lines.indexOf(`${name} = ''`));
  expect(lines).toContain("recovery_target_inclusive = 'off'");
  expect(lines).toContain("recovery_target_timeline = '2'");
});

test('a time in UTC is written without the Z that PostgreSQL does not know in its configuration', () => {
  const lineOf = (value: string) =>
    linesOf({
      recovery: {target: {kind: 'time', value}, inclusive: true, timeline: 'latest', action: 'promote'},
    });
  expect(lineOf('2026-11-22T08:00:00.5Z')).toContain("recovery_target_time = '2026-11-22T08:00:00.5+00'");
  expect(lineOf('2026-11-22 08:00:00 UTC')).toContain("recovery_target_time = '2026-11-22 08:00:00 UTC'");
});

test('a value cannot end its quotes', () => {
  const value = fc.string({unit: 'binary'}).filter((text) => !/[\n\r\0]/.test(text));
  fc.assert(
    fc.property(value, (dataDirectory) => {
      const line = linesOf({}, {dataDirectory}).find((one) => one.startsWith('data_directory')) ?? '';
      const quoted = line.slice("data_directory = '".length, -1);
      expect(quoted.replaceAll(/''|\\\\/g, '')).not.toMatch(/['\\]/);
      expect(quoted.replaceAll("''", "'").replaceAll('\\\\', '\\')).toBe(dataDirectory);
    }),
  );
});

test.each([
  [{}, runner, 'local all all trust\n'],
  [{}, container, 'local all all trust\n'],
  [{keepRunning: true}, runner, 'local all all trust\nhost all all 127.0.0.1/32 trust\n'],
  [
    {keepRunning: true},
    container,
    'local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 172.17.0.1/32 trust\n',
  ],
  [{keepRunning: true, isolate: false}, container, 'local all all trust\nhost all all all scram-sha-256\n'],
])('%j at %j lets in: %j', (changes, network, expected) => {
  expect(pgHbaConf(restoreRequest(changes), network, 'host all all all scram-sha-256')).toBe(expected);
});

test('a server that is kept running in a container listens where the runner reaches it', () => {
  expect(linesOf({keepRunning: true}, {network: container})).toContain(
    "listen_addresses = '127.0.0.1,172.17.0.2'",
  );
});

test.each([
  [{}, true],
  [{keepRunning: true}, false],
  [{inPlace: true}, false],
])('%j turns fsync off: %j', (changes, isOff) => {
  expect(linesOf(changes).includes("fsync = 'off'")).toBe(isOff);
});

test('a word of a shell command is one word', () => {
  expect(shellWord("it's 100 %")).toBe(String.raw`'it'\''s 100 %%'`);
});

describe('a tablespace_map', () => {
  test('is read as it was written', () => {
    const oid = fc.nat().map(String);
    const path = fc.string({unit: 'binary', minLength: 1}).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(oid, path), {selector: ([one]) => one}), (entries) => {
        expect([...readTablespaceMap(formatTablespaceMap(new Map(entries)))]).toEqual(entries);
      }),
    );
  });

  test('of PostgreSQL is read', () => {
    expect([...readTablespaceMap('16406 /srv/fast disk\n16407 /srv/a\\\\b\n')]).toEqual([
      ['16406', '/srv/fast disk'],
      ['16407', '/srv/a\\b'],
    ]);
  });
});
