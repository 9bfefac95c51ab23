import {type ChildProcess, spawn} from 'node:child_process';
import {chmodSync, mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, onTestFinished, test} from 'vitest';
import {
  asServer,
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  standbyOf,
} from '../support/cluster.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {backupInputs} from '../support/steps.js';
import {listAll, workspace} from '../support/workspace.js';

const streaming = "select count(*) from pg_stat_replication where state = 'streaming'";

/** Takes WAL from a server as a real receiver does, until the end of the test. */
async function receiveWal(source: Cluster, args: readonly string[] = []): Promise<void> {
  const before = Number(await source.sql(streaming));
  const directory = join(source.root, `received${Math.random()}`);
  mkdirSync(directory);
  chmodSync(directory, 0o777);
  const options = [`--directory=${directory}`, `--host=${source.socketDirectory}`, `--port=${source.port}`];
  const [program, all] = asServer(postgresProgram('pg_receivewal'), [
    ...options,
    '--username=postgres',
    ...args,
  ]);
  const child: ChildProcess = spawn(program, [...all], {stdio: 'ignore', cwd: '/'});
  onTestFinished(() => void child.kill());
  await expect.poll(() => source.sql(streaming), {timeout: 30_000}).toBe(String(before + 1));
}

const replicationRole = 'create role backup login replication';

describeWithPostgres('preflight', () => {
  describe('of a sound server', () => {
    let source: Cluster;

    beforeAll(async () => {
      source = await createCluster({initdbArgs: ['--data-checksums']});
      await source.sql(`${replicationRole}; create unlogged table cache as select 1`);
      return () => source.remove();
    });

    test('finds nothing that stands in the way, and writes nothing', async () => {
      const home = workspace();
      const result = succeeded(await runAction(backupInputs(source, {'dry-run': 'true'}), {workspace: home}));
      expect(result.stdout).toContain('Preflight: 0 errors, 0 warnings, 1 note');
      expect(result.stdout).toMatch(/note +Unlogged tables +1 in database "postgres"/);
      expect(result.summary).toContain('Unlogged tables');
      expect(listAll(home.directory)).toEqual([]);
    });

    test('does without what the role may not see', async () => {
      const result = succeeded(await runAction(backupInputs(source, {'dry-run': 'true', user: 'backup'})));
      expect(result.stdout).toContain('Preflight: 0 errors, 0 warnings');
    });

    test('tells all that stands in the way at once', async () => {
      const home = workspace();
      mkdirSync(join(home.directory, 'backups/nightly'), {recursive: true});
      writeFileSync(join(home.directory, 'backups/nightly/old'), '');
      const inputs = backupInputs(source, {slot: 'missing_one', 'pg-version': '14'});
      const result = await runAction(inputs, {workspace: home});
      const message = failure(result);
      expect(message).toContain('3 things stand in the way');
      expect(message).toContain("pg_create_physical_replication_slot('missing_one')");
      expect(message).toContain('backups/nightly exists already');
      expect(message).toContain('pg-version: 14 is older than the server');
      expect(result.summary).toContain('missing&#95;one');
      expect(listAll(home.directory)).toEqual(['backups', 'backups/nightly', 'backups/nightly/old']);
    });

    test('tells of a role that is kept out and has no right, of both', async () => {
      await source.sql('create role nobody login');
      const own = await cluster();
      await own.sql('create role nobody login');
      writeFileSync(
        join(own.dataDirectory, 'pg_hba.conf'),
        'local all all trust\nhost all all 127.0.0.1/32 trust\n',
      );
      await own.sql('select pg_reload_conf()');
      const message = failure(await runAction(backupInputs(own, {user: 'nobody'})));
      expect(message).toContain('2 things stand in the way');
      expect(message).toContain('host replication "nobody" 127.0.0.1/32 scram-sha-256');
      expect(message).toContain('ALTER ROLE "nobody" REPLICATION;');
      expect(failure(await runAction(backupInputs(source, {user: 'nobody'})))).not.toContain(
        'things stand in the way',
      );
    });

    test('warns of a slot that nobody uses, by its name', async () => {
      await source.sql("select pg_create_physical_replication_slot('left_over', true)");
      const result = succeeded(await runAction(backupInputs(source, {'dry-run': 'true'})));
      await source.sql("select pg_drop_replication_slot('left_over')");
      expect(result.warnings.join('\n')).toContain("pg_drop_replication_slot('left_over')");
    });

    test('refuses a slot that a real receiver uses', async () => {
      await source.sql("select pg_create_physical_replication_slot('taken')");
      await receiveWal(source, ['--slot=taken']);
      const message = failure(await runAction(backupInputs(source, {slot: 'taken'})));
      expect(message).toContain('taken is in use');
    });
  });

  test('of a server with wal_level = minimal says what to set', async () => {
    const own = await cluster({settings: ['wal_level = minimal', 'max_wal_senders = 0']});
    const message = failure(await runAction(backupInputs(own)));
    expect(message).toContain("ALTER SYSTEM SET wal_level = 'replica'");
    expect(message).not.toContain('things stand in the way');
  });

  test('counts the senders that real receivers use', async () => {
    const own = await cluster({settings: ['max_wal_senders = 3', 'wal_keep_size = 1GB']});
    await receiveWal(own);
    await receiveWal(own);
    const stream = failure(await runAction(backupInputs(own)));
    expect(stream).toContain('2 of 3 (max_wal_senders) are in use');
    expect(stream).toContain('wal-method: fetch');
    succeeded(await runAction(backupInputs(own, {'wal-method': 'fetch'})));
    await receiveWal(own);
    expect(failure(await runAction(backupInputs(own, {'wal-method': 'fetch'})))).toContain(
      'max_wal_senders = 13',
    );
  });

  test('finds all slots taken', async () => {
    const own = await cluster({settings: ['max_replication_slots = 1']});
    await own.sql("select pg_create_physical_replication_slot('the_only_one')");
    const message = failure(await runAction(backupInputs(own)));
    expect(message).toContain('all 1 (max_replication_slots) are taken');
    succeeded(await runAction(backupInputs(own, {'wal-method': 'fetch'})));
  });

  test('of a standby knows whether its primary writes full pages', async () => {
    const primary = await cluster({settings: ['full_page_writes = off']});
    const standby = await standbyOf(primary);
    expect(failure(await runAction(backupInputs(standby)))).toContain('full_page_writes = on');
  });

  test('refuses tablespaces that pg_basebackup would leave out', async () => {
    const own = await cluster({settings: ['allow_in_place_tablespaces = on']});
    await own.sql("create tablespace inside location ''");
    const result = await runAction(backupInputs(own));
    // From PostgreSQL 16 on they are in the backup.
    if ((await own.sql('show server_version_num')) >= '160000') succeeded(result);
    else expect(failure(result)).toMatch(/pg_tblspc\/\d+ are in place/);
  });

  test('sees configuration that is not in the data directory', async () => {
    const own = await cluster();
    const path = join(own.root, 'elsewhere.conf');
    writeFileSync(path, "work_mem = '5MB'\n", {mode: 0o644});
    await own.sql(`alter system set statement_timeout = 0`);
    writeFileSync(join(own.dataDirectory, 'postgresql.auto.conf'), `include '${path}'\n`);
    await own.sql('select pg_reload_conf(); select pg_sleep(0.5)');
    const result = succeeded(await runAction(backupInputs(own, {'dry-run': 'true'})));
    expect(result.stdout).toContain(`not in the backup: ${path}`);
  });
});
