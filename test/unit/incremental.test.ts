import {createHash} from 'node:crypto';
import {mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {basename, dirname, join} from 'node:path';
import {generateX25519Identity, identityToRecipient} from 'age-encryption';
import {describe, expect, onTestFinished, test} from 'vitest';
import {chooseParent, type ParentQuestion, refusesParent} from '../../src/backup/parent.js';
import {type CatalogEntry, entryOf, factsOf} from '../../src/backup-set/catalog.js';
import {filesWithoutBase, problemOfLink, whyFullIsDue} from '../../src/backup-set/chain.js';
import {damaged} from '../../src/backup-set/digest.js';
import {openEncryption} from '../../src/backup-set/encryption/encryption.js';
import {parseManifest} from '../../src/backup-set/manifest.js';
import {formatMetadata, type Metadata, parseMetadata} from '../../src/backup-set/metadata.js';
import {UserError} from '../../src/errors.js';
import {CommandError} from '../../src/host/host.js';
import {runner as runnerOf} from '../../src/host/local.js';
import {explain} from '../../src/postgres/failures.js';
import {followChain} from '../../src/store/chain.js';
import type {FoundBackup, Store} from '../../src/store/store.js';
import {metadataOf} from '../support/local-backup.js';
import {manifestText} from '../support/manifest.js';

const system = '7391837482910384756';
const sha256 = (text: string | Buffer) => createHash('sha256').update(text).digest('hex');

const runner = runnerOf(new AbortController().signal, tmpdir());
const [identity, stranger] = [await generateX25519Identity(), await generateX25519Identity()];

/** A stored backup: what its manifest, as it is stored, and its metadata say. */
interface Stored {
  readonly manifest: string | Buffer;
  readonly metadata: Metadata;
}

interface Changes {
  readonly parent?: Stored;
  readonly startLsn?: string;
  readonly systemIdentifier?: string;
  readonly more?: Partial<Metadata>;
}

function stored(name: string, changes: Changes = {}): Stored {
  const {parent, startLsn = '0/2000028', systemIdentifier = system, more} = changes;
  const manifest = manifestText(
    [],
    [{Timeline: 1, 'Start-LSN': startLsn, 'End-LSN': 'A/0'}],
    systemIdentifier,
  );
  const metadata: Metadata = {
    ...metadataOf(name, {'base.tar': name, backup_manifest: manifest}, `2026-11-22T0${startLsn[2]}:00:00Z`),
    startLsn,
    ...(parent && {parent: linkTo(parent)}),
    ...more,
  };
  return {manifest, metadata};
}

/** The same backup as it is stored when it is encrypted for `identity`. */
async function sealed({manifest, metadata}: Stored): Promise<Stored> {
  const recipients = [await identityToRecipient(identity)];
  const {encrypt} = await openEncryption({kind: 'recipients', recipients}, runner);
  const whole = async function* () {
    yield Buffer.from(manifest);
  };
  const pieces: Buffer[] = [];
  for await (const piece of encrypt(whole())) pieces.push(Buffer.from(piece));
  const bytes = Buffer.concat(pieces);
  const {files} = metadataOf(metadata.name, {'base.tar.age': metadata.name, 'backup_manifest.age': bytes});
  const encryption = {format: 'age', recipients: 1, sealed: 'AA=='} as const;
  return {manifest: bytes, metadata: {...metadata, files, encryption}};
}

function linkTo({manifest, metadata: {name, startLsn, timeline}}: Stored): NonNullable<Metadata['parent']> {
  return {name, id: name, manifestSha256: sha256(manifest), startLsn, timeline};
}

/** A store in memory that finds and lists. */
function storeOf(...backups: readonly Stored[]): Store {
  const never = (): never => {
    throw new Error('Nobody has any business with this.');
  };
  const shaOf = ({metadata}: Stored) => sha256(formatMetadata(metadata));
  const entries: CatalogEntry[] = backups.map((one) =>
    entryOf({id: one.metadata.name, name: one.metadata.name}, factsOf(one.metadata, shaOf(one)), []),
  );
  return {
    takesDirectories: true,
    checkName: never,
    save: never,
    find: never,
    saveProof: never,
    saveReport: never,
    remove: never,
    removeLeftover: never,
    list: async () => ({entries, unreadable: [], leftovers: []}),
    async findParent({name}) {
      const found = backups.findLast(({metadata}) => metadata.name === name);
      if (found === undefined) throw new UserError(`There is no backup ${name}.`, 'Look elsewhere.');
      return foundOf(found, shaOf(found));
    },
  };
}

/** The same with one of the backups found damaged. */
function damagedOf(store: Store, damagedName: string): Store {
  const list = async () => {
    const catalog = await store.list();
    const entries = catalog.entries.map((entry) => {
      const {name, metadataSha256} = entry;
      if (name !== damagedName) return entry;
      const found = {damage: 'it is cut', foundAt: '2026-11-24T06:40:00.000Z', by: 'verify'} as const;
      const run = {actionRef: null, runUrl: null};
      return {...entry, damage: {schemaVersion: 1 as const, name, metadataSha256, ...found, ...run}};
    });
    return {...catalog, entries};
  };
  return {...store, list};
}

function foundOf({manifest, metadata}: Stored, metadataSha256: string): FoundBackup {
  return {
    name: metadata.name,
    location: 'memory',
    metadata,
    metadataSha256,
    fetch: () => expect.fail('Nothing but the manifest is needed.'),
    async fetchFile(file, directory) {
      if (sha256(manifest) !== file.sha256) throw damaged(file.name, 'it is not as it was');
      writeFileSync(join(directory, file.name), manifest);
      return join(directory, file.name);
    },
  };
}

const full = stored('full');
const one = stored('one', {parent: full, startLsn: '0/3000028'});
const two = stored('two', {parent: one, startLsn: '0/4000028'});

describe('what an incremental backup builds on', () => {
  const choose = async (store: Store, more: Partial<ParentQuestion> = {}) => {
    const scratchDirectory = mkdtempSync(join(tmpdir(), 'scratch-'));
    onTestFinished(() => rmSync(scratchDirectory, {recursive: true}));
    return chooseParent({
      every: {backups: 10},
      server: {systemIdentifier: system, versionNumber: 170006},
      summaries: {isOn: true, oldestLsn: '0/1000028'},
      store,
      decryption: {},
      runner,
      scratchDirectory,
      ...more,
    });
  };

  test('is the newest backup of the same system, by its manifest alone', async () => {
    const foreign = stored('foreign', {startLsn: '0/9000028', more: {systemIdentifier: '1'}});
    const chosen = await choose(storeOf(two, full, foreign, one));
    if (!('parent' in chosen)) throw new Error(chosen.finding.observed);
    const {link, chain, manifestPath} = chosen.parent;
    expect(link).toEqual(linkTo(two));
    expect(chain.map(({name}) => name)).toEqual(['full', 'one', 'two']);
    expect(basename(manifestPath)).toBe('backup_manifest');
    expect(readFileSync(manifestPath, 'utf8')).toBe(two.manifest);
    // A role that may not look leaves the answer to the server.
    expect(await choose(storeOf(full), {summaries: undefined})).toHaveProperty('parent');
  });

  test('is an encrypted one, by its manifest, which is decrypted where pg_basebackup reads it', async () => {
    const [parent, decryption] = [await sealed(full), {identities: {text: identity}}];
    const chosen = await choose(storeOf(parent), {decryption});
    if (!('parent' in chosen)) throw new Error(chosen.finding.observed);
    const {link, manifestPath} = chosen.parent;
    expect(link).toEqual(linkTo(parent));
    expect(readFileSync(manifestPath, 'utf8')).toBe(full.manifest);
    expect(readdirSync(dirname(manifestPath))).toEqual(['backup_manifest']);
    const child = stored('one', {parent, startLsn: '0/3000028'});
    expect(problemOfLink(child.metadata, parent.metadata)).toBeUndefined();
    expect(problemOfLink(child.metadata, (await sealed(full)).metadata)).toMatch(/has taken its name/);
  });

  test('is nothing with an encrypted one that the keys do not open', async () => {
    const decryption = {identities: {text: stranger}};
    const chosen = await choose(storeOf(await sealed(full)), {decryption});
    if (!('finding' in chosen)) throw new Error('It was an incremental one.');
    expect(chosen.finding.observed).toMatch(/manifest of full cannot be used: .*encrypted for other keys/);
    expect(chosen.finding.cure).toMatch(/^Set decrypt-with to the secret key of one of its recipients/);
  });

  const encrypted = {encryption: {format: 'age', recipients: 1, sealed: 'AA=='}} as const;
  test.for<readonly [string, Store, Partial<ParentQuestion>, RegExp]>([
    [
      'an old server',
      storeOf(full),
      {server: {systemIdentifier: system, versionNumber: 160004}},
      /PostgreSQL 16/,
    ],
    ['summarize_wal off', storeOf(full), {summaries: {isOn: false}}, /summarize_wal is off/],
    ['an empty storage', storeOf(), {}, /no backup of this system \(7391837482910384756\)/],
    [
      'another system',
      storeOf(stored('other', {more: {systemIdentifier: '1'}})),
      {},
      /no backup of this system/,
    ],
    ['an encrypted parent', storeOf(stored('secret', {more: encrypted})), {}, /secret, .* is encrypted/],
    ['no manifest', storeOf(stored('bare', {more: {files: []}})), {}, /bare, .* has no backup_manifest/],
    [
      'a damaged manifest',
      storeOf({...full, manifest: 'x'}),
      {},
      /manifest of full cannot be used: .*not as it was/,
    ],
    ['a foreign manifest', storeOf(stored('full', {systemIdentifier: '12345'})), {}, /it is of system 12345/],
    [
      'lost summaries',
      storeOf(full, one),
      {summaries: {isOn: true, oldestLsn: '0/3000030'}},
      /begin at 0\/3000030/,
    ],
    ['a broken chain', storeOf(one, two), {}, /nothing without full, .*There is no backup full/],
    ['a damaged one', damagedOf(storeOf(full, one), 'one'), {}, /^.*: one was found damaged at 2026-11-24/],
    [
      'one on a damaged one',
      damagedOf(storeOf(full, one, two), 'full'),
      {},
      /full, which two builds on, was found damaged/,
    ],
    ['a long chain', storeOf(full, one, two), {every: {backups: 3}}, /the chain has 3 backups already/],
    [
      'an old full one',
      storeOf(full, one, two),
      {every: {seconds: 60}},
      /beginning of the chain is of 2026-11-22/,
    ],
  ])('is nothing with %s, which is told with a cure', async ([, store, more, reason]) => {
    const chosen = await choose(store, more);
    if (!('finding' in chosen)) throw new Error('It was an incremental one.');
    const {level, observed, cure} = chosen.finding;
    expect(level).toBe('warning');
    expect(observed).toMatch(reason);
    expect(observed).toContain('a full backup is taken instead of an incremental one: ');
    expect(cure).not.toBe('');
  });

  test('a failure that shows that the server does not build on it', () => {
    const failed = (stderr: string) =>
      refusesParent(
        explain('The backup failed', new CommandError('pg_basebackup', 1, stderr), {
          parameters: {},
          environment: {},
        }),
      );
    const gap =
      'WAL summaries are required on timeline 1 from 0/2000028 to 0/4000028, but they are incomplete';
    expect(failed(`pg_basebackup: error: could not initiate base backup: ERROR:  ${gap}`)).toBe(true);
    expect(failed('pg_basebackup: error: could not upload manifest: FEHLER:  irgendwas')).toBe(true);
    expect(
      failed(
        'pg_basebackup: error: could not initiate base backup: server closed the connection unexpectedly',
      ),
    ).toBe(false);
    expect(failed('pg_basebackup: error: could not write file: No space left on device')).toBe(false);
    expect(refusesParent(new Error('could not initiate base backup'))).toBe(false);
  });
});

describe('a chain', () => {
  test('is followed to its full backup', async () => {
    const found = foundOf(two, '');
    expect((await followChain(found, storeOf(full, one))).map(({name}) => name)).toEqual(['full', 'one']);
    expect(await followChain(foundOf(full, ''), storeOf())).toEqual([]);
  });

  test.for<readonly [string, Stored, RegExp]>([
    ['of another system', stored('full', {more: {systemIdentifier: '12345'}}), /of another system: .* 12345/],
    ['without a manifest', stored('full', {more: {files: []}}), /no backup_manifest/],
    ['another of its name', stored('full', {startLsn: '0/2000100'}), /another backup has taken its name/],
    [
      'that starts elsewhere',
      {...full, metadata: {...full.metadata, startLsn: '0/2000100'}},
      /starts at 0\/2000100/,
    ],
  ])('has no member %s', async ([, other, reason]) => {
    await expect(followChain(foundOf(two, ''), storeOf(other, one))).rejects.toThrow(reason);
    expect(problemOfLink(one.metadata, other.metadata)).toMatch(reason);
  });

  test('goes back in time, so that it has an end', () => {
    const itself = {...full.metadata, parent: linkTo(full)};
    expect(problemOfLink(itself, itself)).toContain('which is not before');
  });

  test('has nothing but changes of files that it has', () => {
    const manifestOf = (...paths: string[]) =>
      parseManifest(
        manifestText(
          paths.map((path) => ({Path: path, Size: 1, 'Checksum-Algorithm': 'NONE', Checksum: ''})),
        ),
      );
    const child = manifestOf(
      'base/1/1',
      'base/1/INCREMENTAL.2',
      'base/1/INCREMENTAL.3',
      'base/1/INCREMENTAL.4_vm',
    );
    expect(filesWithoutBase(child, manifestOf('base/1/2', 'base/1/INCREMENTAL.3', 'base/2/4_vm'))).toEqual([
      'base/1/INCREMENTAL.4_vm',
    ]);
  });

  test('is told by metadata and catalog, and by metadata of a stranger only where they are sound', () => {
    const text = formatMetadata(two.metadata);
    expect(parseMetadata(text, 'two.json')).toEqual(two.metadata);
    expect(factsOf(two.metadata, '')).toHaveProperty('parent', 'one');
    expect(factsOf(full.metadata, '')).not.toHaveProperty('parent');
    for (const name of ['../one', 'latest', ''])
      expect(() => parseMetadata(text.replace('"name": "one"', `"name": "${name}"`), 'two.json')).toThrow(
        'parent',
      );
  });
});

test.for<readonly [number, Parameters<typeof whyFullIsDue>[1], string, boolean]>([
  [6, {backups: 7}, '2026-11-22T02:00:00Z', false],
  [7, {backups: 7}, '2026-11-22T02:00:00Z', true],
  [1, {backups: 1}, '2026-11-22T02:00:00Z', true],
  [6, {seconds: 7 * 86_400}, '2026-11-28T02:17:00Z', false],
  // A schedule that comes some minutes early, or a full one that began late.
  [6, {seconds: 7 * 86_400}, '2026-11-29T01:50:00Z', true],
])('after %i backups with full-every %j, at %s a full one is due: %s', ([length, every, now, isDue]) => {
  const chain = Array.from({length}, () => ({startedAt: '2026-11-22T02:17:00Z'}));
  expect(whyFullIsDue(chain, every, new Date(now)) !== undefined).toBe(isDue);
});
