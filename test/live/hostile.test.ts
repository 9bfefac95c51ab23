import {execFileSync, spawn} from 'node:child_process';
import {existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, onTestFinished, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction} from '../support/runner.js';
import {backUp, backupDirectory, dataDirectory, restoreInputs} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

const tar = (...args: readonly string[]) => execFileSync('tar', args, {stdio: 'pipe'});

/** Adds a file that `make` puts into an empty directory to the archive of the data directory. */
function addToBase(home: Workspace, make: (directory: string) => string): void {
  const directory = join(home.root, 'added');
  mkdirSync(directory);
  const name = make(directory);
  tar('--append', `--file=${join(backupDirectory(home), 'base.tar')}`, `--directory=${directory}`, name);
  rmSync(join(home.directory, 'backups', 'nightly.json'));
}

describeWithPostgres('a hostile backup', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    return () => source.remove();
  });

  async function backUpPlainly(): Promise<Workspace> {
    const home = workspace();
    await backUp(source, home, {compress: 'none'});
    return home;
  }

  async function refusal(home: Workspace): Promise<string> {
    const message = failure(await runAction(restoreInputs({checks: 'dump'}), {workspace: home}));
    expect(existsSync(dataDirectory(home))).toBe(false);
    expect(processesOf(home.root)).toEqual([]);
    return message;
  }

  test.each(['pg_wal', 'backup_manifest'])(
    'whose %s is a link writes nothing outside of its target',
    async (name) => {
      const home = await backUpPlainly();
      const outside = join(home.root, 'outside');
      mkdirSync(outside, {mode: 0o777});
      const target = name === 'pg_wal' ? outside : join(outside, 'file');
      if (name !== 'pg_wal') writeFileSync(target, 'mine');
      addToBase(home, (directory) => {
        symlinkSync(target, join(directory, name));
        return name;
      });
      expect(await refusal(home)).toMatch(new RegExp(`${name}|link|Cannot`));
      expect(readdirSync(outside)).toEqual(name === 'pg_wal' ? [] : ['file']);
      if (name !== 'pg_wal') expect(readFileSync(target, 'utf8')).toBe('mine');
    },
  );

  test('that holds a postmaster.pid is refused, and the process that it names goes on', async () => {
    const home = await backUpPlainly();
    const bystander = spawn('sleep', ['60'], {stdio: 'ignore'});
    onTestFinished(() => void bystander.kill());
    addToBase(home, (directory) => {
      writeFileSync(join(directory, 'postmaster.pid'), `${bystander.pid}\n${dataDirectory(home)}\n`);
      return 'postmaster.pid';
    });
    expect(await refusal(home)).toContain('postmaster.pid');
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  });

  test('that holds a device is refused by its name', async () => {
    const home = await backUpPlainly();
    addToBase(home, (directory) => {
      execFileSync('mkfifo', [join(directory, 'pipe')]);
      return 'pipe';
    });
    expect(await refusal(home)).toContain('pipe');
  });

  test('whose WAL creates a tablespace at a path that exists here is refused', async () => {
    const home = workspace();
    const name = 'made_meanwhile';
    // The slow backup is still at work when the tablespace is made, so that the WAL of the backup tells of it.
    const slow = backUp(source, home, {compress: 'none', 'max-rate': '4M'});
    await expect
      .poll(() => source.sql('select phase from pg_stat_progress_basebackup'), {timeout: 20_000})
      .toContain('streaming');
    const path = await source.tablespace(name);
    await slow;
    const message = await refusal(home);
    expect(message).toContain(path);
    expect(message).toContain('tablespace');
    await source.sql(`drop tablespace ${name}`);
  });

  test('cannot speak to the runner through the names of its files', async () => {
    const home = await backUpPlainly();
    addToBase(home, (directory) => {
      mkdirSync(join(directory, '::set-output name=proof::checked'));
      execFileSync('mkfifo', [join(directory, '::set-output name=proof::checked', 'x')]);
      return '::set-output name=proof::checked';
    });
    const result = await runAction(restoreInputs(), {workspace: home});
    expect(result.stdout).not.toMatch(/^\s*::set-output/m);
    expect(result.status).toBe(1);
  });
});

describeWithPostgres('archived WAL', () => {
  test('that cannot be read is refused before anything is extracted', async () => {
    const source = await createCluster();
    onTestFinished(() => source.remove());
    const home = workspace();
    await backUp(source, home);
    const message = failure(await runAction(restoreInputs({'wal-directory': 'nowhere'}), {workspace: home}));
    expect(message).toContain(join(home.directory, 'nowhere'));
    expect(readdirSync(home.temp)).toEqual([]);
  });

  test('brings the copy to a named restore point, and its data with it', async () => {
    const home = workspace();
    const archive = join(home.root, 'archive');
    mkdirSync(archive);
    execFileSync('chmod', ['777', archive]);
    const source = await createCluster({
      settings: ['archive_mode = on', `archive_command = 'cp %p ${archive}/%f'`],
    });
    onTestFinished(() => source.remove());
    await source.sql('create table events as select 1 as n');
    await backUp(source, home);
    await source.sql('insert into events values (2)');
    await source.sql("select pg_create_restore_point('before_the_mistake')");
    await source.sql('drop table events');
    await source.sql('select pg_switch_wal()');
    await expect
      .poll(() => source.sql('select archived_count > 2 from pg_stat_archiver'), {timeout: 20_000})
      .toBe('t');
    const before = readdirSync(archive);
    const result = await runAction(
      restoreInputs({
        'wal-directory': archive,
        'recovery-target-name': 'before_the_mistake',
        'check-sql': 'select sum(n) = 3 from events',
      }),
      {workspace: home},
    );
    expect(result.errors).toEqual([]);
    expect(result.outputs).toMatchObject({proof: 'recovered', timeline: '2'});
    expect(readdirSync(archive)).toEqual(before);
  });
});
