import {basename, dirname} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {DefaultArtifactClient} from '@actions/artifact';
import {messageOf, UserError} from '../errors.js';
import {debug} from '../log.js';
import {withProgressOf} from './artifact-progress.js';
import type {ThisRun} from './artifact-search.js';
import type {StoredBackup} from './store.js';

/** What storing a backup as artifacts needs to know. */
export interface UploadOptions {
  readonly thisRun: ThisRun;
  /** Days; undefined: the repository's setting. GitHub lowers it to the repository's maximum. */
  readonly retentionDays?: number | undefined;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
  /** For files that outlive no step. */
  readonly scratchDirectory: string;
}

/** A file, or a part of one, under the name that its artifact shall have: the client ignores the name that it is given. */
export interface Staged {
  readonly path: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/** An artifact that is stored whole. */
export interface Uploaded {
  readonly id: number;
  readonly digest: string;
}

/** Artifacts on their way at the same time. */
export const uploadsAtOnce = 3;
/** For thinProgress, while an attempt goes on. */
export const progressEverySeconds = 10;

const client = new DefaultArtifactClient();

/** An attempt to store a backup, and the artifacts that it has made so far. */
export class UploadAttempt {
  readonly #options: UploadOptions;
  readonly #stored = new Set<string>();
  /** Uploads that have begun, to be waited for before the attempt is given up. */
  readonly #begun: Promise<unknown>[] = [];
  /** The attempt has failed: an upload that ends after that is deleted by the one who made it. */
  #isAbandoned = false;

  constructor(options: UploadOptions) {
    this.#options = options;
    // By default the client keeps 4 blocks of 8 MiB on their way: 112 MB/s where 16 reach 253 MB/s.
    process.env.ACTIONS_ARTIFACT_UPLOAD_CONCURRENCY ??= '16';
  }

  /** Stores a file as one artifact that is not zipped. Throws when it is not stored whole. */
  upload(file: Staged): Promise<Uploaded> {
    if (this.#isAbandoned) return Promise.reject(new Error(`${file.path} is not needed any more.`));
    const begun = this.#upload(file);
    this.#begun.push(begun);
    begun.catch(() => undefined);
    return begun;
  }

  /** Deletes an artifact of this attempt that has served its purpose. */
  async remove(artifactName: string): Promise<void> {
    if (await deleteQuietly(artifactName)) this.#stored.delete(artifactName);
  }

  /** Deletes what was stored, and returns the names of the artifacts that are left. */
  async giveUp(): Promise<readonly string[]> {
    this.#isAbandoned = true;
    // One that ends well after the others were deleted would be left alone.
    await this.#patiently(Promise.allSettled(this.#begun));
    // The metadata first: what has them is listed as a whole backup.
    const isMetadata = (name: string) => name.endsWith('.json');
    for (const names of [[...this.#stored].filter(isMetadata), [...this.#stored]]) {
      await this.#patiently(Promise.all(names.map((name) => this.remove(name))));
      if (names.some((name) => isMetadata(name) && this.#stored.has(name))) break;
    }
    return [...this.#stored];
  }

  /** GitHub kills a cancelled step 10 seconds after SIGINT; the client alone may retry for longer than that. */
  #patiently(work: Promise<unknown>): Promise<unknown> {
    const milliseconds = this.#options.signal.aborted ? 2500 : 15_000;
    return Promise.race([work, sleep(milliseconds, undefined, {ref: false})]);
  }

  async #upload(file: Staged): Promise<Uploaded> {
    const {path, sizeBytes, sha256} = file;
    const fileName = basename(path);
    const {id, size, digest} = await withProgressOf({fileName, sizeBytes}, () => this.#send(path));
    if (this.#isAbandoned) await deleteQuietly(fileName);
    else this.#stored.add(fileName);
    if (id === undefined || size !== sizeBytes || digest !== sha256) {
      throw new UserError(
        `${fileName} was stored with ${size} bytes and SHA-256 ${digest} instead of ${sizeBytes} bytes and ${sha256}.`,
        'The file changed after it was finished, or was damaged on its way. Run the step again.',
      );
    }
    return {id, digest};
  }

  async #send(path: string) {
    const {retentionDays} = this.#options;
    const lifetime = retentionDays === undefined ? {} : {retentionDays};
    try {
      return await client.uploadArtifact(basename(path), [path], dirname(path), {
        ...lifetime,
        skipArchive: true,
      });
    } catch (thrown) {
      // The name is ours by then, and the artifact exists if only the answer was lost.
      if (messageOf(thrown).includes('FinalizeArtifact')) this.#stored.add(basename(path));
      throw thrown;
    }
  }
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

/** Where a backup is that is stored; `metadata` is the artifact of its metadata file. */
export function describeStored(name: string, thisRun: ThisRun, metadata: Uploaded): StoredBackup {
  const {owner, name: repository} = thisRun.repository;
  const {id, digest} = metadata;
  return {
    location: `artifacts ${name}.* of run ${thisRun.runId}`,
    artifactId: String(id),
    artifactUrl: `${thisRun.serverUrl}/${owner}/${repository}/actions/runs/${thisRun.runId}/artifacts/${id}`,
    artifactDigest: digest,
  };
}

/** What to do about artifacts that could not be deleted; empty when there are none. */
export function describeLeft(left: readonly string[]): string {
  return left.length === 0 ? '' : `Delete these artifacts by hand, they are of no use: ${left.join(', ')}.`;
}

/** What the artifact client says, and what to do about it. */
const cures: readonly (readonly [RegExp, string])[] = [
  [
    /storage quota/,
    'Free artifact storage (GitHub counts it anew every 6 to 12 hours), lower retention-days, or keep backups elsewhere with storage: directory.',
  ],
  [
    /\(409\)/,
    `An artifact cannot be replaced within a run. Make the name unique: put \${{ github.run_attempt }} or the time (%H%M%S) into backup-name.`,
  ],
  [
    /\(403\)/,
    'GitHub refused this run to store artifacts: check that Actions may use artifacts here, or set storage: directory.',
  ],
  [
    /\(429\)/,
    'GitHub takes no more requests for the moment: run the step again in some minutes, and have fewer jobs store artifacts at once.',
  ],
];

/** The messages of the client that have a cure, for docs/troubleshooting.md to be held to. */
export const knownUploadFailures: readonly RegExp[] = cures.map(([pattern]) => pattern);

/**
 * What to do when an artifact could not be stored. The client wraps most errors into plain ones, so that only their
 * text tells them apart.
 */
export function cureOfUpload(thrown: unknown): string {
  if (thrown instanceof UserError) return thrown.cure;
  const text = messageOf(thrown);
  const known = cures.find(([pattern]) => pattern.test(text));
  if (known !== undefined) return known[1];
  if (thrown instanceof Error && 'statusCode' in thrown && thrown.statusCode === 403) {
    return 'GitHub lets one upload take 60 minutes. Make the file smaller (compress, a smaller artifact-part-size), or set storage: directory.';
  }
  return 'Run the step again. If it fails again, see https://www.githubstatus.com, or set storage: directory.';
}
