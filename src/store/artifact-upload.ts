import {createHash} from 'node:crypto';
import {access, constants, mkdtemp, rm, stat, symlink, writeFile} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import {manifestName} from '../backup-set/manifest-text.js';
import {type BackupFile, formatMetadata, type Metadata} from '../backup-set/metadata.js';
import {UserError} from '../errors.js';
import {
  cureOfUpload,
  describeLeft,
  describeStored,
  progressEverySeconds,
  type Staged,
  UploadAttempt,
  type Uploaded,
  type UploadOptions,
  uploadsAtOnce,
} from './artifact-attempt.js';
import {thinProgress} from './artifact-progress.js';
import {eachInParallel} from './parallel.js';
import type {LocalBackup, StoredBackup} from './store.js';

/**
 * Stores every file as one artifact that is not zipped, `<backup-name>.<file>`, and then the metadata. Throws a
 * UserError when anything could not be stored whole or the run was cancelled; what it had stored is deleted.
 */
export async function saveAsArtifacts(backup: LocalBackup, options: UploadOptions): Promise<StoredBackup> {
  const attempt = new UploadAttempt(options);
  const staging = await mkdtemp(join(options.scratchDirectory, 'artifacts-'));
  try {
    const metadata = await thinProgress(progressEverySeconds, () =>
      uploadAll(backup, {attempt, staging, signal: options.signal}),
    );
    return describeStored(backup.name, options.thisRun, metadata);
  } catch (thrown) {
    throw saveFailure(backup, thrown, await attempt.giveUp());
  } finally {
    await rm(staging, {recursive: true, force: true});
  }
}

/** What uploading works with. */
interface Uploading {
  readonly attempt: UploadAttempt;
  readonly staging: string;
  readonly signal: AbortSignal;
}

async function uploadAll(backup: LocalBackup, {attempt, staging, signal}: Uploading): Promise<Uploaded> {
  const together = {limit: uploadsAtOnce, signal};
  const files: Staged[] = [];
  for (const file of backup.metadata.files) files.push(await stageFile(backup, file, staging));
  // The largest first, so that it does not end up alone at the end.
  files.sort((a, b) => b.sizeBytes - a.sizeBytes);
  for (const batch of takeClaim(files))
    await eachInParallel(batch, together, async (file) => void (await attempt.upload(file)));
  const uploaded: Uploaded[] = [];
  const metadata = await stageMetadata(backup.metadata, staging);
  await eachInParallel([metadata], together, async (file) => void uploaded.push(await attempt.upload(file)));
  const [last] = uploaded;
  if (last === undefined) throw new Error('The metadata file was not uploaded.');
  return last;
}

/**
 * A small file that goes ahead of all others. Its name is taken by one of two backups of one name alone: side by side,
 * each could take a name that the other needs.
 */
function takeClaim(files: readonly Staged[]): readonly [readonly Staged[], readonly Staged[]] {
  const isManifest = ({path}: Staged) => path.endsWith(`.${manifestName}`);
  const claim = files.find(isManifest) ?? files.at(-1);
  return [files.filter((file) => file === claim), files.filter((file) => file !== claim)];
}

/** The client ignores the name that it is given and takes the file's, so every file gets a link of the right name. */
async function stageFile(backup: LocalBackup, file: BackupFile, staging: string): Promise<Staged> {
  if (file.name.includes('/')) throw new Error(`${file.name} is not a flat name: it cannot be an artifact.`);
  const source = resolve(backup.filesDirectory, file.name);
  await checkReadable(source, file.sizeBytes);
  const path = join(staging, `${backup.name}.${file.name}`);
  await symlink(source, path);
  return {path, sizeBytes: file.sizeBytes, sha256: file.sha256};
}

/** Writes a metadata file under the name of its artifact. */
export async function stageMetadata(metadata: Metadata, directory: string): Promise<Staged> {
  return stageText(join(directory, `${metadata.name}.json`), formatMetadata(metadata));
}

/** Writes a small file that becomes an artifact. */
export async function stageText(path: string, text: string): Promise<Staged> {
  const content = Buffer.from(text);
  await writeFile(path, content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  return {path, sizeBytes: content.length, sha256};
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

function saveFailure(backup: LocalBackup, cause: unknown, left: readonly string[]): UserError {
  const kept = `The finished backup stays on this runner's disk at ${backup.directory}.`;
  const message = `Backup ${backup.name} was taken, but could not be stored as artifacts. ${kept} ${describeLeft(left)}`;
  return new UserError(message.trimEnd(), cureOfUpload(cause), {cause});
}
