import {createHash} from 'node:crypto';
import {DamagedBackupError} from '../backup-set/digest.js';
import {piecesOf, type StoredPiece} from '../backup-set/file-parts.js';
import {type Metadata, parseMetadata} from '../backup-set/metadata.js';
import {copyVerified} from '../backup-set/source.js';
import {makeDirectories} from '../host/directories.js';
import {readArtifact, requireRoom} from './artifact-download.js';
import type {ListedArtifact} from './artifact-listing.js';
import {artifactsPerPage} from './artifact-rest.js';
import type {Candidate} from './artifact-search.js';
import {artifactSource, bytesOnDisk} from './artifact-source.js';
import {suspecting} from './damage.js';
import {untilAborted} from './parallel.js';
import type {FoundBackup} from './store.js';

/** What downloading works with. */
export interface DownloadOptions {
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
  /** For files that outlive no step. */
  readonly scratchDirectory: string;
}

/**
 * Reads a backup's metadata and checks that all its files are there. Throws a DamagedBackupError that names the file
 * that is not.
 */
export async function openBackup(candidate: Candidate, options: DownloadOptions): Promise<FoundBackup> {
  const {name, run} = candidate;
  const {signal} = options;
  const {metadata, metadataSha256, metadataText} = await readMetadata(candidate, options);
  const parts = await suspecting({name, metadataSha256}, async () =>
    metadata.files.flatMap((file) =>
      piecesOf(file).map((piece) => ({file, piece, artifact: artifactOf(piece, candidate)})),
    ),
  );
  const sourceIn = (scratchDirectory: string) => artifactSource(parts, {run, scratchDirectory, signal});
  return {
    name,
    location: run.location,
    metadata,
    metadataSha256,
    metadataText,
    fetchedBytes: bytesOnDisk(parts),
    async fetch(scratchDirectory) {
      await makeDirectories(scratchDirectory);
      await requireRoom(scratchDirectory, bytesOnDisk(parts));
      return {name, location: run.location, source: sourceIn(scratchDirectory), metadata, metadataSha256};
    },
    fetchFile: (file, directory) => copyVerified(sourceIn(directory), file, directory),
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

function artifactOf({name: fileName}: StoredPiece, {name, run}: Candidate): ListedArtifact {
  const artifact = run.artifacts.find((other) => other.name === `${name}.${fileName}`);
  if (artifact !== undefined && !artifact.isExpired) return artifact;
  throw new DamagedBackupError(
    `Backup ${name} is not whole: artifact ${name}.${fileName} is not among the ${run.location}, or has expired.`,
    'Restore another backup.',
    // One may move from one page of the list to another while those are read.
    {files: [fileName], isCertain: artifact !== undefined || run.artifacts.length < artifactsPerPage},
  );
}
