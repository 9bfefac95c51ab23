import {chmodSync, mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {isServer, processesOf, watchProcesses} from '../support/processes.js';
import {failure, runAction, startAction} from '../support/runner.js';
import {backUp, backupInputs, dataDirectory, restoreInputs} from '../support/steps.js';
import {fingerprint, workspace} from '../support/workspace.js';

describeWithPostgres('nothing is overwritten:', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await source.tablespace('fast disk');
    await source.sql('create table there (x) tablespace "fast disk" as select 1');
    return () => source.remove();
  });

  // Only root runs the server as somebody else.
  const isRoot = process.getuid?.() === 0;
  if (isRoot)
    test('a temporary folder that postgres cannot enter is told as that, also by a dry run', async () => {
      const home = workspace();
      await backUp(source, home);
      chmodSync(home.temp, 0o700);
      for (const dryRun of ['true', 'false']) {
        const message = failure(await runAction(restoreInputs({'dry-run': dryRun}), {workspace: home}));
        expect(message).toContain(`cannot enter ${home.temp}`);
        expect(message).not.toContain('damaged');
      }
    });

  // mkdir with `recursive` never ends there.
  test('a directory that cannot be made fails the step at once', async () => {
    const result = await runAction(backupInputs(source, {directory: '/proc/backups'}), {timeoutSeconds: 30});
    expect(failure(result)).toContain('/proc/backups');
  });

  test('refuses a backup-name that is taken, and leaves the old backup as it is', async () => {
    const home = workspace();
    await backUp(source, home);
    const before = fingerprint(home.directory);
    const error = failure(await runAction(backupInputs(source), {workspace: home}));
    expect(error).toContain('nightly');
    expect(fingerprint(home.directory)).toEqual(before);
  });

  test.each([
    {what: 'data directory', path: ''},
    {what: 'tablespace directory', path: '_tablespaces'},
    {what: 'directory for the configuration', path: '_config'},
  ])('refuses to restore when the $what is not empty', async ({path}) => {
    const home = workspace();
    await backUp(source, home);
    const occupied = `${dataDirectory(home)}${path}`;
    mkdirSync(occupied);
    writeFileSync(join(occupied, 'precious'), 'data');
    const before = fingerprint(home.temp);

    const action = startAction(restoreInputs(), {workspace: home});
    const watch = watchProcesses(action.pid, home.root);
    expect(failure(await action.result)).toContain(occupied);
    expect((await watch.stop()).filter(isServer)).toEqual([]);
    expect(fingerprint(home.temp)).toEqual(before);
  });

  test('refuses a tablespace-mapping to a directory that is not empty', async () => {
    const home = workspace();
    await backUp(source, home);
    const occupied = join(home.temp, 'occupied');
    mkdirSync(occupied);
    writeFileSync(join(occupied, 'precious'), 'data');
    const from = await source.sql(
      "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast disk'",
    );
    const before = fingerprint(home.temp);
    const inputs = restoreInputs({'tablespace-mapping': `${from}=${occupied}`});
    expect(failure(await runAction(inputs, {workspace: home}))).toContain(occupied);
    expect(fingerprint(home.temp)).toEqual(before);
  });

  test('refuses a tablespace-mapping of a tablespace that the backup does not have', async () => {
    const home = workspace();
    await backUp(source, home);
    const inputs = restoreInputs({'tablespace-mapping': `/srv/unknown=${home.temp}/new`});
    expect(failure(await runAction(inputs, {workspace: home}))).toContain('/srv/unknown');
    expect(processesOf(home.root)).toEqual([]);
  });

  test('an empty data directory that exists is used', async () => {
    const home = workspace();
    await backUp(source, home);
    mkdirSync(dataDirectory(home));
    const result = await runAction(restoreInputs(), {workspace: home});
    expect(result.errors).toEqual([]);
    expect(result.status).toBe(0);
  });
});
