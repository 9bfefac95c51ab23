import {beforeAll, expect, test} from 'vitest';
import {
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  runAsServer,
  standbyOf,
} from '../support/cluster.js';
import {expectNoFiles, expectNothingLeft} from '../support/leftovers.js';
import {processesOf} from '../support/processes.js';
import {failure, type RunningAction, runAction, startAction, succeeded} from '../support/runner.js';
import {backupInputs, restore} from '../support/steps.js';
import {tcpProxy} from '../support/tcp-proxy.js';
import {workspace} from '../support/workspace.js';

const noise = `create table noise as
  select string_agg(md5(random()::text), '') from generate_series(1, 400000) n group by n % 40000`;
const isCopying = "select count(*) > 0 from pg_stat_progress_basebackup where phase like 'streaming%'";

/** Slow enough that something can happen to it, at the first try. */
const slow = {'max-rate': '3M', compress: 'none'};

async function untilCopying(action: RunningAction, source: Cluster): Promise<void> {
  await action.until(async () => (await source.sql(isCopying)) === 't', 'files are copied');
}

describeWithPostgres('a backup that is hit by a fault', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await source.sql(noise);
    return () => source.remove();
  });

  test('tries once more when its connection is cut, and restores', async () => {
    const home = workspace();
    const port = await tcpProxy(source.port, {kind: 'cut', afterBytes: 5e6, times: 1});
    const inputs = backupInputs(source, {port: String(port), compress: 'none'});
    const result = succeeded(await runAction(inputs, {workspace: home}));
    expect(result.warnings.join()).toMatch(/server closed the connection unexpectedly[\s\S]*tried once more/);
    await restore(home);
  });

  test('is ended by its timeout as by a cancellation', async () => {
    const home = workspace();
    const result = await runAction(backupInputs(source, {...slow, 'max-rate': '1M', timeout: '4s'}), {
      workspace: home,
    });
    expect(failure(result)).toMatch(/longer than its timeout \(4 s\)/);
    await expectNothingLeft(home, source);
  });

  test('tries once more when somebody ends the WAL senders', async () => {
    const home = workspace();
    const action = startAction(backupInputs(source, slow), {workspace: home});
    await untilCopying(action, source);
    await source.sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'",
    );
    const result = succeeded(await action.result);
    expect(result.warnings.join()).toContain('tried once more');
    await restore(home);
  });

  test('never tries a wrong password again', async () => {
    const own = await cluster({password: 'right'});
    const home = workspace();
    const result = await runAction(backupInputs(own, {password: 'wrong one'}), {workspace: home});
    expect(failure(result)).toMatch(/password authentication failed/);
    expect(result.stdout).not.toContain('once more');
    expect(own.log().match(/password authentication failed/g)?.length).toBeLessThanOrEqual(2);
  });

  test('tries once more when the server is restarted', async () => {
    const own = await cluster();
    await own.sql(noise);
    const home = workspace();
    const action = startAction(backupInputs(own, slow), {workspace: home});
    await untilCopying(action, own);
    const log = `--log=${own.root}/server.log`;
    await runAsServer('pg_ctl', [
      'restart',
      '--mode=immediate',
      '--wait',
      `--pgdata=${own.dataDirectory}`,
      log,
    ]);
    const result = succeeded(await action.result);
    expect(result.warnings.join()).toContain('tried once more');
    await restore(home);
  });

  test('fails when the server is stopped in the middle and stays so, and leaves nothing', async () => {
    const own = await cluster();
    await own.sql(noise);
    const home = workspace();
    const action = startAction(backupInputs(own, slow), {workspace: home});
    await untilCopying(action, own);
    await runAsServer('pg_ctl', ['stop', '--mode=immediate', '--wait', `--pgdata=${own.dataDirectory}`]);
    const result = await action.result;
    expect(result.warnings.join()).toContain('tried once more');
    expect(failure(result)).toContain(`Nothing listens at postgres@127.0.0.1:${own.port}`);
    expectNoFiles(home);
    expect(processesOf(home.root)).toEqual([]);
  });

  test('tries once more when the standby is promoted', async () => {
    const primary = await cluster();
    await primary.sql(noise);
    const standby = await standbyOf(primary);
    const home = workspace();
    const action = startAction(backupInputs(standby, slow), {workspace: home});
    await untilCopying(action, standby);
    await standby.sql('select pg_promote()');
    const result = succeeded(await action.result);
    expect(result.warnings.join()).toMatch(/promoted[\s\S]*tried once more/);
    await restore(home);
  });
});
