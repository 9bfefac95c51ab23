import {existsSync} from 'node:fs';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, runAsServer} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {checksumOfAllRows} from '../support/rows.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {
  askRestored,
  backUp,
  backupInputs,
  dataDirectory,
  restore,
  restoreAndKeepRunning,
  restoredConnection,
  restoreInputs,
  stopRestored,
} from '../support/steps.js';
import {listAll, workspace} from '../support/workspace.js';

const server = ['server-gzip', 'server-lz4', 'server-zstd'];
const client = ['client-gzip', 'client-lz4', 'client-zstd'];
// pg_basebackup: "only tar mode backups can be compressed", by the client that is.
const formats = [
  {format: 'tar', codecs: ['auto', 'none', ...client, ...server]},
  {format: 'plain', codecs: ['auto', 'none', ...server]},
];
// Where the WAL comes from and what compresses the rest have little to do with each other: every other codec is enough.
const matrix = formats.flatMap(({format, codecs}) => [
  ...codecs.map((compress) => ({format, walMethod: 'stream', compress})),
  ...codecs.filter((_, index) => index % 2 === 0).map((compress) => ({format, walMethod: 'fetch', compress})),
]);

const rowsAreThere = 'select count(*) = 100000 from pgbench_accounts';

describeWithPostgres('a backup', () => {
  let source: Cluster;
  let rows: string;

  beforeAll(async () => {
    source = await createCluster();
    await source.tablespace('fast disk');
    await source.pgbench('bank', 1, ['--tablespace=fast disk']);
    rows = await checksumOfAllRows(source.connection);
    return () => source.remove();
  });

  describe('restores with the same rows', () => {
    test.each(matrix)(
      'as $format with $walMethod WAL and compress: $compress',
      async ({format, walMethod, compress}) => {
        const home = workspace();
        const backup = await backUp(source, home, {format, 'wal-method': walMethod, compress});
        expect(empty(backup.outputs, backupOutputs)).toEqual([]);
        expect(backup.warnings).toEqual([]);
        expect(listAll(home.directory).filter((path) => path.includes('partial'))).toEqual([]);

        const restored = await restoreAndKeepRunning(home, {
          'check-database': 'bank',
          'check-sql': rowsAreThere,
        });
        expect(empty(restored.outputs, restoreOutputs)).toEqual([]);
        expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(rows);
        expect(await askRestored(restored, 'select pg_is_in_recovery()')).toBe('f');

        await stopRestored(restored);
        // pg_ctl waits for the pid file, which goes a moment before the process.
        await expect.poll(() => processesOf(home.root), {timeout: 10_000}).toEqual([]);
      },
    );
  });

  describe('without WAL warns, and is refused by a restore', () => {
    test.each(formats)('as $format', async ({format}) => {
      const home = workspace();
      const backup = await backUp(source, home, {format, 'wal-method': 'none'});
      expect(backup.warnings.join('\n')).toMatch(/wal-method/);

      const error = failure(await runAction(restoreInputs(), {workspace: home}));
      expect(error).toMatch(/WAL/);
      expect(existsSync(dataDirectory(home))).toBe(false);
      expect(processesOf(home.root)).toEqual([]);
    });
  });

  test('says in its summary what was stored, and in the restore’s how far it is proven', async () => {
    const home = workspace();
    const backup = await backUp(source, home);
    for (const name of ['backup-name', 'start-lsn', 'end-lsn', 'server-version']) {
      expect(backup.summary).toContain(backup.outputs[name]);
    }
    expect(backup.summary).toMatch(/base\.tar/);
    expect(backup.summary).toMatch(/[0-9a-f]{64}/);

    const restored = await restore(home);
    expect(restored.outputs.proof).toBe('recovered');
    expect(restored.summary).toContain(restored.outputs['recovered-lsn']);
    expect(restored.summary).toMatch(/recovered/);
  });

  test('restored without keep-running leaves a stopped data directory', async () => {
    const home = workspace();
    await backUp(source, home);
    const restored = await restore(home);
    expect(restored.outputs['data-directory']).toBe(dataDirectory(home));
    expect(processesOf(home.root)).toEqual([]);
    const control = await runAsServer('pg_controldata', [dataDirectory(home)]);
    expect(control).toMatch(/Database cluster state: +shut down\n/);
  });

  test('restored with a tablespace-mapping puts the tablespace where the user said', async () => {
    const home = workspace();
    await backUp(source, home);
    const from = await source.sql(
      "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast disk'",
    );
    const to = `${home.temp}/slow disk`;
    const restored = await restoreAndKeepRunning(home, {'tablespace-mapping': `${from}=${to}`});
    const asked = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast disk'";
    expect(await askRestored(restored, asked)).toBe(to);
    expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(rows);
  });

  test('in plain format with a tablespace-mapping puts the tablespace where the user said', async () => {
    const home = workspace();
    const from = await source.sql(
      "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast disk'",
    );
    const to = `${home.directory}/slow=disk`;
    const mapping = `${from}=${to.replace('=', '\\=')}`;
    await backUp(source, home, {format: 'plain', 'tablespace-mapping': mapping});
    expect(listAll(to).length).toBeGreaterThan(1);
    const restored = await restoreAndKeepRunning(home);
    expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(rows);
  });

  test('fails its restore when a check is not true', async () => {
    const home = workspace();
    await backUp(source, home);
    const checks = `${rowsAreThere}\nselect count(*) = 7 from pgbench_accounts`;
    const inputs = restoreInputs({'check-database': 'bank', 'check-sql': checks});
    const error = failure(await runAction(inputs, {workspace: home}));
    expect(error).toContain('select count(*) = 7 from pgbench_accounts');
    expect(existsSync(dataDirectory(home))).toBe(false);
    expect(processesOf(home.root)).toEqual([]);
  });

  test('with the defaults is the newest one that a restore without a name finds', async () => {
    const home = workspace();
    const {'backup-name': _, ...inputs} = backupInputs(source);
    const backup = succeeded(await runAction(inputs, {workspace: home}));
    expect(backup.outputs['backup-name']).toMatch(/^basebackup-\d{8}-\d{6}$/);
    const restored = succeeded(await runAction({mode: 'restore', storage: 'directory'}, {workspace: home}));
    expect(restored.outputs['system-identifier']).toBe(backup.outputs['system-identifier']);
  });
});

/** What the contract promises for a backup to a directory: all but the artifact's outputs. */
const backupOutputs = [
  'backup-name',
  'backup-directory',
  'size-bytes',
  'duration-seconds',
  'start-lsn',
  'end-lsn',
  'timeline',
  'system-identifier',
  'server-version',
];

const restoreOutputs = [
  'data-directory',
  'host',
  'port',
  'connection-string',
  'server-version',
  'system-identifier',
  'timeline',
  'recovered-lsn',
  'restore-seconds',
  'backup-age-seconds',
  'checks-passed',
  'proof',
];

function empty(outputs: Readonly<Record<string, string>>, names: readonly string[]): readonly string[] {
  return names.filter((name) => (outputs[name] ?? '') === '');
}
