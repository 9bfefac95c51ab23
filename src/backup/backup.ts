import {rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import type {Metadata} from '../backup-set/metadata.js';
import {packPlain} from '../backup-set/pack.js';
import type {Host} from '../host/host.js';
import {info, warning} from '../log.js';
import {openLibpqAccess} from '../postgres/connection.js';
import {gatherFacts} from '../postgres/facts.js';
import {findClientPrograms} from '../postgres/programs.js';
import {majorOf} from '../postgres/version.js';
import {writeMetadata} from '../store/directory.js';
import type {LocalBackup, Store, StoredBackup} from '../store/store.js';
import {describeBackup, sizesOf} from './describe.js';
import {pgBasebackup} from './pg-basebackup.js';
import {type BackupPlan, planBackup, showPlan} from './plan.js';
import type {BackupRequest} from './request.js';
import {type Taken, takeBackup} from './take.js';

/** What a backup works with. */
export interface BackupSurroundings {
  /** Where pg_basebackup runs. */
  readonly host: Host;
  readonly store: Store;
  /** The runner's temporary folder: the password file lives there while pg_basebackup runs. */
  readonly temporaryDirectory: string;
}

/** A backup that is stored, or, of a dry run, the plan alone. */
export type BackupResult =
  | {readonly mode: 'backup'; readonly dryRun: true; readonly plan: BackupPlan}
  | {
      readonly mode: 'backup';
      readonly dryRun: false;
      readonly plan: BackupPlan;
      readonly metadata: Metadata;
      readonly directory: string;
      readonly stored: StoredBackup;
    };

interface Stored {
  readonly metadata: Metadata;
  readonly stored: StoredBackup;
}

/**
 * Takes a backup with pg_basebackup, describes it, and stores it. Throws a UserError with the cure for whatever
 * stops it; what was half made is removed, a finished backup is kept.
 */
export async function backup(
  request: BackupRequest,
  surroundings: BackupSurroundings,
): Promise<BackupResult> {
  const {host, store} = surroundings;
  const [server] = await Promise.all([gatherFacts(request.connection), store.checkName(request.name)]);
  const programs = await findClientPrograms(host, majorOf(server.versionNumber), request.pgVersion);
  const plan = await planBackup(request, {host, server, programs});
  showPlan(plan);
  for (const text of plan.warnings) warning(text);
  if (request.dryRun) return {mode: 'backup', dryRun: true, plan};

  const startedAt = new Date();
  const taken = await runPlan(plan, surroundings);
  const described = await describeBackup(plan, taken, startedAt);
  const {metadata, stored} = await storeBackup(described, surroundings);
  info(`Stored ${metadata.name}: ${stored.location}`);
  return {mode: 'backup', dryRun: false, plan, metadata, directory: plan.finalDirectory, stored};
}

async function runPlan(plan: BackupPlan, {host, temporaryDirectory}: BackupSurroundings): Promise<Taken> {
  const {request} = plan;
  const access = await openLibpqAccess(request.connection, temporaryDirectory);
  try {
    const command = pgBasebackup(request, {
      ...plan,
      targetDirectory: plan.partialDirectory,
      conninfo: access.conninfo,
    });
    return await takeBackup(plan, host, {...command, env: access.env});
  } finally {
    await access.close();
  }
}

/** A finished backup stays on the runner, complete with its metadata, also when storing it elsewhere fails. */
async function storeBackup(backup: LocalBackup, {host, store}: BackupSurroundings): Promise<Stored> {
  if (store.takesDirectories) return {...backup, stored: await store.save(backup)};
  await writeMetadata(dirname(backup.directory), backup.metadata);
  if (backup.metadata.format === 'tar') return {...backup, stored: await store.save(backup)};

  const filesDirectory = `${backup.directory}.packed`;
  try {
    await packPlain(host, backup.directory, filesDirectory);
    const packed = {
      ...backup,
      filesDirectory,
      metadata: {...backup.metadata, ...(await sizesOf(filesDirectory))},
    };
    return {...packed, stored: await store.save(packed)};
  } finally {
    await rm(filesDirectory, {recursive: true, force: true});
  }
}
