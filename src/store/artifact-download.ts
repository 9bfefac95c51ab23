import {mkdir, mkdtemp, readdir, readFile, rename, rm, stat} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {DefaultArtifactClient} from '@actions/artifact';
import {type BackupFile, type Metadata, parseMetadata} from '../backup-set/metadata.js';
import {UserError} from '../errors.js';
import type {ListedArtifact, RunArtifacts} from './artifact-listing.js';
import {cureOfRest, retried} from './artifact-rest.js';
import type {Candidate} from './artifact-search.js';
import {eachInParallel, untilAborted} from './parallel.js';
import type {FetchedBackup, FoundBackup} from './store.js';

/** A file of a backup and the artifact that holds it. */
interface StoredFile {
  readonly file: BackupFile;
  readonly artifact: ListedArtifact;
}

const downloadsAtOnce = 4;
const client = new DefaultArtifactClient();

/**
 * Reads a backup's metadata and checks that all its files are there. Throws a UserError that names the file that
 * is not.
 */
export async function openBackup(candidate: Candidate, signal: AbortSignal): Promise<FoundBackup> {
  const {name, run} = candidate;
  const metadata = await readMetadata(candidate, signal);
  const files = metadata.files.map((file) => ({file, artifact: artifactOf(file, candidate)}));
  return {
    name,
    location: run.location,
    metadata,
    fetch: (scratchDirectory) => fetchFiles(candidate, files, {metadata, scratchDirectory, signal}),
  };
}

async function readMetadata({metadataArtifact, run}: Candidate, signal: AbortSignal): Promise<Metadata> {
  const directory = await mkdtemp(join(tmpdir(), 'metadata-'));
  try {
    const {path} = await untilAborted(signal, () => download(metadataArtifact, run, {directory}));
    return parseMetadata(await readFile(path, 'utf8'), `Artifact ${metadataArtifact.name}`);
  } finally {
    await rm(directory, {recursive: true, force: true});
  }
}

function artifactOf({name: fileName}: BackupFile, {name, run}: Candidate): ListedArtifact {
  const artifact = run.artifacts.find((other) => other.name === `${name}.${fileName}`);
  if (artifact !== undefined && !artifact.isExpired) return artifact;
  throw new UserError(
    `Backup ${name} is not whole: artifact ${name}.${fileName} is not among the ${run.location}, or has expired.`,
    'Restore another backup.',
  );
}

interface FetchPlan {
  readonly metadata: Metadata;
  readonly scratchDirectory: string;
  readonly signal: AbortSignal;
}

async function fetchFiles(
  {name, run}: Candidate,
  files: readonly StoredFile[],
  {metadata, scratchDirectory, signal}: FetchPlan,
): Promise<FetchedBackup> {
  const directory = join(scratchDirectory, name);
  await makeEmpty(directory);
  const parts = await mkdtemp(join(scratchDirectory, 'download-'));
  try {
    await eachInParallel(files, {limit: downloadsAtOnce, signal}, async ({file, artifact}) => {
      // A directory for each, because the server chooses the name under which the client stores a file.
      const {path, isIntact} = await download(artifact, run, {
        directory: await mkdtemp(join(parts, 'part-')),
        sha256: file.sha256,
      });
      await checkFile({path, isIntact}, file, artifact.name);
      await rename(path, join(directory, file.name));
    });
  } catch (thrown) {
    await rm(directory, {recursive: true, force: true});
    throw thrown;
  } finally {
    await rm(parts, {recursive: true, force: true, maxRetries: 3});
  }
  return {name, location: run.location, directory, metadata};
}

async function makeEmpty(directory: string): Promise<void> {
  await mkdir(join(directory, '..'), {recursive: true});
  try {
    await mkdir(directory);
  } catch (cause) {
    throw new UserError(
      `${directory} cannot be made to download the backup into.`,
      'If it exists already, remove it: nothing is overwritten.',
      {cause},
    );
  }
}

async function checkFile(
  {path, isIntact}: {readonly path: string; readonly isIntact: boolean},
  {sizeBytes, sha256}: BackupFile,
  artifactName: string,
): Promise<void> {
  const {size} = await stat(path);
  if (isIntact && size === sizeBytes) return;
  throw new UserError(
    `Artifact ${artifactName} arrived damaged: ${size} bytes of ${sizeBytes}, and its SHA-256 ${isIntact ? 'is' : 'is not'} ${sha256}.`,
    'Run the step again. If it fails again, the stored backup is damaged: restore another one.',
  );
}

/**
 * The client takes a connection that is cut for a try that failed, after 30 seconds of silence, and tries 5 times.
 * It never throws for a wrong digest.
 */
async function download(
  artifact: ListedArtifact,
  run: RunArtifacts,
  {directory, sha256}: {readonly directory: string; readonly sha256?: string},
): Promise<{path: string; isIntact: boolean}> {
  // Without skipDecompress the client would unpack what the server calls a zip file.
  const options = {
    path: directory,
    skipDecompress: true,
    ...(run.findBy === undefined ? {} : {findBy: run.findBy}),
  };
  const expected = sha256 === undefined ? {} : {expectedHash: `sha256:${sha256}`};
  try {
    const {digestMismatch} = await retried(() =>
      client.downloadArtifact(artifact.id, {...options, ...expected}),
    );
    const [fileName] = await readdir(directory);
    if (fileName === undefined) throw new Error('The artifact client stored no file.');
    return {path: join(directory, fileName), isIntact: digestMismatch !== true};
  } catch (cause) {
    throw new UserError(
      `Artifact ${artifact.name} could not be downloaded from the ${run.location}.`,
      `${cureOfRest(cause)} Check also that the disk has room for it.`,
      {cause},
    );
  }
}
