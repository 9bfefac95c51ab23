import {readFileSync} from 'node:fs';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {watchProcesses} from '../support/processes.js';
import {type ActionOptions, type ActionResult, failure, startAction, succeeded} from '../support/runner.js';
import {type Inputs, restoreInputs} from '../support/steps.js';
import {filesBelow, type Workspace, workspace} from '../support/workspace.js';

const password = `p@ss:/ w%rd?#'"\\`;
// Parts that survive every way of quoting: `w%rd` as it is, `w%25rd` percent-encoded.
const traces = ['w%rd', 'w%25rd', Buffer.from(password).toString('base64').slice(0, 12)];
const role = 'backup role';

/** Where text was found that must be nowhere. */
function tracesIn(texts: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(texts).flatMap(([place, text]) =>
    traces.filter((trace) => text.includes(trace)).map((trace) => `${trace} in ${place}`),
  );
}

interface WatchedRun {
  readonly result: ActionResult;
  readonly argumentLists: readonly (readonly string[])[];
}

async function runWatched(
  inputs: Inputs,
  options: ActionOptions & {workspace: Workspace},
): Promise<WatchedRun> {
  const action = startAction(inputs, options);
  const watch = watchProcesses(action.pid, options.workspace.root);
  const result = await action.result;
  return {result, argumentLists: await watch.stop()};
}

function expectNoTrace({result, argumentLists}: WatchedRun): void {
  const log = `${result.stdout}\n${result.stderr}`
    .split('\n')
    .filter((line) => !line.startsWith('::add-mask::'));
  const files = filesBelow(result.workspace.root).map((path) => [path, readFileSync(path, 'latin1')]);
  const texts = {
    log: log.join('\n'),
    summary: result.summary,
    outputs: JSON.stringify(result.outputs),
    arguments: argumentLists.map((args) => args.join(' ')).join('\n'),
    ...Object.fromEntries(files),
  };
  expect(tracesIn(texts)).toEqual([]);
}

describeWithPostgres('the password is found nowhere', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster({password});
    await source.sql(`create role "${role}" login replication password '${password.replaceAll("'", "''")}'`);
    await source.sql(`grant pg_monitor to "${role}"`);
    return () => source.remove();
  });

  const encoded = encodeURIComponent(password);
  const escaped = password.replaceAll('\\', '\\\\').replaceAll("'", "\\'");
  const ways: readonly {way: string; inputs: (port: number) => Inputs; env?: Inputs}[] = [
    {
      way: 'the input `password`',
      inputs: (port) => ({host: '127.0.0.1', port: `${port}`, user: role, password}),
    },
    {
      way: 'a connection URI',
      inputs: (port) => ({
        'connection-string': `postgresql://backup%20role:${encoded}@127.0.0.1:${port}/postgres?sslmode=prefer`,
      }),
    },
    {
      way: 'a connection string of keywords',
      inputs: (port) => ({
        'connection-string': `host=127.0.0.1 port=${port} user='${role}' password='${escaped}' dbname = postgres`,
      }),
    },
    {
      way: 'PGPASSWORD',
      inputs: () => ({}),
      env: {PGPASSWORD: password, PGHOST: '127.0.0.1', PGUSER: role},
    },
  ];

  describe.each(['tar', 'plain'])('after a %s backup that writes recovery settings', (format) => {
    test.each(ways)('when it is given by $way', async ({inputs, env}) => {
      const home = workspace();
      const backup = await runWatched(
        {
          mode: 'backup',
          storage: 'directory',
          'backup-name': 'nightly',
          format,
          // Nothing in the archives is hidden from the search.
          compress: 'none',
          'write-recovery-conf': 'true',
          ...inputs(source.port),
        },
        {workspace: home, env: {...env, ...(env && {PGPORT: `${source.port}`})}},
      );
      succeeded(backup.result);
      expect(backup.argumentLists.some((args) => args[0]?.endsWith('pg_basebackup'))).toBe(true);
      expect(backup.result.stdout).toMatch(/^::add-mask::/m);
      expectNoTrace(backup);

      const restore = await runWatched(restoreInputs(), {workspace: home});
      succeeded(restore.result);
      expectNoTrace(restore);
    });
  });

  test('although the recovery settings name the server', async () => {
    const home = workspace();
    const [way] = ways;
    const inputs = {mode: 'backup', storage: 'directory', 'backup-name': 'nightly', compress: 'none'};
    const more = {'write-recovery-conf': 'true', ...way?.inputs(source.port)};
    succeeded(await startAction({...inputs, ...more}, {workspace: home}).result);
    const archive = filesBelow(home.directory).find((path) => path.endsWith('base.tar')) ?? '';
    expect(readFileSync(archive, 'latin1')).toMatch(/primary_conninfo = .*127\.0\.0\.1/);
  });

  const mistakes: readonly {mistake: string; inputs: (port: number) => Inputs}[] = [
    {
      mistake: 'a port where nothing listens',
      inputs: () => ({host: '127.0.0.1', port: '1', user: role, password}),
    },
    {
      mistake: 'a role that does not exist',
      inputs: (port) => ({host: '127.0.0.1', port: `${port}`, user: 'nobody', password}),
    },
    {
      mistake: 'a URI with the password as it is',
      inputs: (port) => ({
        'connection-string': `postgresql://backup%20role:${password}@127.0.0.1:${port}/postgres`,
      }),
    },
    {
      mistake: 'a connection string without quotes around the password',
      inputs: (port) => ({'connection-string': `host=127.0.0.1 port=${port} password=${password} user=x`}),
    },
  ];

  test.each(mistakes)('in the error after $mistake', async ({inputs}) => {
    const home = workspace();
    const backup = await runWatched(
      {mode: 'backup', storage: 'directory', 'backup-name': 'nightly', ...inputs(source.port)},
      {workspace: home},
    );
    failure(backup.result);
    expectNoTrace(backup);
  });
});
