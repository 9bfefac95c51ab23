import {existsSync} from 'node:fs';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {type Fault, type ResultsService, startResultsService} from '../support/results-service.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {backupInputs, dataDirectory, restoreInputs} from '../support/steps.js';
import {listAll} from '../support/workspace.js';

describeWithPostgres('where the artifact service fails', () => {
  let source: Cluster;
  let service: ResultsService;

  beforeAll(async () => {
    [source, service] = await Promise.all([createCluster(), startResultsService()]);
    return () => Promise.all([source.remove(), service.stop()]);
  });

  beforeEach(() => {
    service.removeAll();
    service.clearFaults();
  });

  const store = (name: string, more = {}): Promise<ActionResult> =>
    runAction(backupInputs(source, {storage: 'artifact', 'backup-name': name, ...more}), {env: service.env});
  const restoreFrom = (name: string, more = {}): Promise<ActionResult> =>
    runAction(restoreInputs({storage: 'artifact', 'backup-name': name, ...more}), {env: service.env});

  /** A finished backup is never lost because storing it failed, and nothing is stored half. */
  async function expectKept(result: ActionResult, name: string): Promise<string> {
    const message = failure(result);
    const {directory, root, temp} = result.workspace;
    expect(message).toContain(`stays on this runner's disk at ${directory}/backups/${name}.`);
    expect(listAll(`${directory}/backups`)).toEqual(expect.arrayContaining([name, `${name}.json`]));
    expect(service.artifacts().filter((artifact) => artifact.name.startsWith(`${name}.`))).toEqual([]);
    expect(listAll(temp)).toEqual([]);
    expect(processesOf(root)).toEqual([]);
    const verified = await runAction(
      {mode: 'verify', storage: 'directory', 'backup-name': name},
      {workspace: result.workspace},
    );
    expect(succeeded(verified).outputs.proof).toBe('manifest-verified');
    return message;
  }

  // Side by side, because the client tries for half a minute what may pass.
  test('a backup stays on disk, the error says where and what to do, and nothing is stored half', async () => {
    const cases: readonly [string, Omit<Fault, 'artifact'>, RegExp][] = [
      ['refused', {at: 'CreateArtifact', kind: 'forbidden'}, /\(403\)[\s\S]*may use artifacts here/],
      ['limited', {at: 'CreateArtifact', kind: 'rate-limited'}, /\(429\)[\s\S]*in some minutes/],
      ['failing', {at: 'CreateArtifact', kind: 'failing'}, /\(500\)[\s\S]*githubstatus/],
      ['full', {at: 'CreateArtifact', kind: 'quota'}, /quota[\s\S]*Free artifact storage/],
      ['cut', {at: 'upload', kind: 'cut'}, /githubstatus/],
    ];
    for (const [name, fault] of cases) service.setFault({...fault, artifact: `${name}.base.tar.zst`});
    await Promise.all(
      cases.map(async ([name, , words]) =>
        expect(await expectKept(await store(name), name), name).toMatch(words),
      ),
    );
  });

  test('that answers slowly is waited for, and one that never answers until the timeout', async () => {
    service.setFault({at: 'CreateArtifact', kind: 'slow', artifact: 'slow.json'});
    service.setFault({at: 'upload', kind: 'slow', artifact: 'slow.base.tar.zst'});
    service.setFault({at: 'GetSignedArtifactURL', kind: 'slow', artifact: 'slow.pg_wal.tar'});
    service.setFault({at: 'download', kind: 'slow', artifact: 'slow.base.tar.zst'});
    service.setFault({at: 'upload', kind: 'hang', artifact: 'hung.base.tar.zst'});
    const [hung] = await Promise.all([
      store('hung', {timeout: '15s'}),
      store('slow').then(async (stored) => {
        succeeded(stored);
        expect(succeeded(await restoreFrom('slow')).outputs.proof).toBe('recovered');
      }),
    ]);
    expect(await expectKept(hung, 'hung')).toMatch(/longer than its timeout \(15 s\)/);
  });

  test('a restore leaves nothing, and the error says what to do', async () => {
    const cases: readonly [string, Omit<Fault, 'artifact'>, RegExp][] = [
      ['refused', {at: 'GetSignedArtifactURL', kind: 'forbidden'}, /\(403\)[\s\S]*Run the step again/],
      ['limited', {at: 'GetSignedArtifactURL', kind: 'rate-limited'}, /\(429\)[\s\S]*in some minutes/],
      ['failing', {at: 'GetSignedArtifactURL', kind: 'failing'}, /\(500\)[\s\S]*githubstatus/],
      ['unreadable', {at: 'download', kind: 'forbidden'}, /after 5 retries[\s\S]*Run the step again/],
    ];
    await Promise.all(cases.map(async ([name]) => succeeded(await store(name))));
    for (const [name, fault] of cases) service.setFault({...fault, artifact: `${name}.base.tar.zst`});
    await Promise.all(
      cases.map(async ([name, , words]) => {
        const result = await restoreFrom(name);
        expect(failure(result), name).toMatch(words);
        expect(failure(result)).toContain(`${name}.base.tar.zst could not be downloaded`);
        expect(existsSync(dataDirectory(result.workspace))).toBe(false);
        expect(listAll(result.workspace.temp)).toEqual([]);
        expect(processesOf(result.workspace.root)).toEqual([]);
      }),
    );
  });
});
