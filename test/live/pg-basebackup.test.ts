import {mkdirSync, readdirSync, symlinkSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {backUp, backupDirectory, backupInputs, type Inputs, restore, writeScript} from '../support/steps.js';
import {listAll, type Workspace, workspace} from '../support/workspace.js';

describeWithPostgres('when pg_basebackup', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    return () => source.remove();
  });

  /** Backs up by a program that is the real one with some lines of shell ahead of and behind it. */
  async function backUpBy(
    home: Workspace,
    script: readonly string[],
    inputs?: Inputs,
  ): Promise<ActionResult> {
    const programs = join(home.root, 'programs');
    mkdirSync(programs);
    const real = postgresProgram('pg_basebackup');
    writeScript(join(programs, 'pg_basebackup'), [
      `[ "$1" = --version ] && exec ${real} --version`,
      ...script.map((line) => line.replaceAll('REAL', real)),
    ]);
    return runAction(backupInputs(source, inputs), {workspace: home, programs});
  }

  function expectNothingLeft(home: Workspace): void {
    expect(listAll(home.directory).filter((path) => path !== 'backups')).toEqual([]);
    expect(listAll(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
  }

  const target =
    'for arg; do case "$arg" in --pgdata=*) target=$(expr "$arg" : "--pgdata=\\(.*\\)");; esac; done';

  test('ends with status 0 but writes no backup_manifest, the step fails', async () => {
    const home = workspace();
    const result = await backUpBy(home, [target, 'REAL "$@" && rm "$target/backup_manifest"']);
    expect(failure(result)).toContain('backup_manifest');
    expectNothingLeft(home);
  });

  test('ends with status 0 but writes nothing at all, the step fails', async () => {
    const home = workspace();
    expect(failure(await backUpBy(home, ['exit 0']))).toContain('backup_manifest');
    expectNothingLeft(home);
  });

  test('ends with status 0 but an archive is empty, the step fails', async () => {
    const home = workspace();
    const result = await backUpBy(home, [target, 'REAL "$@" && : > "$target/base.tar"'], {compress: 'none'});
    expect(failure(result)).toContain('base.tar');
    expectNothingLeft(home);
  });

  test('warns, the step succeeds with an annotation', async () => {
    const home = workspace();
    const warning = 'echo "WARNING:  skipping special file \\"./conf.d\\"" >&2';
    const result = succeeded(await backUpBy(home, [warning, 'exec REAL "$@"'], {compress: 'gzip'}));
    expect(result.warnings.join('\n')).toContain('skipping special file "./conf.d"');
  });

  test('fails, the error shows its last line and its status', async () => {
    const home = workspace();
    const message = 'pg_basebackup: error: the dog ate it';
    const result = await backUpBy(home, ['echo "first line" >&2', `echo "${message}" >&2`, 'exit 3']);
    const error = failure(result);
    expect(error).toContain(message);
    expect(error).toContain('status 3');
    expectNothingLeft(home);
  });

  test('fails after it wrote most of the backup, none of it stays', async () => {
    const home = workspace();
    const result = await backUpBy(home, [
      'REAL "$@"',
      'echo "pg_basebackup: error: lost connection" >&2',
      'exit 1',
    ]);
    expect(failure(result)).toContain('lost connection');
    expectNothingLeft(home);
  });

  test('is killed, the error names the signal', async () => {
    const home = workspace();
    expect(failure(await backUpBy(home, ['kill -KILL $$']))).toContain('SIGKILL');
    expectNothingLeft(home);
  });

  test('writes messages with status 0, none of them is an error', async () => {
    const home = workspace();
    const said = 'echo "pg_basebackup: error: only said" >&2';
    succeeded(await backUpBy(home, [said, 'exec REAL "$@"'], {compress: 'gzip'}));
  });

  // The action looks for zstd inside of the program, where a script has none.
  test('was built without zstd, the archives are compressed with gzip on all cores, and restore', async () => {
    const home = workspace();
    const result = succeeded(await backUpBy(home, ['exec REAL "$@"'], {compress: 'auto'}));
    expect(result.stdout).toContain('pigz');
    expect(readdirSync(backupDirectory(home)).sort()).toEqual([
      'backup_manifest',
      'base.tar.gz',
      'pg_wal.tar.gz',
    ]);
    await restore(home);
  });

  test('really skips a special file, the step warns of it', async () => {
    const own = await cluster();
    symlinkSync('/etc/hostname', join(own.dataDirectory, 'conf.d'));
    const home = workspace();
    const result = await backUp(own, home);
    expect(result.warnings.join('\n')).toContain('conf.d');
  });

  test('really finds a damaged page, the step fails and keeps nothing', async () => {
    const own = await cluster({initdbArgs: ['--data-checksums']});
    await own.sql('create table t as select generate_series(1, 10000) x; checkpoint');
    const path = await own.sql("select pg_relation_filepath('t')");
    own.damage(path, 9000);
    const home = workspace();
    const error = failure(await runAction(backupInputs(own), {workspace: home}));
    expect(error).toMatch(/checksum/);
    expectNothingLeft(home);
  });
});
