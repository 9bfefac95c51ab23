import {cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeAll, expect, test} from 'vitest';
import {type Committed, type History, makeHistory} from '../support/archived-history.js';
import {describeWithPostgres} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {type Inputs, restoreInputs} from '../support/steps.js';
import {flipByte} from '../support/workspace.js';

describeWithPostgres('recovery that cannot come to its end', () => {
  let history: History;
  let committed: Committed;
  /** The segments that follow the backup, in their order. */
  let segments: readonly string[];

  beforeAll(async () => {
    history = await makeHistory();
    const isThere = new Set(readdirSync(history.archive));
    for (let segment = 0; segment < 4; segment += 1) {
      committed = await history.add();
      await history.archiveAll();
    }
    await history.source.sql("select pg_create_restore_point('far')");
    await history.archiveAll();
    segments = readdirSync(history.archive)
      .filter((name) => !isThere.has(name) && /^\w{24}$/.test(name))
      .sort();
    const backups = join(history.home.directory, 'backups');
    cpSync(join(backups, 'nightly'), join(backups, 'by-hand'), {recursive: true});
    cpSync(join(backups, 'nightly'), join(backups, 'without-manifest'), {recursive: true});
    rmSync(join(backups, 'without-manifest', 'backup_manifest'));
    return () => history.remove();
  });

  afterEach(() => {
    expect(readdirSync(history.home.temp)).toEqual([]);
    expect(processesOf(history.home.root)).toEqual([]);
  });

  const far = {'recovery-target-name': 'far'};
  const archived = (inputs: Inputs = {}) => ({'wal-directory': history.archive, ...inputs});

  /** The error of a restore that must have failed before anything of the backup was extracted. */
  async function refused(inputs: Inputs): Promise<string> {
    const result = await runAction(restoreInputs(inputs), {workspace: history.home});
    expect(result.stdout).not.toContain('Start postgres');
    expect(result.stdout).not.toContain('::group::Extract');
    return failure(result);
  }

  async function failed(inputs: Inputs): Promise<string> {
    const result = await runAction(restoreInputs(inputs), {workspace: history.home});
    expect(result.stdout).toContain('Start postgres');
    return failure(result);
  }

  const endLsn = () => metadata().endLsn as string;
  const metadata = () =>
    JSON.parse(readFileSync(join(history.home.directory, 'backups', 'nightly.json'), 'utf8')) as Record<
      string,
      unknown
    >;

  test.for(['nightly', 'by-hand'])('is refused for an LSN before the end of the backup %s', async (name) => {
    const inputs = archived({'backup-name': name, 'recovery-target-lsn': '0/100000'});
    const message = await refused(inputs);
    expect(message).toContain(`The earliest that this backup can be recovered to is LSN ${endLsn()}`);
    expect(await refused({...inputs, 'dry-run': 'true'})).toBe(message);
  });

  test.for(['nightly', 'latest', 'by-hand'])('is refused for a time before the backup %s', async (name) => {
    const inputs = archived({'backup-name': name, 'recovery-target-time': '2020-02-29 12:00:00+05:30'});
    const message = await refused(inputs);
    expect(message).toContain(
      'recovery-target-time 2020-02-29 12:00:00+05:30 lies before the end of the backup',
    );
    expect(message).toMatch(/The earliest .* is (after )?20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00/);
    expect(await refused({...inputs, 'dry-run': 'true'})).toBe(message);
  });

  test('warns of a time that may be before the end of the backup', async () => {
    const time = new Date(Date.parse(metadata().finishedAt as string) - 1);
    const inputs = archived({'recovery-target-time': time.toISOString(), 'dry-run': 'true'});
    const {warnings} = succeeded(await runAction(restoreInputs(inputs), {workspace: history.home}));
    expect(warnings.join()).toContain('Whether the backup can be recovered to it, PostgreSQL tells');
  });

  test('is refused for an LSN after the end of the backup without an archive', async () => {
    expect(await refused({'recovery-target-lsn': committed.lsn})).toContain(
      'Set wal-directory or restore-command',
    );
  });

  test('is refused for a timeline that the archive does not have', async () => {
    const message = await refused(archived({'recovery-target-timeline': '7'}));
    expect(message).toContain(`00000007.history is not in ${history.archive}. There: 1.`);
  });

  test('is refused for a timeline that branched off before the backup', async () => {
    const other = history.copyArchive('branched');
    writeFileSync(join(other, '00000002.history'), '1\t0/300000\tno recovery target specified\n');
    const message = await refused({'wal-directory': other});
    expect(message).toContain('branched off timeline 1 at 0/300000, before the end of the backup');
    expect(message).toContain('recovery-target-timeline: current');
  });

  test('is refused for a gap, and a file that was cut off, by the names of the segments', async () => {
    const gap = history.copyArchive('gap');
    rmSync(join(gap, segments[1] ?? ''));
    truncateSync(join(gap, segments[2] ?? ''), 1000);
    for (const inputs of [{}, {'recovery-target-lsn': committed.lsn}]) {
      const message = await refused({'wal-directory': gap, ...inputs});
      expect(message).toContain(`${segments[1]}, ${segments[2]}.`);
      expect(message).toContain(`${segments[2]} is there and has 1000 bytes instead of 1048576.`);
    }
  });

  test('tells the gap where it ends before its target', async () => {
    const gap = history.copyArchive('gap-before-point');
    rmSync(join(gap, segments[2] ?? ''));
    const result = await runAction(restoreInputs({...far, 'wal-directory': gap}), {workspace: history.home});
    expect(result.warnings.join()).toContain(
      `${segments[2]}.\nRecovery succeeds only if the target lies before`,
    );
    const message = failure(result);
    expect(message).toContain('reached: the restore point "far"');
    expect(message).toMatch(/The last record that it replayed starts at 0\/\w+, the last commit was at 20/);
    expect(message).toContain(`The WAL that it asked for last is ${segments[2]}, which did not come`);
    expect(message).toContain(`Add the WAL from ${segments[2]} on to ${gap}`);
  });

  test('is refused for the WAL of another cluster', async () => {
    const other = history.copyArchive('other');
    flipByte(join(other, segments[0] ?? ''), 24);
    expect(await refused({'wal-directory': other})).toContain(
      `holds the WAL of another cluster: ${segments[0]}`,
    );
  });

  test('is refused for a directory without any WAL', async () => {
    mkdirSync(join(history.home.directory, 'empty'));
    const message = await refused({'wal-directory': 'empty', 'recovery-target-lsn': committed.lsn});
    expect(message).toContain('holds no WAL segment');
  });

  test('names an archived file that cannot be decompressed', async () => {
    const damaged = history.copyArchive('damaged');
    rmSync(join(damaged, segments[1] ?? ''));
    writeFileSync(join(damaged, `${segments[1]}.gz`), 'not gzip');
    const message = await failed({...far, 'wal-directory': damaged});
    expect(message).toContain(`could not restore file "${segments[1]}"`);
    expect(message).toContain(`${segments[1]}.gz cannot be decompressed by gzip`);
  });

  test('names the last segment when one before it is damaged, and nothing was to be reached', async () => {
    const damaged = history.copyArchive('zeroed');
    writeFileSync(join(damaged, segments[1] ?? ''), Buffer.alloc(2 ** 20));
    const message = await failed({'wal-directory': damaged});
    expect(message).toContain(`wal-directory goes on to ${segments.at(-1)}`);
    expect(message).toMatch(new RegExp(`invalid magic number 0000 in (log|WAL) segment ${segments[1]}`));
  });

  test('with a damaged last segment and a time behind it, says to copy that again', async () => {
    const damaged = history.copyArchive('damaged-last');
    const last = segments.at(-1) ?? '';
    writeFileSync(join(damaged, last), Buffer.alloc(2 ** 20));
    const time = new Date(Date.now() + 86_400_000).toISOString();
    const message = await failed({'wal-directory': damaged, 'recovery-target-time': time});
    expect(message).toContain(
      `The WAL that it asked for last is ${last}, in which the WAL breaks off: invalid`,
    );
    expect(message).toContain('it is damaged: copy it again');
    expect(message).toContain('a time is reached only when the WAL has a later commit');
  });

  test('names it also where no manifest tells where the backup ends', async () => {
    const inputs = {'backup-name': 'without-manifest', checks: 'dump'};
    const damaged = history.copyArchive('zeroed-without-manifest');
    writeFileSync(join(damaged, segments[1] ?? ''), Buffer.alloc(2 ** 20));
    const message = await failed({...inputs, 'wal-directory': damaged});
    expect(message).toContain(`wal-directory goes on to ${segments.at(-1)}`);
    rmSync(join(damaged, segments[1] ?? ''));
    const result = await runAction(restoreInputs({...inputs, 'wal-directory': damaged}), {
      workspace: history.home,
    });
    expect(result.stdout).not.toContain('Start postgres');
    expect(failure(result)).toMatch(
      new RegExp(`lacks WAL between the end of the WAL in the backup .*: ${segments[1]}\\.`),
    );
  });

  test('before it is consistent, is told so', async () => {
    const message = await failed(archived({'recovery-target-xid': history.duringBackup}));
    expect(message).toContain('FATAL: requested recovery stop point is before consistent recovery point');
    expect(message).toContain('recovery-target: immediate');
  });

  test('with a second target in postgresql-conf, is told so', async () => {
    const message = await failed(archived({...far, 'postgresql-conf': "recovery_target_xid = '800'"}));
    expect(message).toContain('FATAL: multiple recovery targets specified');
    expect(message).toContain('remove it there');
  });

  test('with its target taken away by postgresql-conf, does not pass', async () => {
    const message = await failed(archived({...far, 'postgresql-conf': "recovery_target_name = ''"}));
    expect(message).toContain('was to stop at the restore point "far"');
    expect(message).toContain('set out for no target');
  });

  test.for([
    ['says that it has nothing', 'exit 1', ['which did not come', 'Have restore-command bring']],
    ['is not there', '/no/such/program %f %p', ['command not found', 'Install it there']],
    ['fails', 'exit 150', ['child process exited with exit code 150', 'restore-command failed for']],
    ['is killed', 'kill -KILL $$', ['was terminated by signal 9', 'restore-command failed for']],
  ] as const)('names the file and the cure when restore-command %s', async ([, command, tells]) => {
    const message = await failed({...far, 'restore-command': command});
    for (const text of tells) expect(message).toContain(text);
  });

  test.for([
    ['at once', 'sleep 1000'],
    ['in a pipeline that ignores signals', "trap '' QUIT TERM; sleep 1000 | cat; true"],
    ['after the backup is consistent', `test %f \\< WAIT || sleep 1000; exit 1`],
  ] as const)('ends with start-timeout when restore-command hangs %s', async ([, command]) => {
    const text = command.replace('WAIT', segments[0] ?? '');
    const message = await failed({...far, 'restore-command': text, 'start-timeout': '15'});
    expect(message).toContain('The file that it asked restore-command for last is 0000');
    expect(message).toContain('timeout 60');
  });
});
