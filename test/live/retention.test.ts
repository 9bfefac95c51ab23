import {createHash} from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import type {Metadata} from '../../src/backup-set/metadata.js';
import {parseProof} from '../../src/backup-set/proof-file.js';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {backUp, backupInputs, restore, restoreInputs, writeScript} from '../support/steps.js';
import {copyOf, fingerprint, makeWorkspace, type Workspace} from '../support/workspace.js';

const backupsOf = (home: Workspace) => join(home.directory, 'backups');
const namesIn = (home: Workspace) => readdirSync(backupsOf(home)).sort();
const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();

/** Puts a backup into a workspace that is as good as one made at that time: the real one's metadata, under a new name. */
function seed(home: Workspace, name: string, changes: Partial<Metadata> = {}): void {
  const metadata = JSON.parse(readFileSync(join(backupsOf(home), 'nightly.json'), 'utf8')) as Metadata;
  mkdirSync(join(backupsOf(home), name));
  writeFileSync(join(backupsOf(home), name, 'base.tar'), 'the cluster');
  writeFileSync(join(backupsOf(home), `${name}.json`), JSON.stringify({...metadata, name, ...changes}));
}

/** Writes what a run that proved a backup would have written. */
function prove(home: Workspace, name: string, reached: readonly string[]): void {
  const sha256 = createHash('sha256')
    .update(readFileSync(join(backupsOf(home), `${name}.json`)))
    .digest('hex');
  const proof = {
    schemaVersion: 1,
    name,
    metadataSha256: sha256,
    proof: reached.at(-1),
    reached,
    checks: [],
    provenAt: daysAgo(1),
    by: 'restore',
  };
  writeFileSync(join(backupsOf(home), `${name}.proof.json`), JSON.stringify(proof));
}

const proofIn = (home: Workspace, name: string) =>
  parseProof(readFileSync(join(backupsOf(home), `${name}.proof.json`), 'utf8'));

describeWithPostgres('backups in a directory', () => {
  let source: Cluster;
  let original: Workspace;
  let home: Workspace;

  beforeAll(async () => {
    source = await createCluster();
    original = makeWorkspace();
    await backUp(source, original);
    return () => Promise.all([source.remove(), original.remove()]);
  });

  beforeEach(() => {
    home = copyOf(original);
  });

  const prune = (more: Record<string, string>): Promise<ActionResult> =>
    runAction(
      backupInputs(source, {'backup-name': 'nightly-%Y%m%d-%H%M%S', 'keep-names': 'nightly*', ...more}),
      {workspace: home},
    );

  test('go when no rule keeps them, and nothing else does; a dry run tells it first', async () => {
    for (const days of [1, 2, 3, 40, 41]) seed(home, `nightly-${days}`, {finishedAt: daysAgo(days)});
    prove(home, 'nightly-41', ['started', 'consistent', 'recovered']);
    prove(home, 'nightly-3', ['transferred', 'manifest-verified']);
    seed(home, 'nightly-foreign', {finishedAt: daysAgo(50), systemIdentifier: '1'});
    seed(home, 'before-migration', {finishedAt: daysAgo(60)});
    mkdirSync(join(backupsOf(home), 'nightly-by-hand'));
    mkdirSync(join(backupsOf(home), 'nightly-2_tablespaces', '16400'), {recursive: true});
    // Two removals that were interrupted, one of another kind.
    for (const name of ['nightly-half', 'weekly-half']) {
      seed(home, name);
      renameSync(join(backupsOf(home), `${name}.json`), join(backupsOf(home), `${name}.removing`));
    }
    const before = fingerprint(backupsOf(home));

    const planned = succeeded(await prune({'keep-last': '2', 'dry-run': 'true'}));
    expect(fingerprint(backupsOf(home))).toEqual(before);
    expect(planned.outputs['pruned-backups']).toBe('nightly-1,nightly-2,nightly-3,nightly-40');
    expect(planned.stdout).toMatch(/Stays: nightly-41, finished .*: newest verified/);
    expect(planned.stdout).toMatch(/Would go: nightly-40, finished/);
    expect(planned.stdout).toMatch(/Stays: before-migration, finished .*: its name is of another kind/);
    expect(planned.stdout).toMatch(/Stays: nightly-foreign, finished .*: of another system/);
    expect(planned.summary).toMatch(/`nightly-40` .*\*\*would go/);

    const pruned = succeeded(await prune({'keep-last': '2'}));
    const made = pruned.outputs['backup-name'] ?? '';
    expect(pruned.outputs['pruned-backups']).toBe('nightly-1,nightly-2,nightly-3,nightly-40');
    expect(pruned.warnings).toEqual([]);
    expect(namesIn(home)).toEqual(
      [
        ...['before-migration', 'nightly', 'nightly-foreign', made].flatMap((name) => [name, `${name}.json`]),
        ...['nightly-41', 'nightly-41.json', 'nightly-41.proof.json', 'nightly-by-hand'],
        ...['weekly-half', 'weekly-half.removing'],
      ].sort(),
    );
    expect(pruned.summary).toMatch(/`nightly-40` .*\*\*gone/);
    expect(pruned.summary).toMatch(/3 stay, 4 gone; 2 of other/);

    // The backup itself is as good as any other.
    expect((await restore(home, {'backup-name': made})).outputs.proof).toBe('recovered');
  });

  test('of another kind stay: that of backup-name, as its codes tell', async () => {
    seed(home, 'nightly-20260101-000000', {finishedAt: daysAgo(20)});
    seed(home, 'nightly-weekly', {finishedAt: daysAgo(20)});
    const pruned = succeeded(await prune({'keep-last': '1', 'keep-names': ''}));
    expect(pruned.outputs['pruned-backups']).toBe('nightly-20260101-000000');
    expect(namesIn(home)).toContain('nightly-weekly.json');
  });

  test('stay when the new one fails', async () => {
    seed(home, 'nightly-1', {finishedAt: daysAgo(1)});
    const before = fingerprint(backupsOf(home));
    expect(failure(await prune({'keep-last': '1', user: 'nobody-of-that-name'}))).toContain('nobody');
    expect(fingerprint(backupsOf(home))).toEqual(before);
  });

  test('stay when one cannot be read, with a warning, because it may need another', async () => {
    seed(home, 'nightly-1', {finishedAt: daysAgo(1)});
    seed(home, 'nightly-newer', {schemaVersion: 2 as 1});
    const pruned = succeeded(await prune({'keep-last': '1'}));
    expect(pruned.warnings.join('\n')).toMatch(/No older backup was removed.*: nightly-newer\./s);
    expect(namesIn(home)).toContain('nightly-1.json');
    expect(pruned.outputs).not.toHaveProperty('pruned-backups');
  });

  test('go but for tablespaces that were put elsewhere, which a warning names', async () => {
    seed(home, 'nightly-1', {finishedAt: daysAgo(1)});
    const elsewhere = join(home.directory, 'elsewhere');
    mkdirSync(elsewhere);
    mkdirSync(join(backupsOf(home), 'nightly-1', 'pg_tblspc'));
    symlinkSync(elsewhere, join(backupsOf(home), 'nightly-1', 'pg_tblspc', '16400'));
    const pruned = succeeded(await prune({'keep-last': '1'}));
    expect(pruned.warnings.join('\n')).toContain(elsewhere);
    expect(existsSync(elsewhere)).toBe(true);
    expect(namesIn(home)).not.toContain('nightly-1');
  });

  test('are found by latest-verified once a restore has proven one, and not before', async () => {
    const wanted = {'backup-name': 'latest-verified'};
    const none = failure(await runAction(restoreInputs(wanted), {workspace: home}));
    expect(none).toMatch(/No backup .* is proven to restore\. There are 1, the newest is nightly\./);

    succeeded(await runAction({...restoreInputs(), mode: 'verify'}, {workspace: home}));
    expect(proofIn(home, 'nightly')).toMatchObject({proof: 'manifest-verified', by: 'verify'});
    expect(failure(await runAction(restoreInputs(wanted), {workspace: home}))).toContain(
      'proven manifest-verified alone',
    );

    await runAction(restoreInputs({'dry-run': 'true'}), {workspace: home});
    expect(proofIn(home, 'nightly')?.by).toBe('verify');

    await restore(home, {'data-directory': `${home.temp}/first`});
    const sha256 = createHash('sha256')
      .update(readFileSync(join(backupsOf(home), 'nightly.json')))
      .digest('hex');
    expect(proofIn(home, 'nightly')).toMatchObject({
      name: 'nightly',
      metadataSha256: sha256,
      proof: 'recovered',
      by: 'restore',
      checks: ['manifest'],
      serverVersion: expect.stringContaining('PostgreSQL'),
      runUrl: 'https://github.com/octo-org/octo-repo/actions/runs/4242/attempts/1',
    });

    // A newer one that nobody has restored, and one with the proof of another.
    seed(home, 'nightly-newer', {finishedAt: daysAgo(-0.01)});
    seed(home, 'nightly-other', {finishedAt: daysAgo(-0.02)});
    prove(home, 'nightly-newer', ['recovered']);
    renameSync(
      join(backupsOf(home), 'nightly-newer.proof.json'),
      join(backupsOf(home), 'nightly-other.proof.json'),
    );
    // What says less does not take its place.
    const verified = succeeded(
      await runAction({...restoreInputs(wanted), mode: 'verify'}, {workspace: home}),
    );
    expect(verified.outputs['backup-name']).toBe('nightly');
    expect(proofIn(home, 'nightly')).toHaveProperty('proof', 'recovered');
  });

  test('are no longer found by latest-verified when a step finds them damaged, until one finds them whole', async () => {
    seed(home, 'nightly-older', {finishedAt: daysAgo(1)});
    for (const name of ['nightly', 'nightly-older']) prove(home, name, ['started', 'recovered']);
    const newest = {'backup-name': 'latest-verified'};
    const chosen = async () =>
      succeeded(await runAction(restoreInputs({...newest, 'dry-run': 'true'}), {workspace: home})).outputs[
        'backup-name'
      ];
    // What fails for another reason says nothing of the backup.
    const doubted = restoreInputs({...newest, 'check-sql': 'select false'});
    expect(failure(await runAction(doubted, {workspace: home}))).toContain('check-sql');
    const programs = join(home.root, 'programs');
    mkdirSync(programs);
    for (const [script, says] of [
      ['kill -9 $$', /base\.tar\.zst could not be .* damaged is not known/],
      ['echo spoilt >&2; exit 1', /The backup is damaged: /],
    ] as const) {
      writeScript(join(programs, 'zstd'), [script]);
      for (const mode of ['restore', 'verify']) {
        const ended = await runAction({...restoreInputs(newest), mode}, {workspace: home, programs});
        expect(failure(ended)).toMatch(says);
      }
    }
    expect(await chosen()).toBe('nightly');

    const archive = join(backupsOf(home), 'nightly', 'pg_wal.tar');
    const whole = readFileSync(archive);
    const spoilt = Buffer.from(whole);
    spoilt.writeUInt8(spoilt.readUInt8(5000) ^ 1, 5000);
    for (const by of ['restore', 'verify']) {
      writeFileSync(archive, spoilt);
      prove(home, 'nightly', ['started', 'recovered']);
      const refused = await runAction({...restoreInputs(newest), mode: by}, {workspace: home});
      expect(failure(refused)).toContain('pg_wal.tar: its SHA-256');
      expect(refused.warnings.join()).toMatch(
        /nightly: .*pg_wal\.tar: its SHA-256 .*\nnightly\.proof\.json notes it/,
      );
      expect(refused.summary).toContain('🔴 No: damaged');
      expect(refused.summary).toContain('run mode: verify with backup-name: nightly');
      expect(proofIn(home, 'nightly')).toMatchObject({by, damage: expect.stringContaining('pg_wal.tar')});
      const next = succeeded(
        await runAction(restoreInputs({...newest, 'dry-run': 'true'}), {workspace: home}),
      );
      expect(next.outputs['backup-name']).toBe('nightly-older');
      expect(next.warnings.join()).toMatch(
        /passes over nightly, which is newer: it was found damaged at .*pg_wal/,
      );
    }
    // What holds no longer tells what did.
    expect(proofIn(home, 'nightly')).toMatchObject({endedProof: {proof: 'recovered'}});
    writeFileSync(archive, whole);
    succeeded(await runAction({...restoreInputs(), mode: 'verify'}, {workspace: home}));
    expect(proofIn(home, 'nightly')).toMatchObject({proof: 'recovered', confirmedAt: expect.any(String)});
    expect(await chosen()).toBe('nightly');
    rmSync(join(backupsOf(home), 'nightly', 'base.tar.zst'));
    for (const mode of ['restore', 'verify']) {
      expect(failure(await runAction({...restoreInputs(), mode}, {workspace: home}))).toContain(
        'base.tar.zst: it is missing',
      );
      expect(proofIn(home, 'nightly')).toMatchObject({by: mode, damage: expect.stringContaining('missing')});
    }
  });

  test('that are proven are refused when they are too old', async () => {
    seed(home, 'nightly-old', {finishedAt: daysAgo(3)});
    prove(home, 'nightly-old', ['recovered']);
    const inputs = {...restoreInputs({'backup-name': 'latest-verified'}), mode: 'verify'};
    const old = failure(await runAction({...inputs, 'max-backup-age': '26h'}, {workspace: home}));
    expect(old).toContain('72.0 hours old');
    const allowed = {...inputs, 'max-backup-age': '4d', 'dry-run': 'true'};
    expect(succeeded(await runAction(allowed, {workspace: home})).outputs['backup-name']).toBe('nightly-old');
  });

  test('get no proof where nothing tells one from another: made by hand, without metadata', async () => {
    renameSync(join(backupsOf(home), 'nightly.json'), join(home.directory, 'kept.json'));
    succeeded(await runAction({...restoreInputs(), mode: 'verify'}, {workspace: home}));
    expect(namesIn(home)).toEqual(['nightly']);
  });

  test('are verified all the same where the proof cannot be written, with a warning', async () => {
    mkdirSync(join(backupsOf(home), 'nightly.proof.json'));
    const verified = succeeded(await runAction({...restoreInputs(), mode: 'verify'}, {workspace: home}));
    expect(verified.outputs.proof).toBe('manifest-verified');
    expect(verified.warnings.join('\n')).toMatch(
      /proven manifest-verified, but the proof could not be stored/,
    );
    expect(namesIn(home).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });
});
