import {existsSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {type ResultsService, startResultsService} from '../support/results-service.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {backupDirectory, backupInputs, dataDirectory, restoreInputs} from '../support/steps.js';

const rowsAreThere = {
  'check-database': 'bank',
  'check-sql': 'select count(*) = 100000 from pgbench_accounts',
};
const anotherRun = {owner: 'octo-org', repository: 'octo-repo', runId: 4243};
const anotherRepository = {owner: 'octo-org', repository: 'restores', runId: 7};

describeWithPostgres('a backup that is stored as artifacts', () => {
  let source: Cluster;
  let service: ResultsService;

  beforeAll(async () => {
    [source, service] = await Promise.all([createCluster(), startResultsService()]);
    await source.tablespace('fast');
    await source.pgbench('bank', 1, ['--tablespace=fast']);
    return () => Promise.all([source.remove(), service.stop()]);
  });

  beforeEach(() => {
    service.removeAll();
    service.clearFaults();
  });

  const store = async (more = {}): Promise<ActionResult> =>
    runAction(backupInputs(source, {storage: 'artifact', ...more}), {env: service.env});
  const restoreFrom = (env: Readonly<Record<string, string>>, more = {}): Promise<ActionResult> =>
    runAction(restoreInputs({storage: 'artifact', ...rowsAreThere, ...more}), {env});

  test('is one unzipped artifact a file, the metadata last, and restores in the same run', async () => {
    const backup = succeeded(await store());
    const names = service.artifacts().map(({name}) => name);
    expect(names.at(-1)).toBe('nightly.json');
    expect(
      names.filter((name) =>
        /^nightly\.(base\.tar\.zst|\d+\.tar\.zst|pg_wal\.tar|backup_manifest|json)$/.test(name),
      ),
    ).toHaveLength(5);
    expect(backup.outputs['artifact-url']).toContain(
      `/octo-org/octo-repo/actions/runs/4242/artifacts/${backup.outputs['artifact-id']}`,
    );
    expect(backup.outputs['artifact-digest']).toMatch(/^[0-9a-f]{64}$/);
    expect(backup.stdout).not.toContain('Uploaded bytes');

    const restored = succeeded(await restoreFrom(service.env));
    expect(restored.outputs).toMatchObject({
      'backup-name': 'nightly',
      proof: 'recovered',
      'checks-passed': 'manifest,check-sql',
    });
    expect(readdirSync(restored.workspace.temp).filter((name) => name.startsWith('pg-fetch'))).toEqual([]);
  });

  test('of plain format travels as one archive a directory, and restores', async () => {
    const backup = succeeded(await store({format: 'plain'}));
    const names = service.artifacts().map(({name}) => name);
    expect(names.filter((name) => /^nightly\.(base|\d+)\.tar\.zst$/.test(name))).toHaveLength(2);
    // An incremental backup needs the manifest of its parent alone.
    expect(names).toContain('nightly.backup_manifest');
    expect(names).toHaveLength(4);
    expect(readdirSync(join(backup.workspace.directory, 'backups')).sort()).toEqual([
      'nightly',
      'nightly.json',
      'nightly_tablespaces',
    ]);
    expect(succeeded(await restoreFrom(service.env)).outputs.proof).toBe('recovered');
  });

  test('is found by another run with a token, and by latest with a pattern', async () => {
    succeeded(await store({'backup-name': 'nightly-1'}));
    succeeded(await store({'backup-name': 'nightly-2'}));
    const reported = succeeded(await store({'backup-name': 'weekly-1', report: 'true'}));
    expect(reported.warnings).toEqual([]);
    const reports = service.artifacts().filter(({name}) => name.startsWith('weekly-1.backup.report.'));
    expect(reports.map(({name}) => name).sort()).toEqual([
      'weekly-1.backup.report.html',
      'weekly-1.backup.report.json',
    ]);
    const token = {'github-token': service.token};
    const byNumber = await restoreFrom(service.envOf(anotherRun), {
      ...token,
      'run-id': '4242',
      'backup-name': 'nightly-1',
    });
    expect(succeeded(byNumber).outputs['backup-name']).toBe('nightly-1');
    const newest = await restoreFrom(service.envOf(anotherRun), {
      ...token,
      'run-id': 'latest',
      'backup-name': 'nightly-*',
    });
    expect(succeeded(newest).outputs['backup-name']).toBe('nightly-2');
    const elsewhere = {
      ...token,
      'run-id': 'latest',
      repository: 'octo-org/octo-repo',
      'backup-name': 'latest',
    };
    expect(
      succeeded(await restoreFrom(service.envOf(anotherRepository), elsewhere)).outputs['backup-name'],
    ).toBe('weekly-1');
  });

  test('is proven by the run that restores it, and kept by a prune for that', async () => {
    const token = {'github-token': service.token};
    const inRun = (runId: number) => service.envOf({owner: 'octo-org', repository: 'octo-repo', runId});
    const storeAndPrune = (name: string, runId: number) =>
      runAction(
        backupInputs(source, {
          ...token,
          storage: 'artifact',
          'backup-name': name,
          'keep-last': '1',
          'keep-names': 'nightly-*',
        }),
        {env: inRun(runId)},
      );
    const names = () => service.artifacts().map(({name}) => name);

    succeeded(await store({'backup-name': 'nightly-1'}));
    const newest = {...token, 'run-id': 'latest', 'backup-name': 'latest'};
    const proven = succeeded(await restoreFrom(inRun(50), newest));
    expect(proven.warnings).toEqual([]);
    expect(names()).toContain('nightly-1.proof.json');

    const second = succeeded(await storeAndPrune('nightly-2', 51));
    expect(second.outputs['pruned-backups']).toBe('');
    expect(second.stdout).toMatch(/Stays: nightly-1, .*: newest verified/);

    service.setFault({at: 'rest-other', kind: 'forbidden', artifact: 'nightly-2.pg_wal.tar'});
    const third = succeeded(await storeAndPrune('nightly-3', 52));
    expect(third.warnings.join('\n')).toMatch(/are left: nightly-2\. .*actions: write/s);
    expect(names().filter((name) => /^nightly-[123]\.json$/.test(name))).toEqual([
      'nightly-1.json',
      'nightly-3.json',
    ]);

    const verified = {...token, 'backup-name': 'latest-verified', 'dry-run': 'true'};
    expect(succeeded(await restoreFrom(inRun(53), verified)).outputs['backup-name']).toBe('nightly-1');
  });

  test('is refused when its download is corrupted, and nothing is left', async () => {
    succeeded(await store());
    service.setFault({at: 'download', kind: 'corrupt', artifact: 'nightly.base.tar.zst'});
    const restored = await restoreFrom(service.env);
    expect(failure(restored)).toContain('base.tar.zst');
    expect(existsSync(dataDirectory(restored.workspace))).toBe(false);
    expect(readdirSync(restored.workspace.temp)).toEqual([]);
  });

  test.each([
    ['quota', 'CreateArtifact', /quota|storage/i],
    ['name-taken', 'CreateArtifact', /already|exist/i],
    ['forbidden', 'upload', /60 minutes/],
  ] as const)(
    'that cannot be stored (%s) stays on disk, complete, and the error says where',
    async (kind, at, words) => {
      service.setFault({at, kind, artifact: 'nightly.base.tar.zst'});
      const backup = await store();
      const message = failure(backup);
      expect(message).toMatch(words);
      expect(message).toContain(backupDirectory(backup.workspace));
      expect(service.artifacts()).toEqual([]);
      const local = await runAction(restoreInputs(rowsAreThere), {workspace: backup.workspace});
      expect(succeeded(local).outputs.proof).toBe('recovered');
    },
  );

  test('survives a 503, a reset and a cut connection', async () => {
    service.setFault({at: 'CreateArtifact', kind: 'unavailable', times: 1});
    service.setFault({at: 'upload', kind: 'reset', times: 1});
    succeeded(await store());
    service.setFault({at: 'rest-list', kind: 'unavailable', times: 1});
    const token = {'github-token': service.token, 'run-id': '4242'};
    succeeded(await restoreFrom(service.envOf(anotherRun), token));
  });

  test('cannot replace one of the same name, and is refused before pg_basebackup starts', async () => {
    succeeded(await store());
    const again = await store();
    expect(failure(again)).toContain('nightly');
    expect(again.stdout).not.toContain('initiating base backup');
    expect(existsSync(backupDirectory(again.workspace))).toBe(false);
  });
});
