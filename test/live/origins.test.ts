import {execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, openSync, readFileSync, symlinkSync} from 'node:fs';
import {join} from 'node:path';
import {text} from 'node:stream/consumers';
import {beforeAll, expect, onTestFinished, test} from 'vitest';
import {
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  runAsServer,
  standbyOf,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {checksumOfAllRows} from '../support/rows.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {
  askRestored,
  backupDirectory,
  restoreAndKeepRunning,
  restoredConnection,
  restoreInputs,
  stopRestored,
} from '../support/steps.js';
import {fingerprint, listAll, type Workspace, workspace} from '../support/workspace.js';

/** Takes a backup by hand, as a backup named `nightly`. */
async function byHand({connection}: Cluster, home: Workspace, args: readonly string[]): Promise<void> {
  mkdirSync(join(home.directory, 'backups'), {recursive: true});
  const {host, port, user} = connection;
  const where = ['-h', host, '-p', String(port), '-U', user, '-c', 'fast'];
  await run(postgresProgram('pg_basebackup'), ['-D', backupDirectory(home), ...where, ...args]);
}

describeWithPostgres('a backup that was made by hand restores with the same rows', () => {
  let source: Cluster;
  let rows: string;
  let archive: string;

  beforeAll(async () => {
    source = await createCluster({settings: ['archive_mode = on']});
    archive = join(source.root, 'tablespaces', 'archive');
    execFileSync('install', ['--directory', '--mode=777', archive]);
    await source.sql(`alter system set archive_command = 'cp %p ${archive}/%f'`);
    await source.sql('select pg_reload_conf()');
    await source.tablespace('elsewhere');
    await source.sql('create table here as select generate_series(1, 1000) as a');
    await source.sql('create table there tablespace elsewhere as select generate_series(1, 1000) as a');
    rows = await checksumOfAllRows(source.connection);
    return () => source.remove();
  });

  async function expectSameRows(
    home: Workspace,
    inputs: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const restored = await restoreAndKeepRunning(home, inputs);
    expect(restored.outputs.proof).toBe('recovered');
    expect(await checksumOfAllRows(await restoredConnection(restored))).toBe(rows);
    await stopRestored(restored);
  }

  const elsewhere = () =>
    source.sql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'elsewhere'");

  test('as pg_basebackup -X none, with the archive as wal-directory, and not without', async () => {
    const home = workspace();
    await byHand(source, home, ['-Ft', '-z', '-X', 'none']);
    expect(failure(await runAction(restoreInputs(), {workspace: home}))).toMatch(
      /pg_wal\/[0-9A-F]{24} is missing/,
    );
    const before = fingerprint(archive);
    await expectSameRows(home, {'wal-directory': archive});
    expect(fingerprint(archive)).toEqual(before);
  });

  test('as pg_basebackup -Fp --waldir, whose WAL lies elsewhere and is left alone', async () => {
    const home = workspace();
    const [wal, mapped] = [join(home.directory, 'wal'), join(home.directory, 'mapped')];
    await byHand(source, home, ['-Fp', `--waldir=${wal}`, '-T', `${await elsewhere()}=${mapped}`]);
    const before = [fingerprint(wal), fingerprint(mapped)];
    await expectSameRows(home);
    expect([fingerprint(wal), fingerprint(mapped)]).toEqual(before);
  });

  test('as pg_basebackup --manifest-checksums=NONE, and warns that names and sizes only were compared', async () => {
    const home = workspace();
    await byHand(source, home, ['-Ft', '--manifest-checksums=NONE']);
    const {warnings, summary} = succeeded(await runAction(restoreInputs(), {workspace: home}));
    expect(warnings).toEqual([expect.stringMatching(/^Names and sizes only/)]);
    expect(summary).toMatch(/➖ \| manifest-verified/);
  });

  test('but not a plain directory whose links lead to what is no tablespace and no WAL', async () => {
    const home = workspace();
    const mapped = join(home.directory, 'mapped');
    await byHand(source, home, ['-Fp', '-T', `${await elsewhere()}=${mapped}`]);
    const directory = backupDirectory(home);
    symlinkSync('/etc', join(directory, 'pg_tblspc', '99999'));
    expect(failure(await runAction(restoreInputs(), {workspace: home}))).toMatch(
      /pg_tblspc\/99999: it leads to \/etc/,
    );
    execFileSync('rm', [join(directory, 'pg_tblspc', '99999')]);
    execFileSync('rm', ['-r', join(directory, 'pg_wal')]);
    symlinkSync('/etc', join(directory, 'pg_wal'));
    expect(failure(await runAction(restoreInputs(), {workspace: home}))).toMatch(/pg_wal: it leads to \/etc/);
    expect(listAll(home.temp)).toEqual([]);
  });
});

describeWithPostgres('a backup of an unusual origin restores:', () => {
  test('pg_basebackup -D - -Ft, with the manifest and the WAL in the one archive', async () => {
    const source = await cluster();
    await source.sql('create table here as select generate_series(1, 1000) as a');
    const home = workspace();
    mkdirSync(backupDirectory(home), {recursive: true});
    const {host, port, user} = source.connection;
    const args = ['-D', '-', '-Ft', '-X', 'fetch', '-c', 'fast', '-h', host, '-p', String(port), '-U', user];
    const stdio = ['ignore', openSync(join(backupDirectory(home), 'base.tar'), 'w'), 'inherit'] as const;
    execFileSync(postgresProgram('pg_basebackup'), args, {stdio: [...stdio]});
    const restored = await restoreAndKeepRunning(home);
    expect(restored.outputs.proof).toBe('recovered');
    expect(await askRestored(restored, 'select count(*) from here')).toBe('1000');
    await stopRestored(restored);
  });

  test('of a standby that knows the password of its primary, which nobody gets to see', async () => {
    const password = 'the password of the primary';
    const primary = await cluster();
    await primary.sql('create table here as select generate_series(1, 1000) as a');
    const standby = await standbyOf(primary);
    await standby.sql(
      `alter system set primary_conninfo = 'host=${primary.socketDirectory} port=${primary.port} user=postgres password=''${password}'''`,
    );
    const home = workspace();
    await byHand(standby, home, ['-Ft']);
    const result = await restoreAndKeepRunning(home);
    expect(await askRestored(result, 'select pg_is_in_recovery(), count(*) from here')).toBe('f|1000');
    expect(await askRestored(result, "select current_setting('primary_conninfo')")).toBe('');
    expect(result.stdout + result.stderr + result.summary + JSON.stringify(result.outputs)).not.toContain(
      password,
    );
    expect(await primary.sql('select application_name from pg_stat_replication')).toBe('standby');
    await stopRestored(result);
  });

  test('on its second timeline', async () => {
    const primary = await cluster();
    await primary.sql('create table here as select generate_series(1, 1000) as a');
    const standby = await standbyOf(primary);
    await promote(standby);
    const home = workspace();
    await byHand(standby, home, ['-Ft']);
    const restored = await restoreAndKeepRunning(home);
    expect(restored.outputs).toMatchObject({proof: 'recovered', timeline: '3'});
    expect(await askRestored(restored, 'select count(*) from here')).toBe('1000');
    await stopRestored(restored);
  });

  test('whose primary was replaced while it ran, from one timeline into the next', async () => {
    const primary = await cluster();
    await primary.sql('create table here as select generate_series(1, 1000) as a');
    const next = await standbyOf(primary);
    // Whoever is held here is not to be given up, however slow the machine.
    const last = await standbyOf(next, ['wal_sender_timeout = 0']);
    const home = workspace();
    const {host, port, user} = last.connection;
    mkdirSync(join(home.directory, 'backups'));
    const where = ['-h', host, '-p', String(port), '-U', user, '-c', 'fast', '-r', '4M', '-Ft'];
    const slow = spawn(postgresProgram('pg_basebackup'), ['-D', backupDirectory(home), ...where]);
    const ended = once(slow, 'close');
    const messages = text(slow.stderr);
    onTestFinished(() => void slow.kill('SIGKILL'));
    await expect
      .poll(() => last.sql('select phase from pg_stat_progress_basebackup'), {timeout: 60_000})
      .toContain('streaming');
    slow.kill('SIGSTOP');
    await promote(next);
    await next.sql('insert into here select generate_series(1001, 2000)');
    await expect.poll(() => last.sql('select count(*) from here'), {timeout: 60_000}).toBe('2000');
    // A standby's backup ends where its last restart point was.
    await last.sql('checkpoint');
    slow.kill('SIGCONT');
    expect(await ended, await messages).toEqual([0, null]);
    const manifest = readFileSync(join(backupDirectory(home), 'backup_manifest'), 'utf8');
    expect(manifest.match(/"Timeline": \d/g)?.sort()).toEqual(['"Timeline": 1', '"Timeline": 2']);
    const verified = await runAction(
      {mode: 'verify', storage: 'directory', 'backup-name': 'nightly'},
      {workspace: home},
    );
    expect(succeeded(verified).outputs).toMatchObject({proof: 'manifest-verified', timeline: '2'});
    expect(verified.warnings).toEqual([]);
    const restored = await restoreAndKeepRunning(home);
    expect(restored.warnings).toEqual([]);
    expect(restored.outputs).toMatchObject({proof: 'recovered', timeline: '3'});
    expect(await askRestored(restored, 'select count(*) from here')).toBe('2000');
    await stopRestored(restored);
  });
});

async function promote(standby: Cluster): Promise<void> {
  await runAsServer('pg_ctl', ['promote', '--wait', `--pgdata=${standby.dataDirectory}`]);
  await standby.sql('checkpoint');
}
