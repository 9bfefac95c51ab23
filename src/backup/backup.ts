import {mkdir, rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import type {Metadata} from '../backup-set/metadata.js';
import {packPlain} from '../backup-set/pack.js';
import {messageOf, PassingError, UserError} from '../errors.js';
import {type Finding, HinderedError} from '../finding.js';
import {noteBackup} from '../journal.js';
import {info, phase, warning} from '../log.js';
import {type Attestation, attest} from '../provenance/attest.js';
import {followChain} from '../store/chain.js';
import {writeMetadata} from '../store/directory.js';
import type {LocalBackup, Store, StoredBackup} from '../store/store.js';
import {sizesOf} from './describe.js';
import {packedDirectory} from './encrypt.js';
import {fullInstead, refusesParent} from './parent.js';
import {type BackupPlan, showPlan} from './plan.js';
import {type BackupSurroundings, preflight, type Ready} from './preflight.js';
import {type Pruned, prune} from './prune.js';
import type {BackupRequest} from './request.js';
import {streamBackup} from './stream.js';
import {takeBackup} from './take.js';

/** A backup that is stored, or, of a dry run, the plan alone. */
export type BackupResult = Planned &
  (
    | {readonly dryRun: true}
    | {
        readonly dryRun: false;
        readonly metadata: Metadata;
        /** Where it is on this machine; undefined when it was stored while it was taken. */
        readonly directory?: string;
        readonly stored: StoredBackup;
        /** Undefined when none was asked for. */
        readonly attestation?: Attestation;
      }
  );

interface Planned {
  readonly mode: 'backup';
  readonly plan: BackupPlan;
  readonly findings: readonly Finding[];
  /** What became of older backups; undefined where none were to be removed, or that could not be decided. */
  readonly pruned?: Pruned;
}

interface Stored {
  readonly metadata: Metadata;
  readonly stored: StoredBackup;
  readonly directory?: string;
}

/** After this time a server that was restarted, or a link that was cut, may be back. */
const secondTrySeconds = 10;

/**
 * Takes a backup with pg_basebackup, describes it, and stores it; a second time from the start when the first was
 * ended by something that passes. Throws a UserError with the cure for whatever stops it; what was half made is
 * removed, a finished backup is kept.
 */
export async function backup(
  request: BackupRequest,
  surroundings: BackupSurroundings,
): Promise<BackupResult> {
  try {
    return await tryBackup(request, surroundings);
  } catch (error) {
    if (!passes(error)) throw error;
    warning(`${messageOf(error)}\nIt is tried once more in ${secondTrySeconds} s.`);
    await surroundings.pause(secondTrySeconds);
    return tryBackup(request, surroundings);
  }
}

function passes(error: unknown): boolean {
  if (error instanceof PassingError) return true;
  if (!(error instanceof HinderedError)) return false;
  const errors = error.findings.filter(({level}) => level === 'error');
  return errors.every(({cause}) => cause instanceof PassingError);
}

async function tryBackup(request: BackupRequest, surroundings: BackupSurroundings): Promise<BackupResult> {
  noteBackup({name: request.name});
  const ready = await phase('Preflight', () => preflight(request, surroundings));
  showPlan(ready.plan);
  if (request.dryRun)
    return {mode: 'backup', ...ready, dryRun: true, ...(await pruneFor(ready.plan, surroundings))};

  const kept = await takeAndStore(ready, surroundings);
  const {metadata, stored} = kept;
  info(`Stored ${metadata.name}: ${stored.location}`);
  const wanted = request.attestation;
  const attestation = wanted && (await attest({metadata, location: stored.location}, wanted));
  await requireChain(metadata, surroundings.store);
  // Last, so that a backup that nobody may restore takes the place of no other.
  const pruned = await pruneFor(kept.plan, surroundings, metadata);
  return {mode: 'backup', dryRun: false, ...kept, ...(attestation && {attestation}), ...pruned};
}

/** Takes and stores a backup: a full one where the server does not build on the parent that was chosen. */
async function takeAndStore(ready: Ready, surroundings: BackupSurroundings): Promise<Ready & Stored> {
  const {plan, findings} = ready;
  try {
    const kept = plan.isStreamed
      ? await streamBackup(plan, surroundings)
      : await storeBackup(await takeBackup(plan, surroundings), surroundings);
    return {...ready, ...kept};
  } catch (error) {
    const {parent, ...full} = plan;
    if (!parent || !refusesParent(error)) throw error;
    const finding = fullInstead(error);
    warning(`${finding.subject}: ${finding.observed}\n${finding.cure}`);
    return takeAndStore({plan: full, findings: [...findings, finding]}, surroundings);
  }
}

/** Another run may have removed meanwhile what the backup builds on. */
async function requireChain(metadata: Metadata, store: Store): Promise<void> {
  await followChain({metadata}, store).catch((cause: unknown) => {
    if (!(cause instanceof UserError)) throw cause;
    throw new UserError(
      `Backup ${metadata.name} is stored, but what it builds on could not be found again: ${cause.message}`,
      `Look whether its chain is whole: mode: verify, backup-name: ${metadata.name}. If it is not, take the next one without incremental. Give the workflows that back up this system one concurrency group, so that none removes what another one needs: concurrency: backup`,
      {cause},
    );
  });
}

/** Without metadata, of a dry run: what would be removed if the backup were made now. */
async function pruneFor(
  {request, server, parent}: BackupPlan,
  {store}: BackupSurroundings,
  metadata?: Metadata,
): Promise<{pruned?: Pruned}> {
  const {retention, dryRun, name} = request;
  if (retention === undefined) return {};
  const {systemIdentifier} = server;
  const {finishedAt, sizeBytes} = metadata ?? {finishedAt: new Date().toISOString(), sizeBytes: 0};
  const needed = parent && {parent: parent.link.name};
  const pruned = await prune(
    {name, systemIdentifier, finishedAt, sizeBytes, ...needed},
    {store, retention, dryRun},
  );
  return pruned ? {pruned} : {};
}

/** A finished backup stays on the runner, complete with its metadata, also when storing it elsewhere fails. */
async function storeBackup(backup: LocalBackup, {runner, store, claim}: BackupSurroundings): Promise<Stored> {
  const save = (whole: LocalBackup) => phase('Store', () => store.save(whole));
  if (store.takesDirectories) return {...backup, stored: await save(backup)};
  await writeMetadata(dirname(backup.directory), backup.metadata);
  if (backup.metadata.format === 'tar' || backup.metadata.encryption)
    return {...backup, stored: await save(backup)};

  const filesDirectory = packedDirectory(backup.directory);
  const mark = await claim.mark(filesDirectory);
  try {
    await mkdir(filesDirectory, {mode: 0o700});
    await mark.note([filesDirectory]);
    await phase('Pack', () => packPlain(runner, backup.directory, filesDirectory));
    const packed = {
      ...backup,
      filesDirectory,
      metadata: {...backup.metadata, ...(await sizesOf(filesDirectory))},
    };
    return {...packed, stored: await save(packed)};
  } finally {
    await rm(filesDirectory, {recursive: true, force: true});
    await mark.release();
  }
}
