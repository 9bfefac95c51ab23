import {chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {
  backUp,
  backupDirectory,
  dataDirectory,
  type Inputs,
  restoreInputs,
  writeScript,
} from '../support/steps.js';
import {copyOf, listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

describeWithPostgres('before a restore', () => {
  const sound = makeWorkspace();
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await backUp(source, sound);
    return async () => {
      await source.remove();
      await sound.remove();
    };
  });

  /** Changes the metadata as those of another source would be. */
  function tell(home: Workspace, change: object): void {
    const path = `${backupDirectory(home)}.json`;
    const metadata = JSON.parse(readFileSync(path, 'utf8')) as object;
    writeFileSync(path, JSON.stringify({...metadata, ...change}));
  }

  /** A directory of PostgreSQL's programs as a package without some of them brings it. */
  function programsBut(...missing: readonly string[]): string {
    const directory = join(workspace().root, 'programs');
    mkdirSync(directory);
    chmodSync(directory, 0o755);
    const all = ['postgres', 'pg_ctl', 'pg_controldata', 'pg_verifybackup', 'pg_waldump', 'psql'];
    for (const name of [...all, 'pg_dump', 'pg_checksums', 'pg_amcheck', 'pg_config'])
      if (!missing.includes(name))
        writeScript(join(directory, name), [`exec '${postgresProgram(name)}' "$@"`]);
    return directory;
  }

  const dryRun = (inputs: Inputs = {}) => restoreInputs({'dry-run': 'true', ...inputs});

  test('nothing is found where nothing stands in the way, and a dry run writes nothing', async () => {
    const inputs = dryRun({checks: 'dump\namcheck', 'keep-running': 'true', 'listen-port': '1'});
    const result = succeeded(await runAction(inputs, {workspace: copyOf(sound)}));
    expect(result.stdout).toContain('Preflight: 0 errors, 0 warnings, 0 notes');
    expect(listAll(result.workspace.temp)).toEqual([]);
  });

  describe.each(['true', 'false'])('with dry-run: %s', (isDry) => {
    test('all that stands in the way is told at once, and nothing is fetched', async () => {
      const home = copyOf(sound);
      mkdirSync(join(dataDirectory(home), 'precious'), {recursive: true});
      const huge = {max_connections: '200000', max_locks_per_transaction: '10000'};
      tell(home, {
        requiredSettings: huge,
        serverVersionNumber: 130016,
        selfContained: false,
        dataSizeBytes: 9e15,
      });
      const inputs = dryRun({
        'dry-run': isDry,
        checks: 'amcheck\nchecksums',
        'keep-running': 'true',
        'listen-port': String(source.port),
        'max-backup-age': '0s',
        'pg-version': '15',
      });
      const result = await runAction(inputs, {workspace: home});
      const message = failure(result);
      expect(message).toContain('8 things stand in the way of the restore');
      expect(message).toContain(`Target: ${dataDirectory(home)} exists already and is not empty`);
      expect(message).toMatch(/Port: listen-port \d+ is taken on the runner/);
      expect(message).toMatch(new RegExp(`one that is free, such as (?!${source.port})\\d+`));
      expect(message).toMatch(/Age: .*\d/);
      expect(message).toContain('WAL: The backup was taken with wal-method: none');
      expect(message).toContain('Disk: The unpacked backup needs 9000000000 MB');
      expect(message).toContain('Programs: pg-version is 15, and the backup is of PostgreSQL 13');
      expect(message).toContain('Check amcheck: checks: amcheck needs PostgreSQL 14 or newer');
      expect(message).toMatch(/Memory: .*max_connections = 200000/);
      expect(result.warnings.join()).toContain('Check checksums: checks: checksums checks nothing');
      for (const subject of ['Target', 'Port', 'Age', 'WAL', 'Disk', 'Programs', 'Check amcheck', 'Memory'])
        expect(result.summary).toContain(`| ❌ | ${subject} |`);
      expect(result.summary).toContain('| ⚠️ | Check checksums |');
      expect(result.summary).toContain('| ⚪ Not examined | nothing |');
      expect(result.stdout).not.toContain('Extract');
      expect(listAll(home.temp)).toEqual(['pgdata', 'pgdata/precious']);
      expect(processesOf(home.root)).toEqual([]);
    });
  });

  test('a program that a check needs is missed, with the metadata before anything is fetched', async () => {
    const options = {
      workspace: copyOf(sound),
      programs: programsBut('pg_amcheck', 'pg_checksums', 'pg_dump'),
    };
    const checks = 'amcheck\nchecksums\ndump';
    const result = await runAction(dryRun({checks}), options);
    for (const name of ['pg_amcheck', 'pg_checksums', 'pg_dump'])
      expect(failure(result)).toContain(`the runner has no ${name} in ${options.programs}`);
    expect(failure(result)).toMatch(/postgresql-client-\d+/);
  });

  test('without metadata, as soon as the files tell the version; nothing is started', async () => {
    const home = copyOf(sound);
    rmSync(`${backupDirectory(home)}.json`);
    const options = {workspace: home, programs: programsBut('pg_amcheck')};
    const result = await runAction(restoreInputs({checks: 'amcheck\nchecksums'}), options);
    expect(failure(result)).toContain(`the runner has no pg_amcheck in ${options.programs}`);
    expect(result.stdout).toContain('::group::Extract');
    expect(result.stdout).toMatch(/note +Role +nothing tells the superuser/);
    expect(result.stdout).not.toContain('Check manifest');
    expect(result.stdout).not.toContain('Start postgres');
    expect(result.summary).toContain('| ❌ | Check amcheck |');
    expect(listAll(home.temp)).toEqual([]);
  });

  test('checksums that the source lacks are told of once: by metadata before, else by pg_control', async () => {
    const home = copyOf(sound);
    const told = succeeded(await runAction(restoreInputs({checks: 'checksums'}), {workspace: home}));
    expect(told.warnings).toEqual([expect.stringContaining('checks: checksums checks nothing')]);
    expect(told.stdout.indexOf('checksums checks nothing')).toBeLessThan(
      told.stdout.indexOf('::group::Extract'),
    );
    rmSync(dataDirectory(home), {recursive: true});
    rmSync(`${dataDirectory(home)}_config`, {recursive: true});
    rmSync(`${backupDirectory(home)}.json`);
    const byHand = succeeded(await runAction(restoreInputs({checks: 'checksums'}), {workspace: home}));
    expect(byHand.warnings).toEqual([expect.stringContaining('checks: checksums checks nothing')]);
    expect(byHand.stdout.indexOf('checksums checks nothing')).toBeLessThan(
      byHand.stdout.indexOf('Start postgres'),
    );
  });

  test('a failure after it tells how far the proof had come, and which checks had passed', async () => {
    const result = await runAction(
      restoreInputs({checks: 'manifest\ndump', 'check-sql': 'select false', isolate: 'false'}),
      {workspace: copyOf(sound)},
    );
    expect(failure(result)).toContain('check-sql failed');
    for (const level of ['transferred', 'manifest-verified', 'started', 'consistent', 'recovered', 'read'])
      expect(result.summary).toContain(`| ✅ | ${level} |`);
    expect(result.summary).toContain('| ➖ | checked |');
    expect(result.summary).toMatch(/^### ❌ Backup `\S+` is not proven: its restore failed$/m);
    expect(result.summary).toMatch(
      /^\| 🔴 Not proven as asked \| read \(rung 6 of 7\) \| \d+ (s|min) \| .*\/backups/m,
    );
    expect(result.summary).toMatch(/\| manifest \| every file .* \| [\d.]+ \|/);
    expect(result.summary).toMatch(/\| dump \| every row .* \| [\d.]+ \|/);
    expect(result.summary).not.toContain('| check-sql |');
    expect(result.summary).toContain('| ⚠️ | Isolation |');
    expect(result.summary).toContain('check-sql failed');
  });

  test('a failure that nothing was proven ahead of claims nothing', async () => {
    const result = await runAction(restoreInputs({'backup-name': 'none'}), {workspace: copyOf(sound)});
    expect(failure(result)).toContain('There is no backup');
    expect(result.summary).not.toContain('✅');
    expect(result.summary).toContain('### ❌ The restore failed');
  });

  test('an input that is misspelt is told with the one that was meant', async () => {
    const result = await runAction(dryRun({max_backup_age: '8d', node: '24'}), {workspace: copyOf(sound)});
    expect(succeeded(result).warnings).toEqual([
      'max_backup_age is no input of this action, and is ignored. Did you mean max-backup-age?',
    ]);
  });
});
