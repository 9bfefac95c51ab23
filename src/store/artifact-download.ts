import {createHash} from 'node:crypto';
import {constants, createReadStream} from 'node:fs';
import {mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, statfs} from 'node:fs/promises';
import {join} from 'node:path';
import {pipeline} from 'node:stream/promises';
import {DefaultArtifactClient} from '@actions/artifact';
import {piecesOf, type StoredPiece} from '../backup-set/file-parts.js';
import {type BackupFile, type Metadata, parseMetadata} from '../backup-set/metadata.js';
import {directorySource} from '../backup-set/source.js';
import {UserError} from '../errors.js';
import type {ListedArtifact, RunArtifacts} from './artifact-listing.js';
import {cureOfRest, retried} from './artifact-rest.js';
import type {Candidate} from './artifact-search.js';
import {eachInParallel, untilAborted} from './parallel.js';
import type {FetchedBackup, FoundBackup} from './store.js';

/** A piece of a file of a backup, and the artifact that holds it. */
interface StoredPart {
  readonly file: BackupFile;
  readonly piece: StoredPiece;
  readonly artifact: ListedArtifact;
}

/** What downloading works with. */
export interface DownloadOptions {
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
  /** For files that outlive no step. */
  readonly scratchDirectory: string;
}

const downloadsAtOnce = 4;
const client = new DefaultArtifactClient();

/**
 * Reads a backup's metadata and checks that all its files are there. Throws a UserError that names the file that
 * is not.
 */
export async function openBackup(candidate: Candidate, options: DownloadOptions): Promise<FoundBackup> {
  const {name, run} = candidate;
  const {signal} = options;
  const {metadata, metadataSha256, metadataText} = await readMetadata(candidate, options);
  const parts = metadata.files.flatMap((file) =>
    piecesOf(file).map((piece) => ({file, piece, artifact: artifactOf(piece, candidate)})),
  );
  return {
    name,
    location: run.location,
    metadata,
    metadataSha256,
    metadataText,
    fetch: async (scratchDirectory) => ({
      ...(await fetchFiles(candidate, parts, {metadata, scratchDirectory, signal})),
      metadataSha256,
    }),
    async fetchFile(file, directory) {
      const stored = parts.filter((part) => part.file.name === file.name);
      await fetchParts(stored, run, {directory, scratchDirectory: directory, signal});
      return join(directory, file.name);
    },
  };
}

async function readMetadata(
  {metadataArtifact, run}: Candidate,
  {signal, scratchDirectory}: DownloadOptions,
): Promise<{metadata: Metadata; metadataSha256: string; metadataText: string}> {
  const text = await untilAborted(signal, () => readArtifact(metadataArtifact, run, scratchDirectory));
  return {
    metadata: parseMetadata(text, `Artifact ${metadataArtifact.name}`),
    metadataSha256: createHash('sha256').update(text).digest('hex'),
    metadataText: text,
  };
}

/**
 * Reads a small artifact of one file as text, by way of a file in `scratchDirectory`. Throws a UserError when it cannot be
 * downloaded.
 */
export async function readArtifact(
  artifact: ListedArtifact,
  run: RunArtifacts,
  scratchDirectory: string,
): Promise<string> {
  const directory = await mkdtemp(join(scratchDirectory, 'metadata-'));
  try {
    const {path} = await download(artifact, run, {directory});
    return await readFile(path, 'utf8');
  } finally {
    await rm(directory, {recursive: true, force: true});
  }
}

function artifactOf({name: fileName}: StoredPiece, {name, run}: Candidate): ListedArtifact {
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
  stored: readonly StoredPart[],
  {metadata, scratchDirectory, signal}: FetchPlan,
): Promise<FetchedBackup> {
  const directory = join(scratchDirectory, name);
  await makeEmpty(directory);
  await requireRoom(directory, metadata.sizeBytes + onTheirWayBytes(stored));
  try {
    await fetchParts(stored, run, {directory, scratchDirectory, signal});
  } catch (thrown) {
    // Other downloads may put a file there meanwhile, which must not hide the failure itself.
    await rm(directory, {recursive: true, force: true, maxRetries: 3});
    throw thrown;
  }
  return {name, location: run.location, source: directorySource(directory), metadata};
}

/** Downloads parts and puts them together in a directory, by way of another one beside. */
async function fetchParts(
  stored: readonly StoredPart[],
  run: RunArtifacts,
  {directory, scratchDirectory, signal}: Omit<FetchPlan, 'metadata'> & {readonly directory: string},
): Promise<void> {
  const parts = await mkdtemp(join(scratchDirectory, 'download-'));
  try {
    await eachInParallel(stored, {limit: downloadsAtOnce, signal}, async ({file, piece, artifact}) => {
      // A directory for each, because the server chooses the name under which the client stores a file.
      const {path, isIntact} = await download(artifact, run, {
        directory: await mkdtemp(join(parts, 'part-')),
        sha256: piece.sha256,
      });
      await checkPiece({path, isIntact}, piece, artifact.name);
      if (file.parts === undefined) await rename(path, join(directory, file.name));
      else await putPart(path, join(directory, file.name), piece.offset);
    });
  } catch (thrown) {
    // Before anything is removed.
    throw (await freeBytes(directory)) < fullBytes ? tooFull(directory, thrown) : thrown;
  } finally {
    await rm(parts, {recursive: true, force: true, maxRetries: 3});
  }
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

const freeCure = 'Free space in an earlier step, set RUNNER_TEMP to a larger disk, or use a larger runner.';

/** The client tells of a full disk only that a stream has ended, if anything. */
const fullBytes = 2 ** 20;

function tooFull(directory: string, cause: unknown): UserError {
  const message = `The backup could not be downloaded: no room is left in ${directory}.`;
  return new UserError(message, freeCure, {cause});
}

async function freeBytes(directory: string): Promise<number> {
  const {bavail, bsize} = await statfs(directory);
  return bavail * bsize;
}

/** A part is on the disk twice while it is put to its place. */
function onTheirWayBytes(stored: readonly StoredPart[]): number {
  const sizes = stored.filter(({file}) => file.parts).map(({piece}) => piece.sizeBytes);
  return downloadsAtOnce * Math.max(0, ...sizes);
}

async function requireRoom(directory: string, neededBytes: number): Promise<void> {
  const free = await freeBytes(directory);
  if (free >= neededBytes) return;
  const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  await rm(directory, {recursive: true, force: true});
  throw new UserError(
    `The download needs ${megabytes(neededBytes)}, but ${directory} has ${megabytes(free)} free.`,
    freeCure,
  );
}

/** Puts a part to its place in a file that others may be put into at the same time. */
async function putPart(part: string, path: string, offset: number): Promise<void> {
  // Without O_TRUNC, and made by the first.
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
  await pipeline(createReadStream(part), file.createWriteStream({start: offset}));
  await rm(part);
}

async function checkPiece(
  {path, isIntact}: {readonly path: string; readonly isIntact: boolean},
  {sizeBytes, sha256}: StoredPiece,
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
