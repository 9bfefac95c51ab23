import {randomBytes} from 'node:crypto';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeEach, describe, expect, onTestFinished, test} from 'vitest';
import {formatMetadata} from '../../src/backup-set/metadata.js';
import {readVerified} from '../../src/backup-set/source.js';
import {UserError} from '../../src/errors.js';
import type {ArtifactStoreOptions} from '../../src/store/artifact.js';
import type {FoundBackup, Store} from '../../src/store/store.js';
import {waitUntil} from '../support/command.js';
import {backupOf, metadataOf, someFiles} from '../support/local-backup.js';
import {
  type FaultKind,
  type Operation,
  type RunOfRepository,
  type Seed,
  startResultsService,
} from '../support/results-service.js';

const root = mkdtempSync(join(tmpdir(), 'artifact-store-'));
/** Where the store makes its temporary files, so that what it leaves there is seen. */
const temporary = join(root, 'temporary');
mkdirSync(temporary);
const before = {...process.env};
process.env.TMPDIR = temporary;
if (tmpdir() !== temporary) throw new Error(`Temporary files would go to ${tmpdir()}.`);
const service = await startResultsService({pageSize: 3});
Object.assign(process.env, service.env);
// @actions/github reads GITHUB_API_URL when it is loaded.
const {artifactStore} = await import('../../src/store/artifact.js');

let tests = 0;
let thisRun: RunOfRepository;
let output = '';
const {write} = process.stdout;
const capture = (chunk: string | Uint8Array): boolean => {
  output += String(chunk);
  return true;
};

afterAll(async () => {
  for (const name of [...Object.keys(service.env), 'TMPDIR']) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  rmSync(root, {recursive: true});
  await service.stop();
});
beforeEach(() => {
  output = '';
  process.stdout.write = capture;
  // Each test has a repository of its own: uploads that a failed save left in work may end during the next test.
  tests += 1;
  thisRun = {owner: 'octo-org', repository: `repo-${tests}`, runId: 4000 + tests};
  Object.assign(process.env, service.envOf(thisRun));
});
afterEach(() => {
  process.stdout.write = write;
  service.clearFaults();
  expect(readdirSync(temporary)).toEqual([]);
});

const anotherRun = (): RunOfRepository => ({...thisRun, runId: 7});
const anotherRepository = (): RunOfRepository => ({
  owner: 'octo-org',
  repository: `${thisRun.repository}-other`,
  runId: 7,
});
const nameOf = ({owner, repository}: RunOfRepository) => ({owner, name: repository});

function storeOf(options: Partial<ArtifactStoreOptions> = {}): Store {
  return artifactStore({
    thisRun: {serverUrl: 'https://github.com', repository: nameOf(thisRun), runId: thisRun.runId},
    scratchDirectory: temporary,
    signal: new AbortController().signal,
    ...options,
  });
}

function fromElsewhere(runId: number | 'latest', options: Partial<ArtifactStoreOptions> = {}): Store {
  return storeOf({runId, token: service.token, ...options});
}

function directory(): string {
  const path = mkdtempSync(join(root, 'test-'));
  onTestFinished(() => rmSync(path, {recursive: true}));
  return path;
}

/** Puts a whole backup into the service, less the files that are named. */
async function stored(name: string, how: Partial<Seed> & {readonly without?: string} = {}): Promise<void> {
  const {without, ...seed} = how;
  const all = {...someFiles, json: formatMetadata(metadataOf(name, someFiles))};
  for (const [fileName, content] of Object.entries(all)) {
    if (fileName !== without)
      await service.addArtifact({run: thisRun, ...seed, name: `${name}.${fileName}`, content});
  }
}

function artifacts() {
  return service
    .artifacts()
    .filter(({run}) => run.repository === thisRun.repository && run.runId === thisRun.runId);
}

function requestsOf(...operations: Operation[]) {
  return service
    .requests()
    .filter(({operation, runId}) => operations.includes(operation) && runId === thisRun.runId);
}

function artifactNames(): string[] {
  return artifacts()
    .map(({name}) => name)
    .sort();
}

async function failureOf(work: Promise<unknown>): Promise<UserError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(thrown instanceof UserError))
    throw new Error(`expected a UserError: ${String(thrown)}`, {cause: thrown});
  return thrown;
}

/** Reads every file of a backup to its end, as a restore does; bytes as Latin-1. */
async function contentsOf(found: FoundBackup, scratch = directory()): Promise<Map<string, string>> {
  const {source} = await found.fetch(scratch);
  const contents = new Map<string, string>();
  for (const name of await source.list()) {
    const pieces: Buffer[] = [];
    for await (const piece of readVerified(source, name, undefined)) pieces.push(Buffer.from(piece));
    contents.set(name, Buffer.concat(pieces).toString('latin1'));
  }
  return contents;
}

describe('saving', () => {
  test('makes one artifact of every file, and the metadata last', async () => {
    const backup = backupOf('nightly', someFiles, root);
    const result = await storeOf({retentionDays: 3}).save(backup);
    expect(artifactNames()).toEqual([
      'nightly.16406.tar.zst',
      'nightly.backup_manifest',
      'nightly.base.tar.zst',
      'nightly.json',
      'nightly.pg_wal.tar',
    ]);
    for (const artifact of artifacts()) {
      const file = artifact.name.slice('nightly.'.length);
      const content = someFiles[file] ?? formatMetadata(backup.metadata);
      expect((await service.contentOf(artifact)).toString()).toBe(content);
      expect(Math.round((artifact.expiresAt.getTime() - Date.now()) / 86_400_000)).toBe(3);
    }
    const last = artifacts().at(-1);
    expect(last?.name).toBe('nightly.json');
    const order = requestsOf('CreateArtifact', 'FinalizeArtifact');
    expect(order.slice(-2).map(({artifact}) => artifact)).toEqual(['nightly.json', 'nightly.json']);
    expect(result).toEqual({
      location: `artifacts nightly.* of run ${thisRun.runId}`,
      artifactId: String(last?.id),
      artifactUrl: `https://github.com/octo-org/${thisRun.repository}/actions/runs/${thisRun.runId}/artifacts/${last?.id}`,
      artifactDigest: last?.digest.replace('sha256:', ''),
    });
  });

  test("says each file's progress under its name, and lets other output pass", async () => {
    const files = {'base.tar': randomBytes(40_000_000), '1.tar': randomBytes(30_000_000)};
    const saving = storeOf().save(backupOf('large', files, root));
    process.stdout.write('Uploaded bytes of somebody else\n');
    await saving;
    expect(process.stdout.write).toBe(capture);
    expect(output).not.toMatch(/^Uploaded bytes \d/m);
    expect(output).toContain('Uploaded bytes of somebody else\n');
    expect(output).toMatch(/^large\.base\.tar: \d+ % of 40000000 bytes uploaded$/m);
    expect(output).toMatch(/^large\.1\.tar: \d+ % of 30000000 bytes uploaded$/m);
    expect(output).toMatch(/^large\.json: 100 % of \d+ bytes uploaded$/m);
    expect(artifacts().map(({sizeBytes}) => sizeBytes)).toEqual(
      expect.arrayContaining([40_000_000, 30_000_000]),
    );
  });

  test('goes through when requests fail for a while', async () => {
    service.setFault({at: 'CreateArtifact', kind: 'unavailable', times: 1, artifact: 'a.base.tar.zst'});
    service.setFault({at: 'upload', kind: 'unavailable', times: 1, artifact: 'a.16406.tar.zst'});
    service.setFault({at: 'upload', kind: 'reset', times: 1, artifact: 'a.pg_wal.tar'});
    service.setFault({at: 'upload', kind: 'cut', times: 1, artifact: 'a.backup_manifest'});
    await storeOf().save(backupOf('a', someFiles, root));
    expect((await contentsOf(await storeOf().find({name: 'a'}))).size).toBe(Object.keys(someFiles).length);
  });

  test.for<[Operation, FaultKind, RegExp]>([
    ['CreateArtifact', 'quota', /Free artifact storage .* lower retention-days, .* storage: directory/],
    ['CreateArtifact', 'name-taken', /\$\{\{ github\.run_attempt \}\} or the time .* into backup-name/],
    ['CreateArtifact', 'forbidden', /refused this run .* storage: directory/],
    ['CreateArtifact', 'reset', /Run the step again/],
    ['FinalizeArtifact', 'forbidden', /refused this run .* storage: directory/],
    ['upload', 'forbidden', /60 minutes/],
  ])('leaves nothing behind after %s: %s', async ([at, kind, cure]) => {
    service.setFault({at, kind, artifact: 'a.pg_wal.tar'});
    const backup = backupOf('a', someFiles, root);
    const error = await failureOf(storeOf().save(backup));
    expect(error.message).toContain(`stays on this runner's disk at ${backup.directory}`);
    expect(error.cure).toMatch(cure);
    expect(error.cause).toBeInstanceOf(Error);
    await waitUntil(() => artifactNames().length === 0, {seconds: 20, what: 'all artifacts to be deleted'});
    expect(existsSync(join(backup.directory, 'base.tar.zst'))).toBe(true);
    expect(process.stdout.write).toBe(capture);
  });

  test('stores no metadata, and deletes the files, when the metadata cannot be stored', async () => {
    service.setFault({at: 'CreateArtifact', kind: 'quota', artifact: 'a.json'});
    await failureOf(storeOf().save(backupOf('a', someFiles, root)));
    expect(artifactNames()).toEqual([]);
    expect(requestsOf('DeleteArtifact').length).toBe(4);
  });

  test('names the artifacts that it could not delete again', async () => {
    service.setFault({at: 'CreateArtifact', kind: 'quota', artifact: 'a.json'});
    service.setFault({at: 'DeleteArtifact', kind: 'forbidden', artifact: 'a.base.tar.zst'});
    const error = await failureOf(storeOf().save(backupOf('a', someFiles, root)));
    expect(error.message).toMatch(/Delete these artifacts by hand.*: a\.base\.tar\.zst\.$/);
  });

  test('does not delete the artifact of somebody else that has the name', async () => {
    await service.addArtifact({run: thisRun, name: 'A.BASE.tar.zst', content: 'another backup'});
    const error = await failureOf(storeOf().save(backupOf('a', someFiles, root)));
    expect(error.cure).toContain('backup-name');
    await waitUntil(() => artifactNames().length === 1, {seconds: 20, what: 'ours to be deleted'});
    expect(artifactNames()).toEqual(['A.BASE.tar.zst']);
  });

  test('deletes what it stored when the run is cancelled, and what is stored after that', async () => {
    const controller = new AbortController();
    service.setFault({at: 'upload', kind: 'hang', artifact: 'a.base.tar.zst'});
    const backup = backupOf('a', someFiles, root);
    const saving = failureOf(storeOf({signal: controller.signal}).save(backup));
    await waitUntil(() => artifactNames().length === 3, {seconds: 20, what: 'the other files'});
    controller.abort(new Error('Cancelled by SIGINT.'));
    const error = await saving;
    expect(artifactNames()).toEqual([]);
    expect(error.message).toContain(backup.directory);
    expect(error.cause).toBe(controller.signal.reason);
    const finishes = (): number => requestsOf('FinalizeArtifact').length;
    const before = finishes();
    service.clearFaults();
    await waitUntil(() => finishes() > before, {seconds: 20, what: 'the upload that hung to end'});
    await waitUntil(() => artifactNames().length === 0, {seconds: 20, what: 'it to be deleted'});
  });

  test('fails when a file is not what the metadata says', async () => {
    const backup = backupOf('a', someFiles, root);
    writeFileSync(join(backup.directory, 'base.tar.zst'), 'the CLUSTER');
    const error = await failureOf(storeOf().save(backup));
    expect(String(error.cause)).toMatch(/a\.base\.tar\.zst was stored with 11 bytes and SHA-256/);
    await waitUntil(() => artifactNames().length === 0, {seconds: 20, what: 'all artifacts to be deleted'});
  });

  test('stores nothing when a file is missing or too short', async () => {
    const short = backupOf('a', someFiles, root);
    writeFileSync(join(short.directory, 'pg_wal.tar'), '');
    expect(String((await failureOf(storeOf().save(short))).cause)).toMatch(
      /pg_wal\.tar has 0 bytes instead of 19/,
    );
    const absent = backupOf('a', someFiles, root);
    rmSync(join(absent.directory, 'pg_wal.tar'));
    expect(String((await failureOf(storeOf().save(absent))).cause)).toMatch(/pg_wal\.tar cannot be read/);
    expect(artifactNames()).toEqual([]);
  });
});

describe('checking a name', () => {
  test('takes a free one', async () => {
    await stored('nightly.2');
    await storeOf().checkName('nightly');
  });

  test('refuses what artifacts cannot be called', async () => {
    const error = await failureOf(storeOf().checkName('at 12:30'));
    expect(error.message).toContain('":"');
    expect(error.cure).toContain('%H%M%S');
  });

  test('refuses one that this run has already, whatever its case', async () => {
    await stored('Nightly');
    const error = await failureOf(storeOf().checkName('nightly'));
    expect(error.message).toContain('Nightly.json');
    expect(error.cure).toContain('github.run_attempt');
  });

  test('is not misled by another run', async () => {
    await stored('nightly', {run: anotherRun()});
    await storeOf().checkName('nightly');
  });

  test('says what to do where there are no artifacts', async () => {
    const elsewhere = {serverUrl: 'https://github.example.com', repository: nameOf(thisRun), runId: 1};
    expect((await failureOf(storeOf({thisRun: elsewhere}).checkName('a'))).cure).toContain(
      'storage: directory',
    );
    delete process.env.ACTIONS_RUNTIME_TOKEN;
    const error = await failureOf(storeOf().checkName('a'));
    expect(error.message).toContain('ACTIONS_RUNTIME_TOKEN');
    expect(error.cure).toContain('storage: directory');
  });
});

describe('in this run', () => {
  test('a backup comes back as it was stored', async () => {
    const backup = backupOf('a', someFiles, root);
    await storeOf().save(backup);
    const found = await storeOf().find({name: 'a'});
    expect(found).toMatchObject({
      name: 'a',
      location: `artifacts of run ${thisRun.runId}`,
      metadata: backup.metadata,
    });
    const scratch = directory();
    const contents = await contentsOf(found, scratch);
    expect(readdirSync(scratch)).toEqual([]);
    expect([...contents.keys()].sort()).toEqual(Object.keys(someFiles).sort());
    for (const [name, content] of Object.entries(someFiles)) expect(contents.get(name)).toBe(content);
  });

  test('the newest one that fits is found', async () => {
    await stored('weekly-1', {createdAt: new Date('2026-11-03')});
    await stored('nightly-2', {createdAt: new Date('2026-11-02')});
    await stored('nightly-1', {createdAt: new Date('2026-11-01')});
    await stored('nightly[x]', {createdAt: new Date('2026-10-01')});
    await service.addArtifact({run: thisRun, name: 'report.json', content: '{}'});
    expect((await storeOf().find({name: 'latest'})).name).toBe('weekly-1');
    expect((await storeOf().find({name: 'nightly-*'})).name).toBe('nightly-2');
    expect((await storeOf().find({name: 'nightly?1'})).name).toBe('nightly-1');
    expect((await storeOf().find({name: 'nightly[x]*'})).name).toBe('nightly[x]');
    expect((await storeOf().find({name: 'nightly-1'})).name).toBe('nightly-1');
  });

  test('what is there is listed when nothing fits', async () => {
    const none = await failureOf(storeOf().find({name: 'latest'}));
    expect(none.message).toContain('There are none at all');
    expect(none.cure).toMatch(/run-id.*github-token.*actions: read/);
    await stored('nightly');
    const other = await failureOf(storeOf().find({name: 'weekly'}));
    expect(other.message).toMatch(/No backup named weekly .* run \d+\. There are: nightly\.$/);
  });

  test('a backup that misses a file is refused', async () => {
    await stored('a', {without: 'pg_wal.tar'});
    expect((await failureOf(storeOf().find({name: 'a'}))).message).toContain('a.pg_wal.tar');
  });

  test('metadata that is damaged is refused', async () => {
    await service.addArtifact({run: thisRun, name: 'a.base.tar', content: 'x'});
    await service.addArtifact({run: thisRun, name: 'a.json', content: '{"schemaVersion": 1'});
    expect((await failureOf(storeOf().find({name: 'latest'}))).message).toContain('Artifact a.json is not');
  });

  test('a file that arrives damaged is refused, and nothing of it kept', async () => {
    await stored('a');
    const found = await storeOf().find({name: 'a'});
    service.setFault({at: 'download', kind: 'corrupt', artifact: 'a.pg_wal.tar'});
    const scratch = directory();
    const error = await failureOf(contentsOf(found, scratch));
    expect(error.message).toContain('artifact a.pg_wal.tar arrived damaged');
    await waitUntil(() => readdirSync(scratch).length === 0, {
      seconds: 20,
      what: 'the directory to be empty',
    });
  });

  test('a download that GitHub refuses is a clear error', async () => {
    await stored('a');
    const found = await storeOf().find({name: 'a'});
    service.setFault({at: 'GetSignedArtifactURL', kind: 'forbidden', artifact: 'a.base.tar.zst'});
    const error = await failureOf(contentsOf(found));
    expect(error.message).toContain('Artifact a.base.tar.zst could not be downloaded');
  });

  test('a download ends when the run is cancelled', async () => {
    const controller = new AbortController();
    await stored('a');
    const found = await storeOf({signal: controller.signal}).find({name: 'a'});
    service.setFault({at: 'GetSignedArtifactURL', kind: 'hang', artifact: 'a.base.tar.zst'});
    const scratch = directory();
    const fetching = contentsOf(found, scratch).catch((error: unknown) => error);
    await waitUntil(
      () => requestsOf('GetSignedArtifactURL').some(({artifact}) => artifact === 'a.base.tar.zst'),
      {seconds: 20, what: 'a download'},
    );
    controller.abort(new Error('Cancelled by SIGINT.'));
    expect(await fetching).toBe(controller.signal.reason);
  });

  // The client notices after 30 seconds of silence, and waits 5 more.
  test('a download whose connection is cut half-way is begun again', async () => {
    const files = {'base.tar': randomBytes(3_000_000)};
    await storeOf().save(backupOf('a', files, root));
    const found = await storeOf().find({name: 'a'});
    service.setFault({at: 'download', kind: 'cut', times: 1, artifact: 'a.base.tar'});
    expect((await contentsOf(found)).get('base.tar')).toBe(files['base.tar'].toString('latin1'));
  });
});

describe('in another run', () => {
  test('a backup that was stored there comes back', async () => {
    Object.assign(process.env, service.envOf(anotherRun()));
    await storeOf({
      thisRun: {serverUrl: 'https://github.com', repository: nameOf(thisRun), runId: 7},
    }).save(backupOf('a', someFiles, root));
    Object.assign(process.env, service.envOf(thisRun));
    await failureOf(storeOf().find({name: 'a'}));
    const found = await fromElsewhere(7).find({name: 'latest'});
    expect(found.location).toBe(`artifacts of run 7 of octo-org/${thisRun.repository}`);
    expect((await contentsOf(found)).get('pg_wal.tar')).toBe('the write-ahead log');
  });

  test('a backup of another repository is found', async () => {
    await stored('a', {run: anotherRepository()});
    const repository = nameOf(anotherRepository());
    const found = await fromElsewhere(7, {repository}).find({name: 'a'});
    expect(found.location).toBe(`artifacts of run 7 of octo-org/${thisRun.repository}-other`);
    await contentsOf(found);
    expect((await fromElsewhere('latest', {repository}).find({name: '*'})).name).toBe('a');
  });

  test('the API may fail for a while', async () => {
    await stored('a', {run: anotherRun()});
    service.setFault({at: 'rest-list', kind: 'unavailable', times: 1});
    service.setFault({at: 'rest-download', kind: 'reset', times: 1});
    expect((await fromElsewhere(7).find({name: 'a'})).name).toBe('a');
  });

  test('a token is asked for', async () => {
    const error = await failureOf(storeOf({runId: 7}).find({name: 'a'}));
    expect(error.cure).toContain('github.token');
    expect((await failureOf(storeOf({runId: 'latest'}).find({name: 'a'}))).cure).toContain('github-token');
  });

  test('a repository without a run is not guessed at', async () => {
    const repository = nameOf(anotherRepository());
    expect((await failureOf(storeOf({repository, token: 'x'}).find({name: 'a'}))).cure).toContain('run-id');
  });

  test('what the API refuses is explained', async () => {
    await stored('a', {run: anotherRun()});
    expect((await failureOf(fromElsewhere(1).find({name: 'a'}))).cure).toContain('Check run-id');
    expect((await failureOf(fromElsewhere(7, {token: 'wrong'}).find({name: 'a'}))).cure).toContain(
      'not valid',
    );
    service.setFault({at: 'rest-list', kind: 'forbidden'});
    const error = await failureOf(fromElsewhere(7).find({name: 'a'}));
    expect(error.cure).toContain('actions: read');
    expect(`${error.message} ${String(error.cause)} ${output}`).not.toContain(service.token);
  });

  test('a file that has expired makes a backup unfit', async () => {
    await stored('a', {run: anotherRun()});
    service.expire('a.base.tar.zst');
    const error = await failureOf(fromElsewhere(7).find({name: 'a'}));
    expect(error.message).toMatch(/a\.base\.tar\.zst .* has expired/);
  });
});

describe('run-id: latest', () => {
  test('finds the newest unexpired backup of the repository, on whichever page it is', async () => {
    const runs = [1, 2, 3, 4].map((runId) => ({...thisRun, runId}));
    await stored('old', {run: runs[0], createdAt: new Date('2026-11-01')} as Seed);
    await stored('newer', {run: runs[1], createdAt: new Date('2026-11-02')} as Seed);
    await stored('expired', {run: runs[2], createdAt: new Date('2026-11-03'), expired: true} as Seed);
    await stored('poisoned', {run: runs[3], createdAt: new Date('2026-11-04'), fromFork: true} as Seed);
    await service.addArtifact({
      run: thisRun,
      name: 'report.json',
      content: '{}',
      createdAt: new Date('2026-11-05'),
    });
    const found = await fromElsewhere('latest').find({name: 'latest'});
    expect(found.name).toBe('newer');
    expect(found.location).toBe(`artifacts of run 2 of octo-org/${thisRun.repository}`);
    expect((await fromElsewhere('latest').find({name: 'o*'})).name).toBe('old');
    expect((await fromElsewhere('latest').find({name: 'old'})).name).toBe('old');
    await contentsOf(found);
  });

  test('lists what there is when nothing fits', async () => {
    await stored('nightly', {run: anotherRun()});
    const error = await failureOf(fromElsewhere('latest').find({name: 'weekly*'}));
    expect(error.message).toMatch(/repository octo-org\/repo-\d+\. There are: nightly\.$/);
    await stored('poisoned', {run: anotherRepository(), fromFork: true});
    const repository = nameOf(anotherRepository());
    const nothing = await failureOf(fromElsewhere('latest', {repository}).find({name: 'latest'}));
    expect(nothing.message).toContain('There are none at all');
  });
});
