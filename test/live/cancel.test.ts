import {existsSync} from 'node:fs';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {run, waitUntil} from '../support/command.js';
import {isServer, processesOf} from '../support/processes.js';
import {type ActionResult, type RunningAction, startAction} from '../support/runner.js';
import {backUp, backupInputs, dataDirectory, restoreInputs} from '../support/steps.js';
import {listAll, workspace} from '../support/workspace.js';

// GitHub kills what is left 10 seconds after SIGINT; the contract is 7.
const secondsToClean = 7;

describeWithPostgres('cancelled', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    // Incompressible, so that there is something to transfer and to unpack.
    await source.sql(`
      create table noise as
      select string_agg(md5(random()::text), '') from generate_series(1, 400000) n group by n % 40000`);
    return () => source.remove();
  });

  const slotsAndSenders = () =>
    source.sql(`
      select 'slot ' || slot_name from pg_replication_slots
      union all select 'sender ' || pid from pg_stat_activity where backend_type = 'walsender'`);

  /** Signals the action's process alone, as GitHub does, and waits for all that must be gone. */
  async function cancel(
    action: RunningAction,
    signal: NodeJS.Signals,
    onServer: () => Promise<string> = slotsAndSenders,
  ): Promise<ActionResult> {
    action.child.kill(signal);
    const left = async () => [
      ...processesOf(action.workspace.root).map(({args}) => args.join(' ')),
      ...(await onServer()).split('\n').filter((line) => line !== ''),
    ];
    let seen: readonly string[] = [];
    await waitUntil(
      async () => {
        seen = await left();
        return seen.length === 0;
      },
      {
        seconds: secondsToClean,
        what: `everything to end after ${signal}`,
        detail: () => `${seen.join('\n')}\n${action.log()}`,
      },
    );
    const result = await action.result;
    expect(result.status).not.toBe(0);
    expect(result.errors.join('\n')).toMatch(new RegExp(`cancel|${signal}`, 'i'));
    return result;
  }

  describe.each(['SIGINT', 'SIGTERM'] as const)('by %s', (signal) => {
    test.each(['tar', 'plain'])(
      'during a %s backup leaves no process, no slot and no partial directory',
      async (format) => {
        const home = workspace();
        const action = startAction(backupInputs(source, {format, 'max-rate': '1M', compress: 'none'}), {
          workspace: home,
        });
        const isCopying =
          "select count(*) > 0 from pg_stat_progress_basebackup where phase like 'streaming%'";
        await action.until(async () => (await source.sql(isCopying)) === 't', 'files are copied');
        expect(await slotsAndSenders()).toMatch(/slot/);
        await cancel(action, signal);
        expect(listAll(home.directory).filter((path) => path !== 'backups')).toEqual([]);
        expect(listAll(home.temp)).toEqual([]);
      },
    );

    test('while files are unpacked leaves no process and no data directory', async () => {
      const home = workspace();
      await backUp(source, home, {compress: 'client-gzip'});
      const action = startAction(restoreInputs(), {workspace: home});
      await action.until(() => existsSync(`${dataDirectory(home)}/base`), 'the first files are unpacked');
      await cancel(action, signal);
      expect(listAll(home.temp)).toEqual([]);
    });

    test('while the restored server is checked leaves no server and no data directory', async () => {
      const home = workspace();
      await backUp(source, home);
      // What else is asked is a SELECT.
      const action = startAction(restoreInputs({'check-sql': 'explain analyze select pg_sleep(60)'}), {
        workspace: home,
      });
      const isAsleep = () => processesOf(home.root).some(({args}) => args.join(' ').includes('EXPLAIN'));
      await action.until(isAsleep, 'the check runs');
      expect(processesOf(home.root).some(({args}) => isServer(args))).toBe(true);
      const {summary} = await cancel(action, signal);
      expect(summary).toContain(`Cancelled by ${signal}.`);
      expect(summary).toMatch(/Until then it had come so far[\s\S]*✅[^\n]*recovered/);
      expect(listAll(home.temp)).toEqual([]);
    });
  });

  test('while it waits for a spread checkpoint leaves no process and no partial directory', async () => {
    await source.sql(
      "alter system set checkpoint_timeout = '1h'; alter system set checkpoint_completion_target = 0.9",
    );
    await source.sql('select pg_reload_conf()');
    // Many dirty buffers make the checkpoint take its time.
    await run(postgresProgram('pgbench'), ['-i', '-q', '-s', '2'], {
      env: {
        PGHOST: source.socketDirectory,
        PGPORT: `${source.port}`,
        PGUSER: source.superuser,
        PGDATABASE: 'postgres',
      },
    });
    const home = workspace();
    const action = startAction(backupInputs(source, {checkpoint: 'spread'}), {workspace: home});
    const isWaiting =
      "select count(*) > 0 from pg_stat_progress_basebackup where phase = 'waiting for checkpoint to finish'";
    await action.until(async () => (await source.sql(isWaiting)) === 't', 'the checkpoint is waited for');
    // The sender itself stays until its checkpoint is done: PostgreSQL does not look for a lost client meanwhile.
    await cancel(action, 'SIGINT', () => source.sql('select slot_name from pg_replication_slots'));
    expect(listAll(home.directory).filter((path) => path !== 'backups')).toEqual([]);
    await source.sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'",
    );
  });
});
