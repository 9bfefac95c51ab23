import {beforeAll, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, runAsServer} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {endJob, succeeded} from '../support/runner.js';
import {askRestored, backUp, dataDirectory, restoreAndKeepRunning, stopRestored} from '../support/steps.js';
import {listAll, workspace} from '../support/workspace.js';

describeWithPostgres('at the end of the job', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    return () => source.remove();
  });

  test('a restored server that was kept running is stopped, and its socket removed', async () => {
    const home = workspace();
    await backUp(source, home);
    const kept = await restoreAndKeepRunning(home);
    expect(await askRestored(kept, 'select 1')).toContain('1');
    const end = succeeded(await endJob(kept));
    expect(end.stdout).toContain('is stopped');
    expect(processesOf(home.root)).toEqual([]);
    expect(listAll(`${dataDirectory(home)}_config`).filter((path) => path.startsWith('socket'))).toEqual([]);
    expect(listAll(dataDirectory(home))).toContain('PG_VERSION');
  });

  test('one that a step of the job has stopped is no failure', async () => {
    const home = workspace();
    await backUp(source, home);
    const kept = await restoreAndKeepRunning(home);
    await stopRestored(kept);
    succeeded(await endJob(kept));
  });

  test('one whose data were handed on to another server is left alone', async () => {
    const home = workspace();
    await backUp(source, home);
    const kept = await restoreAndKeepRunning(home);
    await stopRestored(kept);
    const [config, log] = [`${dataDirectory(home)}_config`, `${dataDirectory(home)}_config/own.log`];
    await runAsServer('pg_ctl', ['start', '--wait', `--pgdata=${config}`, `--log=${log}`]);
    succeeded(await endJob(kept));
    expect(await askRestored(kept, 'select 1')).toContain('1');
    await stopRestored(kept);
  });

  test('a backup leaves nothing to do, and is not taken again', async () => {
    const home = workspace();
    const before = await backUp(source, home);
    const end = succeeded(await endJob(before));
    expect(end.stdout).not.toContain('pg_basebackup');
    expect(end.outputs).toEqual({});
  });
});
