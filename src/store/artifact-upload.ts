import {createHash} from 'node:crypto';
import {access, constants, mkdtemp, rm, stat, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {DefaultArtifactClient} from '@actions/artifact';
import {type BackupFile, formatMetadata} from '../backup-set/metadata.js';
import {messageOf, UserError} from '../errors.js';
import {debug} from '../log.js';
import {thinProgress, withProgressOf} from './artifact-progress.js';
import type {ThisRun} from './artifact-search.js';
import {eachInParallel} from './parallel.js';
import type {LocalBackup, StoredBackup} from './store.js';

/** What storing a backup as artifacts needs to know. */
export interface UploadOptions {
  readonly thisRun: ThisRun;
  /** Days; undefined: the repository's setting. GitHub lowers it to the repository's maximum. */
  readonly retentionDays?: number | undefined;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/** A file under the name that its artifact shall have. */
interface Staged {
  readonly artifactName: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

interface Uploaded {
  readonly id: number;
  readonly digest: string;
}

/** The artifacts that an attempt to save has made so far. */
interface Attempt {
  readonly options: UploadOptions;
  readonly stored: Set<string>;
  /** Uploads that have begun, to be waited for before the attempt is given up. */
  readonly begun: Promise<unknown>[];
  /** The attempt has failed: an upload that ends after that is deleted by the one who made it. */
  isAbandoned: boolean;
}

const uploadsAtOnce = 3;
const progressEverySeconds = 10;
const client = new DefaultArtifactClient();

/**
 * Stores every file as one artifact that is not zipped, `<backup-name>.<file>`, and then the metadata. Throws a
 * UserError when anything could not be stored whole or the run was cancelled; what it had stored is deleted.
 */
export async function saveAsArtifacts(backup: LocalBackup, options: UploadOptions): Promise<StoredBackup> {
  // By default the client keeps 4 blocks of 8 MiB on their way: 112 MB/s where 16 reach 253 MB/s.
  process.env.ACTIONS_ARTIFACT_UPLOAD_CONCURRENCY ??= '16';
  const attempt: Attempt = {options, stored: new Set(), begun: [], isAbandoned: false};
  const staging = await mkdtemp(join(tmpdir(), 'artifacts-'));
  try {
    const {id, digest} = await thinProgress(progressEverySeconds, () => uploadAll(backup, staging, attempt));
    return describeStored(backup, options.thisRun, {id, digest});
  } catch (thrown) {
    attempt.isAbandoned = true;
    // One that ends well after the others were deleted would be left alone.
    await Promise.race([
      Promise.allSettled(attempt.begun),
      sleep(patienceMilliseconds(attempt), undefined, {ref: false}),
    ]);
    throw saveFailure(backup, thrown, await deleteStored(attempt));
  } finally {
    await rm(staging, {recursive: true, force: true});
  }
}

async function uploadAll(backup: LocalBackup, staging: string, attempt: Attempt): Promise<Uploaded> {
  const together = {limit: uploadsAtOnce, signal: attempt.options.signal};
  const files: Staged[] = [];
  for (const file of backup.metadata.files) files.push(await stageFile(backup, file, staging));
  // The largest first, so that it does not end up alone at the end.
  files.sort((a, b) => b.sizeBytes - a.sizeBytes);
  await eachInParallel(files, together, (file) =>
    begin(attempt, async () => void (await upload(file, attempt))),
  );
  const uploaded: Uploaded[] = [];
  const metadata = await stageMetadata(backup, staging);
  await eachInParallel([metadata], together, async (file) => void uploaded.push(await upload(file, attempt)));
  const [last] = uploaded;
  if (last === undefined) throw new Error('The metadata file was not uploaded.');
  return last;
}

function begin(attempt: Attempt, work: () => Promise<void>): Promise<void> {
  const begun = work();
  attempt.begun.push(begun);
  return begun;
}

/** GitHub kills a cancelled step 10 seconds after SIGINT; the client alone may retry for longer than that. */
function patienceMilliseconds({options}: Attempt): number {
  return options.signal.aborted ? 2500 : 15_000;
}

/** The client ignores the name that it is given and takes the file's, so every file gets a link of the right name. */
async function stageFile(backup: LocalBackup, file: BackupFile, staging: string): Promise<Staged> {
  if (file.name.includes('/')) throw new Error(`${file.name} is not a flat name: it cannot be an artifact.`);
  const source = resolve(backup.filesDirectory, file.name);
  await checkReadable(source, file.sizeBytes);
  const artifactName = `${backup.name}.${file.name}`;
  const path = join(staging, artifactName);
  await symlink(source, path);
  return {artifactName, path, sizeBytes: file.sizeBytes, sha256: file.sha256};
}

async function stageMetadata(backup: LocalBackup, staging: string): Promise<Staged> {
  const artifactName = `${backup.name}.json`;
  const path = join(staging, artifactName);
  const content = Buffer.from(formatMetadata(backup.metadata));
  await writeFile(path, content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  return {artifactName, path, sizeBytes: content.length, sha256};
}

/** An error while the client reads a file is thrown where nobody can catch it, so the likely ones are found here. */
async function checkReadable(path: string, sizeBytes: number): Promise<void> {
  const cure =
    'Nothing but this action may touch the backup while it is stored: find out what did, and run again.';
  try {
    await access(path, constants.R_OK);
  } catch (cause) {
    throw new UserError(`${path} cannot be read.`, cure, {cause});
  }
  const {size} = await stat(path);
  if (size !== sizeBytes) throw new UserError(`${path} has ${size} bytes instead of ${sizeBytes}.`, cure);
}

async function upload(file: Staged, attempt: Attempt): Promise<Uploaded> {
  const {artifactName, sizeBytes, sha256} = file;
  const {id, size, digest} = await withProgressOf({fileName: artifactName, sizeBytes}, () =>
    send(file, attempt),
  );
  if (attempt.isAbandoned) await deleteQuietly(artifactName);
  else attempt.stored.add(artifactName);
  if (id === undefined || size !== sizeBytes || digest !== sha256) {
    throw new UserError(
      `${artifactName} was stored with ${size} bytes and SHA-256 ${digest} instead of ${sizeBytes} bytes and ${sha256}.`,
      'The file changed after it was finished, or was damaged on its way. Run the step again.',
    );
  }
  return {id, digest};
}

async function send({artifactName, path}: Staged, attempt: Attempt) {
  const {retentionDays} = attempt.options;
  const choices = retentionDays === undefined ? {} : {retentionDays};
  try {
    return await client.uploadArtifact(artifactName, [path], join(path, '..'), {
      ...choices,
      skipArchive: true,
    });
  } catch (thrown) {
    // The name is ours by then, and the artifact exists if only the answer was lost.
    if (messageOf(thrown).includes('FinalizeArtifact')) attempt.stored.add(artifactName);
    throw thrown;
  }
}

/** Deletes what an attempt stored and returns the names that are left. */
async function deleteStored(attempt: Attempt): Promise<readonly string[]> {
  const {stored} = attempt;
  const left = new Set(stored);
  const deletions = [...stored].map(async (name) => {
    if (await deleteQuietly(name)) left.delete(name);
  });
  await Promise.race([Promise.all(deletions), sleep(patienceMilliseconds(attempt), undefined, {ref: false})]);
  return [...left];
}

async function deleteQuietly(artifactName: string): Promise<boolean> {
  try {
    await client.deleteArtifact(artifactName);
    return true;
  } catch (thrown) {
    debug(`Artifact ${artifactName} could not be deleted: ${messageOf(thrown)}`);
    return messageOf(thrown).includes('Artifact not found');
  }
}

function describeStored(backup: LocalBackup, thisRun: ThisRun, {id, digest}: Uploaded): StoredBackup {
  const {owner, name} = thisRun.repository;
  return {
    location: `artifacts ${backup.name}.* of run ${thisRun.runId}`,
    artifactId: String(id),
    artifactUrl: `${thisRun.serverUrl}/${owner}/${name}/actions/runs/${thisRun.runId}/artifacts/${id}`,
    artifactDigest: digest,
  };
}

function saveFailure(backup: LocalBackup, cause: unknown, left: readonly string[]): UserError {
  const kept = `The finished backup stays on this runner's disk at ${backup.directory}.`;
  const rest =
    left.length === 0 ? '' : ` Delete these artifacts by hand, they are of no use: ${left.join(', ')}.`;
  const message = `Backup ${backup.name} was taken, but could not be stored as artifacts. ${kept}${rest}`;
  return new UserError(message, cureOf(cause), {cause});
}

/** The client wraps most errors into plain ones, so that only their text tells them apart. */
function cureOf(thrown: unknown): string {
  if (thrown instanceof UserError) return thrown.cure;
  const text = messageOf(thrown);
  if (text.includes('storage quota')) {
    return 'Free artifact storage (GitHub counts it anew every 6 to 12 hours), lower retention-days, or keep backups elsewhere with storage: directory.';
  }
  if (text.includes('(409)')) {
    return `An artifact cannot be replaced within a run. Make the name unique: put \${{ github.run_attempt }} or the time (%H%M%S) into backup-name.`;
  }
  if (text.includes('(403)')) {
    return 'GitHub refused this run to store artifacts: check that Actions may use artifacts here, or set storage: directory.';
  }
  if (thrown instanceof Error && 'statusCode' in thrown && thrown.statusCode === 403) {
    return 'GitHub lets one upload take 60 minutes. Make the file smaller (compress), or set storage: directory.';
  }
  return 'Run the step again. If it fails again, see https://www.githubstatus.com, or set storage: directory.';
}
