import {closeSync, ftruncateSync, openSync, readSync, statSync, writeSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {
  type Cluster,
  type ClusterOptions,
  cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  quoteName,
  standbyOf,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {checksumOfAllRows} from '../support/rows.js';
import {
  askRestored,
  backUp,
  backupDirectory,
  dataDirectory,
  restoreAndKeepRunning,
  restoredConnection,
  stopRestored,
} from '../support/steps.js';
import {fingerprint, listAll, type Workspace, workspace} from '../support/workspace.js';

/** Backs up, restores, compares all rows, and stops the copy. */
async function expectSameRows(source: Cluster, home: Workspace): Promise<void> {
  const restored = await restoreAndKeepRunning(home);
  expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(
    await checksumOfAllRows(source.connection),
  );
  await stopRestored(restored);
}

describeWithPostgres('an unusual cluster restores with the same rows', () => {
  const kinds: readonly {kind: string; options: ClusterOptions}[] = [
    {kind: 'WAL segments of 1 MB', options: {initdbArgs: ['--wal-segsize=1']}},
    {kind: 'page checksums', options: {initdbArgs: ['--data-checksums']}},
    {kind: 'a data directory that its group may read', options: {initdbArgs: ['--allow-group-access']}},
  ];
  test.each(kinds)('$kind', async ({options}) => {
    const source = await cluster(options);
    await source.pgbench('bank');
    const home = workspace();
    await backUp(source, home);
    await expectSameRows(source, home);
  });

  test('names full of quotes, spaces and non-ASCII', async () => {
    // initdb refuses quotes and backslashes in the name of its superuser (15.18).
    const superuser = 'the röle 数 =';
    const user = `d'Arc "the rôle" 数`;
    const database = `d'b "ñame" 数据 %s`;
    const source = await cluster({superuser});
    await source.pgbench(database);
    await source.sql(`create role ${quoteName(user)} login superuser`);
    await source.sql(
      `create table ${quoteName(`t "x" 'y' é`)} as select 'ü' as ${quoteName('c c')}`,
      database,
    );
    await source.tablespace(`spåce n "q" $x`);
    await source.sql(
      `create table there (x) tablespace ${quoteName(`spåce n "q" $x`)} as select 1`,
      database,
    );
    const home = workspace();
    await backUp(source, home, {user, database, label: `o'Brien "läbel" $HOME`});

    const checks = {
      'check-database': database,
      'check-sql': `select count(*) = 1 from ${quoteName(`t "x" 'y' é`)}`,
    };
    const restored = await restoreAndKeepRunning(home, checks);
    expect((await restoredConnection(restored)).user).toBe(superuser);
    expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(
      await checksumOfAllRows(source.connection),
    );
    await stopRestored(restored);

    const second = await restoreAndKeepRunning(home, {
      ...checks,
      user,
      'data-directory': join(home.temp, `o'th er dïr`),
    });
    expect(await askRestored(second, 'select current_user')).toBe(user);
  });

  test('a file over 1 GB', async () => {
    const source = await cluster();
    await source.pgbench('bank');
    const size = 1_200_000_000;
    const end = Buffer.from('the end');
    const file = openSync(join(source.dataDirectory, 'base', '1', 'large'), 'w', 0o644);
    ftruncateSync(file, size);
    writeSync(file, end, 0, end.length, size - end.length);
    closeSync(file);
    const home = workspace();
    await backUp(source, home);

    await expectSameRows(source, home);
    const copy = join(dataDirectory(home), 'base', '1', 'large');
    expect(statSync(copy).size).toBe(size);
    expect(lastBytes(copy, end.length)).toEqual(end);
  });
});

function lastBytes(path: string, count: number): Buffer {
  const file = openSync(path, 'r');
  const bytes = Buffer.alloc(count);
  readSync(file, bytes, 0, count, statSync(path).size - count);
  closeSync(file);
  return bytes;
}

describeWithPostgres('a backup made by hand restores without metadata', () => {
  let source: Cluster;
  let tablespace: string;
  let rows: string;

  beforeAll(async () => {
    source = await createCluster();
    tablespace = await source.tablespace('fast disk');
    await source.pgbench('bank', 1, ['--tablespace=fast disk']);
    rows = await checksumOfAllRows(source.connection);
    return () => source.remove();
  });

  async function expectRows(home: Workspace): Promise<void> {
    const restored = await restoreAndKeepRunning(home);
    expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(rows);
    await stopRestored(restored);
  }

  const commands: readonly {command: string; args: readonly string[]}[] = [
    {command: 'pg_basebackup -Ft -z -Xs', args: ['-Ft', '-z', '-Xs']},
    {command: 'pg_basebackup -Ft', args: ['-Ft']},
    {command: 'pg_basebackup -Ft -Xf -Z server-gzip', args: ['-Ft', '-Xf', '-Z', 'server-gzip']},
    {command: 'pg_basebackup -Ft -Z client-zstd', args: ['-Ft', '-Z', 'client-zstd']},
    {command: 'pg_basebackup -Ft -Z client-lz4', args: ['-Ft', '-Z', 'client-lz4']},
  ];
  test.each(commands)('$command', async ({args}) => {
    const home = workspace();
    await byHand(source, home, args);
    await expectRows(home);
  });

  test('pg_basebackup -Fp', async () => {
    const plain = await cluster();
    await plain.pgbench('bank');
    const home = workspace();
    await byHand(plain, home, ['-Fp']);
    await expectSameRows(plain, home);
  });

  test('pg_basebackup -Fp -T, whose tablespace lies elsewhere and is left alone', async () => {
    const home = workspace();
    const mapped = join(home.directory, 'elsewhere');
    await byHand(source, home, ['-Fp', '-T', `${tablespace}=${mapped}`]);
    const before = fingerprint(mapped);
    await expectRows(home);
    expect(fingerprint(mapped)).toEqual(before);
  });
});

async function byHand(source: Cluster, home: Workspace, args: readonly string[]): Promise<void> {
  const {host, port, user} = source.connection;
  const target = ['-D', backupDirectory(home), '-h', host, '-p', String(port), '-U', user, '-c', 'fast'];
  await run('mkdir', ['-p', join(home.directory, 'backups')]);
  await run(postgresProgram('pg_basebackup'), [...target, ...args]);
}

describeWithPostgres('a copy restored beside its source is harmless:', () => {
  test('of a standby, it does not contact the primary and leaves recovery', async () => {
    const primary = await cluster({settings: ['log_replication_commands = on']});
    await primary.pgbench('bank');
    const standby = await standbyOf(primary);
    const home = workspace();
    await backUp(standby, home);
    const contacts = () => primary.log().match(/received replication command: IDENTIFY_SYSTEM/g)?.length ?? 0;
    const before = contacts();
    expect(before).toBeGreaterThan(0);

    const restored = await restoreAndKeepRunning(home);
    expect(await askRestored(restored, 'select pg_is_in_recovery()')).toBe('f');
    expect(await askRestored(restored, 'create table writable (x int)')).toBe('CREATE TABLE');
    expect(await checksumOfAllRows(standby.connection)).toBe(await checksumOfAllRows(primary.connection));
    await stopRestored(restored);
    expect(contacts()).toBe(before);
    expect(await primary.sql('select application_name from pg_stat_replication')).toBe('standby');
  });

  test('it uses tablespace directories of its own and leaves the live ones untouched', async () => {
    const source = await cluster();
    const live = await source.tablespace('fast disk');
    await source.pgbench('bank', 1, ['--tablespace=fast disk']);
    const home = workspace();
    await backUp(source, home);
    await source.sql('checkpoint');
    const before = fingerprint(live);
    expect(before.length).toBeGreaterThan(3);

    const restored = await restoreAndKeepRunning(home);
    const oid = await source.sql("select oid from pg_tablespace where spcname = 'fast disk'");
    const own = join(`${dataDirectory(home)}_tablespaces`, oid);
    expect(await askRestored(restored, `select pg_tablespace_location(${oid})`)).toBe(own);
    await askRestored(
      restored,
      'create table more (x) tablespace "fast disk" as select generate_series(1, 1000)',
    );
    await askRestored(restored, 'checkpoint');
    expect(listAll(own).length).toBeGreaterThan(3);
    await stopRestored(restored);
    expect(fingerprint(live)).toEqual(before);
  });

  test('it archives nothing', async () => {
    const source = await cluster();
    const archive = join(source.root, 'tablespaces');
    await source.sql(`alter system set archive_mode = 'always'`);
    await source.sql(`alter system set archive_command = 'cp %p ${archive}/%f'`);
    const home = workspace();
    await backUp(source, home);
    const restored = await restoreAndKeepRunning(home);
    await askRestored(restored, 'create table more (x) as select 1');
    await askRestored(restored, 'select pg_switch_wal()');
    await askRestored(restored, 'checkpoint');
    await stopRestored(restored);
    expect(listAll(archive)).toEqual([]);
  });
});
