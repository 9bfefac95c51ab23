import {mkdtemp, readdir, readFile, rm, stat, statfs} from 'node:fs/promises';
import {join} from 'node:path';
import {DefaultArtifactClient} from '@actions/artifact';
import {DamageError, damaged} from '../backup-set/digest.js';
import type {StoredPiece} from '../backup-set/file-parts.js';
import {UserError} from '../errors.js';
import type {ListedArtifact, RunArtifacts} from './artifact-listing.js';
import {cureOfRest, retried} from './artifact-rest.js';

const client = new DefaultArtifactClient();

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

/** Throws a UserError when a disk has less room than is needed. */
export async function requireRoom(directory: string, neededBytes: number): Promise<void> {
  const free = await freeBytes(directory);
  if (free >= neededBytes) return;
  const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  throw new UserError(
    `The download needs ${megabytes(neededBytes)}, but ${directory} has ${megabytes(free)} free.`,
    freeCure,
  );
}

/**
 * Downloads a piece of a file into a directory, and returns its path there. Throws a UserError when it cannot be had, a
 * DamageError when it does not arrive as it was stored, twice.
 */
export async function downloadPiece(
  {artifact, piece}: {readonly artifact: ListedArtifact; readonly piece: StoredPiece},
  run: RunArtifacts,
  directory: string,
): Promise<string> {
  try {
    for (let attempt = 1; ; attempt += 1) {
      const {path, isIntact} = await download(artifact, run, {directory, sha256: piece.sha256});
      const {size} = await stat(path);
      if (isIntact && size === piece.sizeBytes) return path;
      // The first time it may have been changed on its way.
      if (attempt === downloadAttempts) throw arrivedDamaged(artifact.name, piece, {size, isIntact});
      await rm(path);
    }
  } catch (thrown) {
    if ((await freeBytes(directory)) >= fullBytes) throw thrown;
    throw tooFull(directory, thrown instanceof DamageError ? undefined : thrown);
  }
}

const downloadAttempts = 2;

function arrivedDamaged(
  artifactName: string,
  {name, sizeBytes, sha256}: StoredPiece,
  {size, isIntact}: {readonly size: number; readonly isIntact: boolean},
): UserError {
  const digest = `its SHA-256 ${isIntact ? 'is' : 'is not'} ${sha256}`;
  return damaged(
    name,
    `artifact ${artifactName} arrived damaged, and again: ${size} bytes of ${sizeBytes}, and ${digest}`,
    {isCertain: true},
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
