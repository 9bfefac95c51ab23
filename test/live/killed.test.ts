import {existsSync, mkdirSync, renameSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {waitUntil} from '../support/command.js';
import {isRunning, isServer, processesOf} from '../support/processes.js';
import {endJob, failure, type RunningAction, runAction, startAction, succeeded} from '../support/runner.js';
import {backUp, backupInputs, dataDirectory, restore, restoreInputs} from '../support/steps.js';
import {listAll, type Workspace, workspace} from '../support/workspace.js';

const tidied = /^Tidied up after run 4242, attempt 1, which was killed: .*$/gm;

// What a run leaves that is killed as no cancellation kills it: by the kernel for lack of memory, or by hand.
describeWithPostgres('killed by SIGKILL', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster({password: 'right'});
    await source.sql(`
      create table noise as
      select string_agg(md5(random()::text), '') from generate_series(1, 400000) n group by n % 40000`);
    await source.tablespace('aside');
    await source.sql('create table there (id int) tablespace aside');
    return () => source.remove();
  });

  const inputs = (more = {}) => backupInputs(source, {password: 'right', ...more});
  const startSlow = (home: Workspace, more = {}) =>
    startAction(inputs({'max-rate': '1M', compress: 'none', ...more}), {workspace: home});
  const partial = (home: Workspace, name = 'nightly') => join(home.directory, 'backups', `${name}.partial`);

  /** Kills it, once it copies files, in the state that the next run finds. */
  async function killAsItCopies(action: RunningAction, name = 'nightly'): Promise<void> {
    const directory = partial(action.workspace, name);
    await action.until(() => listAll(directory).length > 0, 'files are copied');
    await kill(action);
    expect(existsSync(directory)).toBe(true);
  }

  async function kill(action: RunningAction): Promise<void> {
    action.child.kill('SIGKILL');
    await waitUntil(() => !isRunning(action.pid), {seconds: 10, what: 'the action to end'});
  }

  async function expectNothingLeft(home: Workspace): Promise<void> {
    expect(listAll(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
    const left = `select 'slot' from pg_replication_slots union all
                  select 'sender' from pg_stat_activity where backend_type = 'walsender'`;
    await expect.poll(() => source.sql(left), {timeout: 30_000}).toBe('');
  }

  describe.each(['tar', 'plain'])('a backup of %s format', (format) => {
    test('is tidied up after by the next one, which says so in one line', async () => {
      const home = workspace();
      await killAsItCopies(startSlow(home, {format}));
      expect(listAll(home.temp).some((path) => path.endsWith('/pgpass'))).toBe(true);
      // Without a limit to its rate, which might hide that the first still writes.
      const next = succeeded(await runAction(inputs({format}), {workspace: home}));
      const [line, ...more] = next.stdout.match(tidied) ?? [];
      expect(more).toEqual([]);
      expect(line).toContain(partial(home));
      await expectNothingLeft(home);
      const tablespaces = format === 'plain' ? ['nightly_tablespaces'] : [];
      expect(listAll(join(home.directory, 'backups')).filter((path) => !path.includes('/'))).toEqual([
        'nightly',
        'nightly.json',
        ...tablespaces,
      ]);
      await restore(home);
    });
  });

  test('a backup is tidied up after also where its temporary folder was emptied', async () => {
    const home = workspace();
    await killAsItCopies(startSlow(home));
    // GitHub's runner does so between jobs.
    const emptied: Workspace = {...home, temp: join(home.root, 'another')};
    mkdirSync(emptied.temp, {mode: 0o755});
    const next = succeeded(await runAction(inputs({'backup-name': 'later'}), {workspace: emptied}));
    expect(next.stdout.match(tidied)?.join()).toContain(partial(home));
    expect(listAll(join(home.directory, 'backups')).filter((path) => path.startsWith('nightly'))).toEqual([]);
  });

  test('nothing of a run that goes on is touched by another one, nor what it does not own', async () => {
    const home = workspace();
    const live = startSlow(home, {'backup-name': 'live', 'max-rate': '2M'});
    await live.until(() => listAll(partial(home, 'live')).length > 0, 'the other one copies');
    await killAsItCopies(startSlow(home));
    const users = join(home.directory, 'backups', 'by-hand.partial');
    mkdirSync(users);
    writeFileSync(join(users, 'notes'), 'mine');
    // Whoever has looked at the half backup and put something else into its place.
    renameSync(partial(home), `${partial(home)}.seen`);
    mkdirSync(partial(home));
    writeFileSync(join(partial(home), 'notes'), 'mine');
    const next = succeeded(await runAction(inputs({'backup-name': 'later'}), {workspace: home}));
    expect(next.stdout.match(tidied)?.join()).not.toContain('live');
    expect(existsSync(join(users, 'notes'))).toBe(true);
    expect(existsSync(join(partial(home), 'notes'))).toBe(true);
    expect(existsSync(`${partial(home)}.seen`)).toBe(true);
    succeeded(await live.result);
    await restore(home, {'backup-name': 'live'});
    await expectRefused(home);
  });

  /** A backup of the name whose place the user took. */
  async function expectRefused(home: Workspace): Promise<void> {
    expect(failure(await runAction(inputs(), {workspace: home}))).toContain(
      `${partial(home)} exists: another backup of this name is being taken, or one was killed`,
    );
  }

  test('a second backup of the same name is refused while the first goes on', async () => {
    const home = workspace();
    const first = startSlow(home, {'max-rate': '3M'});
    await first.until(() => existsSync(`${partial(home)}.owner`), 'the first has begun');
    const second = await runAction(inputs(), {workspace: home});
    expect(failure(second)).toMatch(
      /nightly\.partial (is being made by another run|exists: another backup of this name)/,
    );
    succeeded(await first.result);
    await restore(home);
  });

  test('a restore is tidied up after, with the server that it had started', async () => {
    const home = workspace();
    await backUp(source, home, {password: 'right'});
    // What else is asked is a SELECT.
    const action = startAction(restoreInputs({'check-sql': 'explain analyze select pg_sleep(600)'}), {
      workspace: home,
    });
    const isAsleep = () => processesOf(home.root).some(({args}) => args.join(' ').includes('EXPLAIN'));
    await action.until(isAsleep, 'the check runs');
    await kill(action);
    const orphans = processesOf(home.root).filter(({args}) => isServer(args));
    expect(orphans).not.toEqual([]);
    const next = await restore(home);
    expect(next.stdout.match(tidied)?.join()).toMatch(/ended .*postgres .*removed .*pgdata/);
    expect(orphans.filter(({pid}) => isRunning(pid))).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
    expect(listAll(home.temp).filter((path) => !path.includes('/'))).toEqual([
      'pgdata',
      'pgdata_config',
      'pgdata_tablespaces',
    ]);
  });

  test('a step is tidied up after by its own end of the job', async () => {
    const home = workspace();
    await backUp(source, home, {password: 'right'});
    const action = startAction(restoreInputs({'check-sql': 'select pg_sleep(600) is not null'}), {
      workspace: home,
    });
    await action.until(() => existsSync(`${dataDirectory(home)}/postmaster.pid`), 'the server runs');
    await kill(action);
    const end = succeeded(await endJob(await action.result));
    expect(end.stdout.match(tidied)).toHaveLength(1);
    await expectNothingLeft(home);
  });

  test('a data directory that the user had made is left to the user', async () => {
    const home = workspace();
    await backUp(source, home, {password: 'right'});
    const own = join(home.root, 'own');
    mkdirSync(own);
    const asked = restoreInputs({'data-directory': own, 'check-sql': 'select pg_sleep(600) is not null'});
    const action = startAction(asked, {workspace: home});
    await action.until(() => existsSync(join(own, 'base')), 'files are unpacked');
    await kill(action);
    expect(failure(await runAction(asked, {workspace: home}))).toContain(`${own} exists already`);
    expect(existsSync(join(own, 'base'))).toBe(true);
    expect(existsSync(`${own}_config`)).toBe(false);
    expect(processesOf(home.root)).toEqual([]);
  });
});

describeWithPostgres('pg_basebackup killed by SIGKILL', () => {
  test('fails the step, which says what kills programs, and nothing is left', async () => {
    const source = await createCluster();
    const home = workspace();
    try {
      await source.sql(
        "create table noise as select string_agg(md5(random()::text), '') from generate_series(1, 200000)",
      );
      const asked = backupInputs(source, {'max-rate': '1M', compress: 'none'});
      const action = startAction(asked, {workspace: home});
      const programs = () =>
        processesOf(home.root).filter(({args}) => args[0]?.endsWith('/pg_basebackup') && args.length > 2);
      // The receiver of the WAL is its child, and a copy of it.
      await action.until(() => programs().length === 2, 'both of its connections are there');
      const first = programs().find(({parent}) => parent === action.pid);
      if (first) process.kill(first.pid, 'SIGKILL');
      const message = failure(await action.result);
      expect(message).toMatch(/pg_basebackup was ended by SIGKILL/);
      expect(message).toMatch(/memory/);
      expect(listAll(home.directory)).toEqual(['backups']);
      expect(listAll(home.temp)).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
      const left =
        'select slot_name from pg_replication_slots union all select pid::text from pg_stat_replication';
      await expect.poll(() => source.sql(left), {timeout: 30_000}).toBe('');
    } finally {
      await source.remove();
    }
  });
});
