import {createReadStream} from 'node:fs';
import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import {type CatalogEntry, damagedIn, newestFirst} from '../backup-set/catalog.js';
import {type FullEvery, whyFullIsDue} from '../backup-set/chain.js';
import {type DecryptionRequest, openDecryption} from '../backup-set/encryption/decryption.js';
import {isEncrypted} from '../backup-set/encryption/names.js';
import {lsnPosition, type Manifest, parseManifest} from '../backup-set/manifest.js';
import {manifestName, manifestNameIn} from '../backup-set/manifest-text.js';
import type {Metadata, ParentLink} from '../backup-set/metadata.js';
import {messageOf, PassingError, UserError} from '../errors.js';
import type {Finding} from '../finding.js';
import {CommandError, type Host} from '../host/host.js';
import type {ServerFacts} from '../postgres/facts.js';
import type {WalSummaries} from '../postgres/readiness.js';
import {majorOf} from '../postgres/version.js';
import {followChain} from '../store/chain.js';
import type {FoundBackup, Store} from '../store/store.js';

/** What an incremental backup builds on. */
export interface Parent {
  /** What the metadata of the incremental backup say of it. */
  readonly link: ParentLink;
  /** Its `backup_manifest`, alone in a directory of this runner: all that pg_basebackup needs of it. */
  readonly manifestPath: string;
  /** All that a restore needs before the incremental backup, the full one first, the parent last. */
  readonly chain: readonly Pick<Metadata, 'name' | 'startedAt'>[];
}

/** For people: what an incremental backup builds on. */
export function describeParent({link, chain}: Parent): string {
  return `the changes since ${link.name} began, number ${chain.length + 1} of a chain that begins with ${chain[0]?.name}`;
}

/** What a parent is chosen by. */
export interface ParentQuestion {
  readonly every: FullEvery;
  readonly server: Pick<ServerFacts, 'systemIdentifier' | 'versionNumber'>;
  /** Undefined where nobody could ask: then the server answers when the backup is begun. */
  readonly summaries: WalSummaries | undefined;
  readonly store: Store;
  /** What an encrypted manifest is opened with. */
  readonly decryption: DecryptionRequest;
  readonly runner: Host;
  /** Takes files that outlive no step. */
  readonly scratchDirectory: string;
}

/**
 * Chooses the newest backup of the server's system in the store, so that what has changed since then is all that is
 * backed up. Where there is none that can be built on, there is a finding instead: a warning, because what was asked
 * for is not what is done. The manifest comes from the store and not from a cache: there it lies beside the backup that
 * it is of, as long as that one, for every runner, whereas a cache is evicted, apart for each branch, and may be of a
 * backup that is gone.
 */
export async function chooseParent(
  question: ParentQuestion,
): Promise<{readonly parent: Parent} | {readonly finding: Finding}> {
  try {
    requireSummaries(question);
    return {parent: await findParent(question)};
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return {finding: fullInstead(error)};
  }
}

/** The finding that a full backup is taken where an incremental one was asked for. */
export function fullInstead(reason: UserError): Finding {
  const observed = `a full backup is taken instead of an incremental one: ${messageOf(reason)}`;
  return {level: 'warning', subject: 'Incremental', observed, cure: reason.cure};
}

/**
 * Whether a backup failed because the server does not build on its parent: that is judged between the upload of the
 * manifest and the first byte (pg_basebackup.c, BaseBackup, versions 17 and 18; LC_MESSAGES=C). Why, it may say in any
 * language.
 */
export function refusesParent(error: unknown): error is UserError {
  if (!(error instanceof UserError) || error instanceof PassingError) return false;
  const {cause} = error;
  return (
    cause instanceof CommandError &&
    /could not upload manifest|could not initiate base backup|server does not support incremental backup/.test(
      cause.stderr,
    )
  );
}

/** Makes a parent's manifest readable where pg_basebackup runs, and returns its path there. */
export async function placeManifest({manifestPath}: Parent, host: Host): Promise<string> {
  return join(await host.receive(dirname(manifestPath), '/tmp/incremental'), manifestName);
}

function requireSummaries({server, summaries}: ParentQuestion): void {
  const major = majorOf(server.versionNumber);
  if (major < 17)
    throw new UserError(
      `the server is PostgreSQL ${major}, and 17 is the first that takes incremental ones.`,
      'Leave incremental out for this server.',
    );
  if (summaries?.isOn === false)
    throw new UserError(
      'summarize_wal is off, so that the server does not note down what has changed.',
      'On the server run: ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();',
    );
}

async function findParent(question: ParentQuestion): Promise<Parent> {
  const {store, every, server} = question;
  const found = await findNewest(question);
  const {metadata} = found;
  requireReadable(found.name, metadata, question.decryption);
  const ancestors = await followChain(found, store);
  const chain = [...ancestors.map((one) => one.metadata), metadata];
  const due = whyFullIsDue(chain, every, new Date());
  if (due !== undefined) throw fullIsDue(due);
  requireWalSummaries(metadata, question);
  const {manifestPath, manifest, sha256} = await fetchManifest(found, metadata, question);
  requireSameSystem(metadata, manifest, server.systemIdentifier);
  const {name, startLsn} = metadata;
  const {timeline} = manifest.walRanges.find((range) => range.startLsn === manifest.startLsn) ?? manifest;
  return {link: {name, id: found.id, manifestSha256: sha256, startLsn, timeline}, manifestPath, chain};
}

type Newest = FoundBackup & {readonly id: string; readonly metadata: Metadata};

async function findNewest({store, server}: ParentQuestion): Promise<Newest> {
  const {systemIdentifier} = server;
  const {entries} = await store.list();
  const [newest] = newestFirst(entries.filter((entry) => entry.systemIdentifier === systemIdentifier));
  if (newest === undefined)
    throw new UserError(
      `the storage has no backup of this system (${systemIdentifier}) yet.`,
      'The next one can build on this one. If there should be one, correct storage and directory.',
    );
  const damaged = damagedIn(newest, entries);
  if (damaged) throw builtOnDamage(newest, damaged);
  const found = await store.findParent(newest);
  const {metadata} = found;
  if (metadata === undefined || found.metadataSha256 !== newest.metadataSha256) throw replaced(newest);
  return {...found, metadata, id: newest.id};
}

function builtOnDamage(newest: CatalogEntry, {name, damage}: CatalogEntry): UserError {
  const what = name === newest.name ? '' : `, which ${newest.name} builds on,`;
  return new UserError(
    `${name}${what} was found damaged at ${damage?.foundAt}.`,
    'The next backup builds on this one. Find out what changed that one: mode: verify.',
  );
}

function replaced({name}: CatalogEntry): UserError {
  return new UserError(
    `${name} was replaced while it was looked at.`,
    'Give the workflows one concurrency group: concurrency: backup',
  );
}

function requireReadable(
  name: string,
  {encryption, files}: Metadata,
  {identities, passphrase}: DecryptionRequest,
): void {
  if (encryption && identities === undefined && passphrase === undefined)
    throw new UserError(
      `${name}, the newest backup of this system, is encrypted, its backup_manifest too, which the server needs.`,
      'Set decrypt-with to the secret key of one of its recipients (decrypt-with: ${{ secrets.BACKUP_KEY }}), or encrypt with passphrase, or leave incremental out.',
    );
  if (manifestNameIn(files.map((file) => file.name)) === undefined)
    throw new UserError(
      `${name}, the newest backup of this system, has no backup_manifest of its own.`,
      'The next one can build on this one.',
    );
}

function fullIsDue(why: string): UserError {
  return new UserError(`it is due by full-every: ${why}.`, 'Nothing needs to be done. full-every says when.');
}

/** A gap further on is the server's to find: it knows its own timelines. */
function requireWalSummaries({name, startLsn}: Metadata, {summaries}: ParentQuestion): void {
  const oldest = summaries?.oldestLsn;
  if (oldest === undefined || lsnPosition(oldest) <= lsnPosition(startLsn)) return;
  throw new UserError(
    `the server's WAL summaries begin at ${oldest}, and ${name} starts at ${startLsn}: what has changed in between is not known.`,
    "Take backups more often than the server forgets (wal_summary_keep_time), or raise that: ALTER SYSTEM SET wal_summary_keep_time = '30d'; SELECT pg_reload_conf();",
  );
}

async function fetchManifest(
  found: FoundBackup,
  {files}: Metadata,
  question: ParentQuestion,
): Promise<{readonly manifestPath: string; readonly manifest: Manifest; readonly sha256: string}> {
  const stored = manifestNameIn(files.map(({name}) => name));
  const file = files.find(({name}) => name === stored);
  if (file === undefined) throw new Error('A backup without a manifest was chosen.');
  try {
    const directory = await mkdtemp(join(question.scratchDirectory, 'parent-'));
    const fetched = await found.fetchFile(file, directory);
    const manifestPath = isEncrypted(file.name) ? await decrypt(fetched, question) : fetched;
    return {
      manifestPath,
      manifest: parseManifest(await readFile(manifestPath, 'utf8')),
      sha256: file.sha256,
    };
  } catch (cause) {
    if (!(cause instanceof UserError)) throw cause;
    throw new UserError(
      `the manifest of ${found.name} cannot be used: ${cause.message}`,
      // Of an encrypted one it is the key, rather, that does not fit.
      isEncrypted(file.name)
        ? cause.cure
        : 'The next backup builds on this one. Find out what changed that one: mode: verify.',
      {cause},
    );
  }
}

/** Decrypts a manifest, in its place: pg_basebackup takes it as a file alone. It tells of files, and holds none. */
async function decrypt(path: string, {decryption, runner}: ParentQuestion): Promise<string> {
  const manifestPath = join(dirname(path), manifestName);
  const {open} = await openDecryption(decryption, runner);
  await writeFile(manifestPath, open(basename(path), createReadStream(path)), {mode: 0o600});
  await rm(path);
  return manifestPath;
}

function requireSameSystem({name, startLsn}: Metadata, manifest: Manifest, systemIdentifier: string): void {
  const wrong =
    manifest.systemIdentifier === undefined
      ? 'it names no system'
      : manifest.systemIdentifier !== systemIdentifier
        ? `it is of system ${manifest.systemIdentifier}, and this server is ${systemIdentifier}`
        : lsnPosition(manifest.startLsn) !== lsnPosition(startLsn)
          ? `it starts at ${manifest.startLsn}, and its metadata say ${startLsn}`
          : undefined;
  if (wrong === undefined) return;
  throw new UserError(
    `the manifest of ${name} is not of that backup: ${wrong}.`,
    'The next backup builds on this one. Find out what changed that one: mode: verify.',
  );
}
