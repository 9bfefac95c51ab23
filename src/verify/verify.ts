import {rm} from 'node:fs/promises';
import {join} from 'node:path';
import {ageSeconds, refuseOld} from '../backup-set/age.js';
import {type BackupFiles, recognise} from '../backup-set/archive.js';
import {damaged} from '../backup-set/digest.js';
import {type Decryption, openDecryption} from '../backup-set/encryption/decryption.js';
import {type Manifest, parseManifest} from '../backup-set/manifest.js';
import {manifestName} from '../backup-set/manifest-text.js';
import {type ProofLevel, proofOfFiles} from '../backup-set/proof.js';
import {walPageBytes} from '../backup-set/wal-page.js';
import {UserError} from '../errors.js';
import type {Host} from '../host/host.js';
import {noteBackup} from '../journal.js';
import {groupedPhase, info, phase, warning} from '../log.js';
import {requireAttestation} from '../provenance/require-attestation.js';
import type {Signer} from '../provenance/verified-attestation.js';
import {followChain} from '../store/chain.js';
import {suspecting} from '../store/damage.js';
import type {FetchedBackup, FoundBackup, Store} from '../store/store.js';
import {unlock} from '../store/unlock.js';
import {manifestInside, verifyArchives} from './archives.js';
import {verifyLast, verifyParents} from './chain.js';
import {checkContents} from './contents.js';
import {verifyDataDirectory} from './data-directory.js';
import {type Examination, startExamination} from './examination.js';
import {Problems} from './problems.js';
import type {VerifyRequest} from './request.js';
import {StoredFiles} from './stored-files.js';

/** What a verification works with. */
export interface VerifySurroundings {
  /** Where the backup's files are read, and where the programs run that decompress them. */
  readonly runner: Host;
  readonly store: Store;
  /** For files that outlive no step. */
  readonly scratchDirectory: string;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/** What a dry run found. */
export interface DryVerification extends Attested {
  readonly mode: 'verify';
  readonly dryRun: true;
  readonly backup: FoundBackup;
}

interface Attested {
  /** Who made the backup, as its attestation tells; undefined when none was demanded. */
  readonly signer?: Signer;
}

/** A backup without a fault, and what was looked at. */
export interface Verified extends Attested {
  readonly mode: 'verify';
  readonly dryRun: false;
  readonly backup: FetchedBackup;
  readonly manifest: Manifest;
  readonly reached: ReadonlySet<ProofLevel>;
  readonly checked: Checked;
  /** The names of those that an incremental backup builds on, the full one first: they were verified, too. */
  readonly parents: readonly string[];
  /** Undefined where nothing tells when the backup was made. */
  readonly backupAgeSeconds: number | undefined;
}

/** How much of a backup was compared. */
export interface Checked {
  readonly files: number;
  /** Bytes of those files. */
  readonly bytes: number;
  /** Bytes that were read, as they are stored. */
  readonly storedBytes: number;
  readonly walSegments: number;
  readonly walRecords: number;
  readonly systemIdentifier: string | undefined;
  readonly seconds: number;
}

/** What a verify step tells. */
export type VerifyResult = DryVerification | Verified;

/**
 * Finds a backup and reads it once, without a server and without writing anything: every stored file is compared with
 * the metadata, every file of the cluster with the manifest, and the WAL is read through. Throws a UserError that
 * names each file that is not as it should be.
 */
export async function verify(
  request: VerifyRequest,
  surroundings: VerifySurroundings,
): Promise<VerifyResult> {
  const {store, runner, scratchDirectory} = surroundings;
  const decryption = await openDecryption(request.decryption, runner);
  const stored = await store.find({name: request.backupName});
  noteBackup(stored);
  const {requiredAttestation: required} = request;
  const signerOf = async (one: FoundBackup) =>
    required && (await requireAttestation(one, required, {runner, scratchDirectory}));
  const signer = await signerOf(stored);
  const found = await unlock(stored, decryption);
  const parents = await followChain(found, store);
  for (const parent of parents) await signerOf(parent);
  show(found, parents);
  if (found.metadata) refuseOld(found.metadata.finishedAt, request.maxBackupAgeSeconds);
  const attested = signer ? {signer} : {};
  if (request.dryRun) return {mode: 'verify', dryRun: true, backup: found, ...attested};
  const verifyOne = (one: FoundBackup) =>
    suspecting(one, () => verifyFound(one, request, {...surroundings, decryption}));
  const verified = await verifyParents(parents, verifyOne);
  return {...(await verifyLast(verified, () => verifyOne(found))), ...attested};
}

function show({name, location, metadata}: FoundBackup, parents: readonly FoundBackup[]): void {
  const origin = metadata ? `finished ${metadata.finishedAt}` : 'made without this action';
  info(`Backup: ${name} in ${location}, ${origin}`);
  if (parents.length > 0) info(`Chain:  ${[...parents.map((one) => one.name), name].join(' <- ')}`);
}

async function verifyFound(
  found: FoundBackup,
  request: VerifyRequest,
  surroundings: VerifySurroundings & {readonly decryption: Decryption},
): Promise<Verified> {
  // Made by a store that has to copy.
  const scratch = join(surroundings.scratchDirectory, 'verify');
  try {
    const backup = await phase('Fetch', () => found.fetch(scratch));
    return await groupedPhase(`Verify ${found.name}`, () => verifyFetched(backup, request, surroundings));
  } finally {
    await rm(scratch, {recursive: true, force: true, maxRetries: 3});
  }
}

async function verifyFetched(
  backup: FetchedBackup,
  request: VerifyRequest,
  {runner, signal, decryption}: VerifySurroundings & {readonly decryption: Decryption},
): Promise<Verified> {
  const begin = performance.now();
  const {source, metadata} = backup;
  const problems = new Problems();
  const stored = new StoredFiles(backup, {problems, signal, decryption});
  await stored.checkSizes();
  // What is known for certain says more than what keeps the rest from being read.
  const refuseFirst = (error: unknown): never => {
    if (problems.isCertain) problems.refuse();
    throw error;
  };
  const files = await problems.collect(() => recognise(source, decryption)).catch(refuseFirst);
  const manifest = files && (await problems.collect(() => readManifest(files, {stored, runner})));
  if (!files || !manifest) return refuseAll(problems);
  const finishedAt = metadata?.finishedAt ?? manifest.takenAt;
  if (!metadata) refuseOld(finishedAt, request.maxBackupAgeSeconds);
  const known = {runner, source, stored, manifest, metadata, problems};
  const examination = await startExamination(known);
  await compare(files, examination).catch(refuseFirst);
  refuse(examination);
  const proven = proofOfFiles(manifest, metadata !== undefined);
  if (proven.warning !== undefined) warning(proven.warning);
  return {
    mode: 'verify',
    dryRun: false,
    backup,
    manifest,
    reached: new Set(proven.reached),
    parents: [],
    checked: {...counts(examination), seconds: (performance.now() - begin) / 1000},
    backupAgeSeconds: finishedAt === undefined ? undefined : ageSeconds(finishedAt),
  };
}

/** Throws a UserError for what is wrong with a backup, or cannot be read here. */
function refuse({contents, wal, problems}: Examination): void {
  // Its checksums, too, have their bytes in that order: nothing that was found means anything.
  if (contents.isBigEndian)
    throw cannotVerify('it was made on a machine that puts the high byte of a number first');
  problems.refuse();
  if (wal.strangePageBytes !== undefined)
    throw cannotVerify(
      `the pages of its WAL have ${wal.strangePageBytes} bytes, and only those of ${walPageBytes} can be read`,
    );
}

function cannotVerify(reason: string): UserError {
  return new UserError(
    `The backup cannot be verified here: ${reason}.`,
    'Nothing is known to be wrong with it. Verify it where PostgreSQL is the one that it was made by: unpack it there, and run pg_verifybackup.',
  );
}

/** Without a manifest nothing more can be known; there is a problem, or there would be one. */
function refuseAll(problems: Problems): never {
  problems.refuse();
  throw new Error('A backup without a manifest was taken for a good one.');
}

async function readManifest(
  files: BackupFiles,
  {stored, runner}: Pick<Examination, 'stored' | 'runner'>,
): Promise<Manifest> {
  const isInside = files.kind === 'tar' && !files.manifest;
  const name = files.kind === 'tar' && files.manifest ? files.manifest : manifestName;
  const text = isInside
    ? await manifestInside(files, {runner, peek: (name) => stored.peek(name)})
    : await stored.readManifest(name);
  if (text === undefined)
    throw damaged('backup_manifest', 'it is missing, and nothing else tells whether the backup is whole');
  return parseManifest(text);
}

/** Reads all files, and then compares what only the whole of them tells. */
async function compare(files: BackupFiles, examination: Examination): Promise<void> {
  const {contents, manifest, metadata, problems, stored, wal} = examination;
  let tablespaces: readonly string[];
  if (files.kind === 'tar') {
    await verifyArchives(files, examination);
    tablespaces = files.tablespaces.map(({oid}) => oid);
  } else tablespaces = await verifyDataDirectory(files.directory, examination);
  await stored.readRest();
  await checkContents(contents, {manifest, metadata, tablespaces}, problems);
  const systemIdentifier = contents.systemIdentifier ?? metadata?.systemIdentifier;
  wal.finish({major: contents.major, systemIdentifier});
  if (wal.segmentCount === 0) requireWal(examination);
  if (!wal.isInOrder)
    info(
      'WAL records that cross from one segment to another were not checked: the segments are not in order.',
    );
}

/** Only the metadata can tell that a backup was meant to have no WAL. */
function requireWal({metadata, manifest, problems}: Examination): void {
  if (metadata?.selfContained === false) {
    warning(
      `The backup holds no WAL (wal-method: none): it restores only together with an archive that has the WAL from ${manifest.startLsn} to ${manifest.endLsn}, which was not verified.`,
    );
    return;
  }
  problems.add(
    'pg_wal',
    `the WAL from ${manifest.startLsn} to ${manifest.endLsn} is missing (pg_wal.tar, or pg_wal inside of base.tar)`,
  );
}

function counts({inventory, stored, wal, contents}: Examination): Omit<Checked, 'seconds'> {
  return {
    files: inventory.count,
    bytes: inventory.bytes,
    storedBytes: stored.bytes,
    walSegments: wal.segmentCount,
    walRecords: wal.recordCount,
    systemIdentifier: contents.systemIdentifier,
  };
}
