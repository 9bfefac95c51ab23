import {existsSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, beforeEach, expect, onTestFinished, test} from 'vitest';
import {ageKey} from '../support/age.js';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {disk} from '../support/disk.js';
import {processesOf} from '../support/processes.js';
import {type ResultsService, startResultsService} from '../support/results-service.js';
import {failure, runAction, startAction, succeeded} from '../support/runner.js';
import {backupInputs, type Inputs, restoreInputs} from '../support/steps.js';
import {listAll, type Workspace, workspace} from '../support/workspace.js';

const rowsAreThere = {'check-sql': 'select count(*) = 20000 from near', 'check-database': 'postgres'};
const partMebibytes = 8;

describeWithPostgres('a backup that is stored as artifacts while it is taken', () => {
  let source: Cluster;
  let service: ResultsService;

  beforeAll(async () => {
    [source, service] = await Promise.all([createCluster(), startResultsService()]);
    await source.tablespace('fast');
    // Some parts of the data directory, and a tablespace of less than one.
    await source.sql(
      `create table near as select n, repeat(md5(n::text), 28) t from generate_series(1, 20000) n`,
    );
    await source.sql('create table far tablespace fast as select generate_series(1, 1000)');
    return () => Promise.all([source.remove(), service.stop()]);
  });

  beforeEach(() => {
    service.removeAll();
    service.clearFaults();
  });

  const inputs = (more: Inputs = {}): Inputs =>
    backupInputs(source, {
      storage: 'artifact',
      compress: 'none',
      'artifact-part-size': `${partMebibytes}MiB`,
      ...more,
    });
  const restored = (more: Inputs = {}) => restoreInputs({storage: 'artifact', ...rowsAreThere, ...more});
  const names = () => service.artifacts().map(({name}) => name);

  async function expectNothingLeft(home: Workspace): Promise<void> {
    expect(names()).toEqual([]);
    const backups = join(home.directory, 'backups');
    expect(existsSync(backups) ? readdirSync(backups) : []).toEqual([]);
    expect(listAll(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
    await expect
      .poll(() => source.sql('select count(*) from pg_stat_replication'), {timeout: 30_000})
      .toBe('0');
  }

  test('travels in parts on a disk that it does not fit on, and comes back', async () => {
    // About 120 MB, with all the rest more than the small disk has.
    await source.sql(
      `create table more as select n, repeat(md5(n::text), 28) t from generate_series(1, 120000) n`,
    );
    onTestFinished(async () => {
      await source.sql('drop table more');
    });
    const home = workspace();
    disk(join(home.directory, 'backups'), 132);
    const backup = succeeded(await runAction(inputs(), {workspace: home, env: service.env}));
    expect(backup.outputs['backup-directory']).toBeUndefined();
    expect(Number(backup.outputs['size-bytes'])).toBeGreaterThan(145e6);
    expect(listAll(join(home.directory, 'backups'))).toEqual([]);
    const parts = service.artifacts().filter(({name}) => /^nightly\.base\.tar\.part\d{4}$/.test(name));
    expect(parts.length).toBeGreaterThan(11);
    expect(new Set(parts.map(({sizeBytes}) => sizeBytes)).size).toBe(2);
    expect(Math.max(...parts.map(({sizeBytes}) => sizeBytes))).toBe(partMebibytes * 2 ** 20);
    const rest = names().filter((name) => !name.includes('.part'));
    expect(rest.filter((name) => /^nightly\.(\d+\.tar|backup_manifest|json)$/.test(name))).toHaveLength(3);
    expect(names().at(-1)).toBe('nightly.json');
    expect(names()).not.toContain('nightly.claim');

    // Of the parts that are fetched, too, there are some at a time.
    const there = workspace();
    disk(there.temp, 6 * partMebibytes);
    const small = {env: service.env, workspace: there};
    const elsewhere = restored({'data-directory': join(there.root, 'data')});
    expect(succeeded(await runAction(elsewhere, small)).outputs['checks-passed']).toContain('check-sql');
    const verified = {mode: 'verify', storage: 'artifact', 'backup-name': 'nightly'};
    expect(succeeded(await runAction(verified, small)).outputs.proof).toBe('manifest-verified');
    expect(listAll(there.temp)).toEqual([]);

    const here = {env: service.env};

    const corrupt = {at: 'download', kind: 'corrupt', artifact: 'nightly.base.tar.part0003'} as const;
    service.setFault({...corrupt, times: 1});
    succeeded(await runAction(restored(), here));
    service.setFault(corrupt);
    const damaged = await runAction(restored(), here);
    expect(failure(damaged)).toContain('artifact nightly.base.tar.part0003 arrived damaged');
    expect(listAll(damaged.workspace.temp)).toEqual([]);
    expect(damaged.warnings.join()).toContain('nightly.proof.json notes it');
    service.clearFaults();

    service.expire('nightly.base.tar.part0002');
    const token = {'github-token': service.token, 'run-id': '4242'};
    const expired = await runAction(restored(token), here);
    expect(failure(expired)).toContain('artifact nightly.base.tar.part0002 is not among');
    expect(expired.stdout).not.toContain('Extract');
  });

  test('is whole on the runner where it has no more data than a part, or where no parts are wanted', async () => {
    const home = workspace();
    const whole = {'artifact-part-size': 'none', compress: 'client-zstd'};
    const backup = succeeded(await runAction(inputs(whole), {workspace: home, env: service.env}));
    expect(backup.outputs['backup-directory']).toBe(join(home.directory, 'backups', 'nightly'));
    expect(names()).toContain('nightly.base.tar.zst');
    service.removeAll();
    const large = {'artifact-part-size': '1GiB', 'backup-name': 'other'};
    succeeded(await runAction(inputs(large), {workspace: home, env: service.env}));
    expect(names()).toContain('other.base.tar');
    expect(existsSync(join(home.directory, 'backups', 'other', 'base.tar'))).toBe(true);
  });

  test('is encrypted part by part of its stream, and opens with its key alone', async () => {
    const home = workspace();
    const key = await ageKey(home.root, 'office');
    const encrypted = inputs({'encrypt-to': key.recipient});
    succeeded(await runAction(encrypted, {workspace: home, env: service.env}));
    expect(names()).toContain('nightly.base.tar.age.part0001');
    const opened = await runAction(restored({'decrypt-with': key.identity}), {env: service.env});
    expect(succeeded(opened).outputs.proof).toBe('recovered');
  });

  test.each([
    ['quota', 'CreateArtifact', /storage quota[\s\S]*Free artifact storage/],
    ['forbidden', 'upload', /60 minutes[\s\S]*artifact-part-size/],
  ] as const)('that cannot be stored (%s) fails, and nothing of it stays', async (kind, at, words) => {
    const home = workspace();
    service.setFault({at, kind, artifact: 'nightly.base.tar.part0002'});
    const message = failure(await runAction(inputs(), {workspace: home, env: service.env}));
    expect(message).toMatch(words);
    await expectNothingLeft(home);
  });

  test('that loses its last artifact, the metadata, fails, and nothing of it stays', async () => {
    const home = workspace();
    service.setFault({at: 'CreateArtifact', kind: 'quota', artifact: 'nightly.json'});
    expect(failure(await runAction(inputs(), {workspace: home, env: service.env}))).toContain(
      'Backup nightly could not be stored as artifacts',
    );
    await expectNothingLeft(home);
  });

  test('of two of one name in one run, one is stored', async () => {
    const [one, other] = [workspace(), workspace()];
    const results = await Promise.all(
      [one, other].map((home) => runAction(inputs(), {workspace: home, env: service.env})),
    );
    const [failed] = results.filter(({status}) => status !== 0);
    expect(results.filter(({status}) => status === 0)).toHaveLength(1);
    expect(failed && failure(failed)).toMatch(/already|cannot be replaced/);
    expect(succeeded(await runAction(restored(), {env: service.env})).outputs.proof).toBe('recovered');
  });

  test('that is cancelled half-way leaves nothing', async () => {
    const home = workspace();
    const action = startAction(inputs({'max-rate': '32M'}), {workspace: home, env: service.env});
    await action.until(() => names().includes('nightly.base.tar.part0001'), 'a part is stored');
    action.child.kill('SIGINT');
    expect(failure(await action.result)).toMatch(/cancelled/i);
    await expectNothingLeft(home);
  });

  test.each(['nightly.backup_manifest', 'nightly.json'])(
    'that is cancelled while the last bytes (%s) hang ends, and leaves nothing',
    async (artifact) => {
      const home = workspace();
      const before = service.requests().length;
      service.setFault({at: 'upload', kind: 'hang', artifact});
      const action = startAction(inputs(), {workspace: home, env: service.env});
      const isThere = () =>
        service
          .requests()
          .slice(before)
          .some((one) => one.operation === 'upload' && one.artifact === artifact);
      await action.until(isThere, 'the upload hangs');
      action.child.kill('SIGINT');
      expect(failure(await action.result)).toMatch(/cancelled/i);
      await expectNothingLeft(home);
    },
  );

  test('is removed with all its parts when it is no longer kept', async () => {
    const keep = {
      'github-token': service.token,
      'keep-last': '1',
      'keep-names': 'nightly-*',
    };
    const inRun = (runId: number) => service.envOf({owner: 'octo-org', repository: 'octo-repo', runId});
    for (const number of [1, 2]) {
      const named = inputs({...keep, 'backup-name': `nightly-${number}`});
      succeeded(await runAction(named, {env: inRun(60 + number)}));
    }
    expect(names().filter((name) => name.startsWith('nightly-1'))).toEqual([]);
    expect(names()).toContain('nightly-2.base.tar.part0002');
  });
});
