import {createHash} from 'node:crypto';
import {mkdirSync, mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeEach, expect, test} from 'vitest';
import {formatMetadata, type Metadata} from '../../src/backup-set/metadata.js';
import type {ProofLevel} from '../../src/backup-set/proof.js';
import {type Evidence, formatProof, type ProofRecord, parseProof} from '../../src/backup-set/proof-file.js';
import type {ArtifactStoreOptions} from '../../src/store/artifact.js';
import type {Store} from '../../src/store/store.js';
import {metadataOf} from '../support/local-backup.js';
import {type RunOfRepository, type Seed, startResultsService} from '../support/results-service.js';

const root = mkdtempSync(join(tmpdir(), 'artifact-catalog-'));
const temporary = join(root, 'temporary');
mkdirSync(temporary);
const before = {...process.env};
process.env.TMPDIR = temporary;
delete process.env.RUNNER_TEMP;
const service = await startResultsService();
Object.assign(process.env, service.env);
// @actions/github reads GITHUB_API_URL when it is loaded.
const {artifactStore} = await import('../../src/store/artifact.js');

let tests = 0;
let thisRun: RunOfRepository;
const {write} = process.stdout;

afterAll(async () => {
  for (const name of [...Object.keys(service.env), 'TMPDIR', 'RUNNER_TEMP']) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  rmSync(root, {recursive: true});
  await service.stop();
});
beforeEach(() => {
  tests += 1;
  thisRun = {owner: 'octo-org', repository: `repo-${tests}`, runId: 100};
  Object.assign(process.env, service.envOf(thisRun));
  // The artifact client tells everything that it does.
  process.stdout.write = () => true;
});
afterEach(() => {
  process.stdout.write = write;
  service.clearFaults();
  expect(readdirSync(temporary)).toEqual([]);
});

function storeOf(options: Partial<ArtifactStoreOptions> = {}): Store {
  const repository = {owner: thisRun.owner, name: thisRun.repository};
  return artifactStore({
    thisRun: {serverUrl: 'https://github.com', repository, runId: thisRun.runId},
    signal: new AbortController().signal,
    scratchDirectory: temporary,
    token: service.token,
    ...options,
  });
}

function metadataText(name: string, finishedAt: string, more: Partial<Metadata> = {}): string {
  return formatMetadata({
    ...metadataOf(name, files, finishedAt),
    startedAt: finishedAt,
    sizeBytes: 3,
    ...more,
  });
}

const files = {'base.tar.zst': 'x', '16406.tar.zst': 'x', 'pg_wal.tar': 'x', backup_manifest: 'x'};
const day = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * day);

/** Puts a backup of another run into the service, and returns its metadata file. */
async function stored(
  name: string,
  days: number,
  how: Partial<Seed> & {readonly metadata?: Partial<Metadata>; readonly only?: readonly string[]} = {},
): Promise<string> {
  const {metadata = {}, only = [...Object.keys(files), 'json'], ...seed} = how;
  const createdAt = daysAgo(days);
  const json = metadataText(name, createdAt.toISOString(), metadata);
  const run = {...thisRun, runId: 7};
  for (const [file, content] of Object.entries({...files, json})) {
    if (only.includes(file))
      await service.addArtifact({run, createdAt, ...seed, name: `${name}.${file}`, content});
  }
  return json;
}

function proofOf(name: string, metadata: string, reached: readonly ProofLevel[]): ProofRecord {
  return {
    schemaVersion: 1,
    name,
    metadataSha256: createHash('sha256').update(metadata).digest('hex'),
    proof: reached.at(-1) ?? 'transferred',
    reached,
    checks: [],
    provenAt: daysAgo(0).toISOString(),
    by: 'restore',
    serverVersion: null,
    actionRef: null,
    runUrl: null,
  };
}

async function storeProof(proof: Evidence, seed: Partial<Seed> = {}): Promise<void> {
  const run = {...thisRun, runId: 50};
  await service.addArtifact({run, ...seed, name: `${proof.name}.proof.json`, content: formatProof(proof)});
}

const namesLeft = () =>
  service
    .artifacts()
    .filter(({run}) => run.repository === thisRun.repository)
    .map(({name}) => name)
    .sort();

const listed = async (store = storeOf()) => (await store.list()).entries.map(({id}) => id).sort();

/** How many requests some work takes, by what they are for. */
async function requestsOf(work: () => Promise<unknown>): Promise<Record<string, number>> {
  const start = service.requests().length;
  await work();
  const made = Object.groupBy(service.requests().slice(start), ({operation}) => operation);
  return Object.fromEntries(Object.entries(made).map(([operation, those]) => [operation, those.length]));
}

test('the catalog has every complete backup of the repository, and nothing else', async () => {
  await stored('nightly', 2);
  await stored('nightly', 1, {run: {...thisRun, runId: 8}});
  await stored('of-a-fork', 1, {fromFork: true});
  await stored('expired', 1, {expired: true});
  await stored('on-its-way', 1, {only: ['base.tar.zst']});
  await service.addArtifact({run: thisRun, name: 'report.json', content: '{}'});
  await service.addArtifact({run: thisRun, name: 'newer.base.tar', content: 'x'});
  await service.addArtifact({run: thisRun, name: 'newer.json', content: '{"schemaVersion": 2}'});
  const {entries, unreadable, leftovers} = await storeOf().list();
  expect(entries.map(({id}) => id).sort()).toEqual(['7/nightly', '8/nightly']);
  expect(entries[0]).toMatchObject({name: 'nightly', sizeBytes: 3, systemIdentifier: '7391837482910384756'});
  expect(unreadable).toEqual(['newer of run 100']);
  expect(leftovers).toEqual([]);
});

test('the catalog cannot be read without a token', async () => {
  await expect(storeOf({token: undefined}).list()).rejects.toThrow('only with a token');
});

test('a listing reads each metadata file once, and then costs a request for every 100 artifacts', async () => {
  const metadata = await Promise.all(
    Array.from({length: 60}, (_, index) =>
      stored(`nightly-${index}`, index, {only: ['base.tar.zst', 'json']}),
    ),
  );
  await storeProof(proofOf('nightly-3', metadata[3] ?? '', ['started', 'recovered']));
  const first = await requestsOf(async () => expect(await listed()).toHaveLength(60));
  expect(first).toMatchObject({'rest-list': 2, 'rest-download': 61});
  const second = await requestsOf(async () => expect(await listed()).toHaveLength(60));
  expect(second).toEqual({'rest-list': 2, GetCacheEntryDownloadURL: 1, download: 1});

  await stored('nightly-new', 0);
  const third = await requestsOf(async () => {
    const {entries} = await storeOf().list();
    expect(entries.filter(({proof}) => proof).map(({name}) => name)).toEqual(['nightly-3']);
    expect(entries).toHaveLength(61);
  });
  expect(third).toMatchObject({'rest-list': 2, 'rest-download': 1});

  // Without a cache it takes longer, and comes out the same.
  service.setFault({at: 'GetCacheEntryDownloadURL', kind: 'forbidden'});
  expect(await listed()).toHaveLength(61);
});

test('backups of one name are told apart by their proofs, each of which is read once', async () => {
  const runs = [7, 8, 9].map((runId) => ({...thisRun, runId}));
  const metadata: string[] = [];
  for (const [index, run] of runs.entries()) metadata.push(await stored('nightly', 9 - index, {run}));
  for (const [index, text] of metadata.entries())
    await storeProof(proofOf('nightly', text, [index === 1 ? 'recovered' : 'transferred']), {
      run: {...thisRun, runId: 60 + index},
    });
  await storeProof(proofOf('gone', 'the metadata of one that is gone', ['recovered']));
  const cost = await requestsOf(async () => {
    const {entries} = await storeOf().list();
    expect(entries.map(({id, proof}) => `${id} ${proof?.proof}`).sort()).toEqual([
      '7/nightly transferred',
      '8/nightly recovered',
      '9/nightly transferred',
    ]);
  });
  expect(cost['rest-download']).toBe(6);
  const found = await storeOf().find({name: 'latest-verified'});
  expect(found.location).toContain('run 8 ');
});

test('a removal takes the metadata first, all files of that backup, and none of another', async () => {
  await stored('nightly', 3);
  await stored('nightly.2', 2);
  await service.addArtifact({run: {...thisRun, runId: 7}, name: 'nightly.log', content: 'x'});
  const entry = (await storeOf().list()).entries.find(({name}) => name === 'nightly');
  if (entry === undefined) throw new Error('nightly is not listed.');
  const start = service.requests().length;
  await storeOf().remove(entry);
  const deletions = service
    .requests()
    .slice(start)
    .filter(({operation}) => operation === 'rest-other')
    .map(({artifact}) => artifact);
  expect(deletions).toHaveLength(5);
  expect([deletions.at(0), deletions.at(-1)]).toEqual(['nightly.json', 'nightly.base.tar.zst']);
  expect(namesLeft().filter((name) => !name.startsWith('nightly.2.'))).toEqual(['nightly.log']);
  expect(await listed()).toEqual(['7/nightly.2']);
  // Somebody else may have been faster.
  await storeOf().remove(entry);
});

test('a removal that is interrupted leaves no backup, and the next one takes the rest', async () => {
  await stored('nightly', 30);
  await stored('other', 1, {only: ['base.tar.zst', 'backup_manifest']});
  const [entry] = (await storeOf().list()).entries;
  if (entry === undefined) throw new Error('nightly is not listed.');
  service.setFault({at: 'rest-other', kind: 'forbidden', artifact: 'nightly.pg_wal.tar'});
  await expect(storeOf().remove(entry)).rejects.toMatchObject({
    message: 'Artifact nightly.pg_wal.tar could not be deleted.',
    cure: expect.stringContaining('actions: write'),
  });
  service.clearFaults();
  const {entries, leftovers} = await storeOf().list();
  expect(entries).toEqual([]);
  expect(leftovers).toEqual([{id: '7/nightly', name: 'nightly'}]);
  for (const leftover of leftovers) await storeOf().removeLeftover(leftover);
  expect(namesLeft()).toEqual(['other.backup_manifest', 'other.base.tar.zst']);
});

test('a backup is not removed when its metadata are not what was listed', async () => {
  await stored('nightly', 3);
  const [entry] = (await storeOf().list()).entries;
  if (entry === undefined) throw new Error('nightly is not listed.');
  for (const lie of [
    {finishedAt: daysAgo(300).toISOString()},
    {systemIdentifier: '1'},
    {metadataSha256: 'x'},
  ])
    await expect(storeOf().remove({...entry, ...lie})).rejects.toThrow('is not what the catalog says of it');
  expect(namesLeft()).toHaveLength(5);
});

test('the newest backup that was finished by a time is found, and where there is none, the oldest', async () => {
  const older = await stored('older', 5);
  await stored('newer', 4);
  await stored('newest', 3);
  const find = async (name: string, days: number) =>
    (await storeOf({runId: 'latest'}).find({name, finishedBy: daysAgo(days)})).name;
  expect(await find('latest', 3.5)).toBe('newer');
  expect(await find('*', 4)).toBe('newer');
  expect(await find('o*', 3.5)).toBe('older');
  expect(await find('latest', 100)).toBe('older');
  expect(await find('newest', 100)).toBe('newest');
  await storeProof(proofOf('older', older, ['recovered']));
  expect(await find('latest-verified', 3.5)).toBe('older');
  // A run with several of them.
  const ofRun = storeOf({runId: 7});
  expect((await ofRun.find({name: '*', finishedBy: daysAgo(3.5)})).name).toBe('newer');
  expect((await ofRun.find({name: 'latest', finishedBy: daysAgo(100)})).name).toBe('older');
  expect((await ofRun.find({name: 'latest'})).name).toBe('newest');
  // One name in several runs.
  const longAgo = daysAgo(9);
  const json = metadataText('newest', longAgo.toISOString(), {});
  for (const [file, content] of Object.entries({...files, json}))
    await service.addArtifact({
      ...{run: {...thisRun, runId: 8}, createdAt: longAgo},
      ...{name: `newest.${file}`, content},
    });
  const sameName = await storeOf({runId: 'latest'}).find({name: 'newest', finishedBy: daysAgo(8)});
  expect(sameName.metadata?.finishedAt).toBe(longAgo.toISOString());
  await expect(find('weekly*', 3.5)).rejects.toThrow('No backup named weekly* was found');
});

test('the newest proven backup is found, by the proof of any run, and not by that of another backup', async () => {
  const verified = () => storeOf().find({name: 'latest-verified'});
  const older = await stored('older', 5);
  const newer = await stored('newer', 4);
  await stored('newest', 3);
  await expect(verified()).rejects.toThrow(
    /No backup in the artifacts of .* There are 3, the newest is newest\./,
  );
  await storeProof(proofOf('newest', 'the metadata of an earlier one', ['recovered']));
  await storeProof(proofOf('newest', 'and of one in a fork', ['recovered']), {fromFork: true, run: thisRun});
  await storeProof(proofOf('newer', newer, ['transferred', 'manifest-verified']));
  await expect(verified()).rejects.toThrow('is proven to restore');
  await storeProof(proofOf('older', older, ['recovered']));
  expect((await verified()).name).toBe('older');
  await storeProof(proofOf('newer', newer, ['recovered', 'read']), {run: {...thisRun, runId: 51}});
  expect(await verified()).toMatchObject({
    name: 'newer',
    metadataSha256: createHash('sha256').update(newer).digest('hex'),
  });
  const {metadataSha256} = proofOf('newer', newer, []);
  const foundAt = new Date(Date.now() + 1000).toISOString();
  const found = {damage: 'it is missing', foundAt, by: 'verify', actionRef: null, runUrl: null} as const;
  const damage: Evidence = {schemaVersion: 1, name: 'newer', metadataSha256, ...found};
  await storeOf().saveProof(damage);
  expect((await verified()).name).toBe('older');
  const damaged = (await storeOf().list()).entries.find(({name}) => name === 'newer');
  if (damaged === undefined) throw new Error('It is listed no longer.');
  expect(damaged.damage).toMatchObject({...damage, endedProof: {proof: 'read'}});
  await storeOf().remove(damaged);
  expect((await storeOf().list()).entries.map(({name}) => name)).not.toContain('newer');
  // Proofs are no backups.
  expect((await storeOf({runId: 'latest'}).find({name: 'latest'})).name).toBe('newest');
});

test('a proof becomes an artifact of this run, and none that says less takes its place', async () => {
  const metadata = await stored('nightly', 1);
  const levels: readonly (readonly ProofLevel[])[] = [
    ['manifest-verified'],
    ['started', 'recovered'],
    ['manifest-verified'],
  ];
  for (const reached of levels) await storeOf().saveProof(proofOf('nightly', metadata, reached));
  const proofs = service.artifacts().filter(({name}) => name === 'nightly.proof.json');
  expect(proofs.map(({run}) => run.runId)).toContain(thisRun.runId);
  const [last, ...more] = proofs.filter(({run}) => run.repository === thisRun.repository);
  if (last === undefined || more.length > 0) throw new Error(`${more.length} proofs too many, or none`);
  expect(parseProof((await service.contentOf(last)).toString())).toHaveProperty('proof', 'recovered');
});
