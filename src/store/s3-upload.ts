import {createHash, randomUUID} from 'node:crypto';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {DeleteObjectCommand} from '@aws-sdk/client-s3';
import {type BackupFile, formatMetadata} from '../backup-set/metadata.js';
import {messageOf, UserError} from '../errors.js';
import {debug} from '../log.js';
import {addressOfBucket, type Bucket, explained, patienceMilliseconds} from './s3-client.js';
import {addressOf, fileKey, filesPrefix, isLeftover, metadataKey, nameOfMetadata} from './s3-location.js';
import {
  abortUpload,
  attemptOf,
  type Keeping,
  listUploads,
  putInParts,
  putObject,
  type Storing,
} from './s3-multipart.js';
import {partsFor, wholeBytes} from './s3-parts.js';
import {explainS3, nameTaken, refusalOf} from './s3-refusal.js';
import type {LocalBackup, StoredBackup} from './store.js';
import {transferProgress} from './transfer-progress.js';

/** What storing in a bucket needs to know. */
export interface S3UploadOptions {
  readonly bucket: Bucket;
  readonly keeping: Keeping;
  readonly checksums: boolean;
}

/**
 * Stores every file of a backup as one object, and then the metadata; no object is replaced.
 * Throws a UserError when anything could not be stored whole or the run was cancelled; what it had stored is removed.
 */
export async function saveToBucket(backup: LocalBackup, options: S3UploadOptions): Promise<StoredBackup> {
  const {bucket} = options;
  const {location} = bucket;
  const storing: Storing = {...options, attempt: randomUUID()};
  const begun: string[] = [];
  const directory = backup.filesDirectory;
  let isOurs = false;
  try {
    for (const file of inOrder(backup.metadata.files)) {
      const key = fileKey(location, backup.name, file.name);
      begun.push(key);
      await told(bucket, key, () => uploadFile(storing, key, {file, directory, isFirst: !isOurs}));
      isOurs = true;
    }
    const key = metadataKey(location, backup.name);
    begun.push(key);
    const text = Buffer.from(formatMetadata(backup.metadata));
    const {storageClass: _, ...keeping} = options.keeping;
    await told(bucket, key, () => putObject(storing, key, text, keeping));
  } catch (thrown) {
    throw saveFailure(backup, {thrown, bucket, left: await removeStored(storing, begun)});
  } finally {
    // Under a name that another run has, the uploads are its own.
    if (isOurs) await abortStray(bucket, filesPrefix(location, backup.name));
  }
  return {location: addressOf(location, backup.name)};
}

/**
 * The smallest first: it is put in one piece, and all stores refuse to replace an object so, but not all to complete an
 * upload over one. A run of the same name is stopped by it. Then the largest.
 */
function inOrder(files: readonly BackupFile[]): readonly BackupFile[] {
  const sorted = files.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  return [...sorted.slice(-1), ...sorted.slice(0, -1)];
}

/** Stores something as `key`, and tells of a refusal with its cure. */
export function told<T>(bucket: Bucket, key: string, work: () => Promise<T>): Promise<T> {
  const what = `s3://${bucket.location.bucket}/${key} could not be stored`;
  return explained(bucket, {what, action: 's3:PutObject'}, async () => {
    try {
      return await work();
    } catch (thrown) {
      if (refusalOf(thrown).status === 412) throw nameTaken(bucket.location, key);
      throw thrown;
    }
  });
}

async function uploadFile(
  storing: Storing,
  key: string,
  {
    file,
    directory,
    isFirst,
  }: {readonly file: BackupFile; readonly directory: string; readonly isFirst: boolean},
): Promise<void> {
  const hash = createHash('sha256');
  const {partBytes, atOnce} = partsFor(file.sizeBytes);
  const progress = transferProgress(file.name, file.sizeBytes, 'uploaded');
  const isWhole = file.sizeBytes <= (isFirst ? wholeBytes : partBytes);
  const pieceBytes = isWhole ? file.sizeBytes : partBytes;
  const pieces = readParts(join(directory, file.name), file.sizeBytes, pieceBytes);
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      hash.update(piece);
      yield piece;
    }
  }
  const check = (): void => {
    if (hash.digest('hex') !== file.sha256) throw changedMeanwhile(file.name);
  };
  if (!isWhole)
    return putInParts(storing, {
      key,
      pieces: hashed(),
      atOnce,
      check,
      onSent: ({length}) => progress(length),
    });
  let whole: Buffer = Buffer.alloc(0);
  for await (const piece of hashed()) whole = piece;
  check();
  await putObject(storing, key, whole);
}

/** A buffer of its own for each part, which may have to be sent again. */
async function* readParts(path: string, sizeBytes: number, partBytes: number): AsyncGenerator<Buffer> {
  const file = await open(path);
  try {
    for (let position = 0; position < sizeBytes; position += partBytes) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(partBytes, sizeBytes - position));
      for (let filled = 0; filled < buffer.length; ) {
        const {bytesRead} = await file.read(buffer, filled, buffer.length - filled, position + filled);
        if (bytesRead === 0) throw changedMeanwhile(path);
        filled += bytesRead;
      }
      yield buffer;
    }
  } finally {
    await file.close();
  }
}

function changedMeanwhile(name: string): UserError {
  return new UserError(
    `${name} is not what it was when the backup was finished.`,
    'Nothing but this action may touch the backup while it is stored: find out what did, and run again.',
  );
}

/**
 * Removes what an attempt stored, and nothing else; returns the keys that are left. The metadata go first, and when they
 * stay all does: what has them is listed as a whole backup.
 */
export async function removeStored(storing: Storing, keys: readonly string[]): Promise<readonly string[]> {
  const {location} = storing.bucket;
  const [metadata, files] = [true, false].map((isWanted) =>
    keys.filter((key) => (nameOfMetadata(location, key) !== undefined) === isWanted),
  );
  const left = await removeKeys(storing, metadata ?? []);
  return left.length > 0 ? [...left, ...(files ?? [])] : removeKeys(storing, files ?? []);
}

async function removeKeys({bucket, attempt}: Storing, keys: readonly string[]): Promise<readonly string[]> {
  const {client, location, signal} = bucket;
  const abortSignal = AbortSignal.timeout(patienceMilliseconds(signal));
  const left: string[] = [];
  const remove = async (key: string): Promise<void> => {
    try {
      if ((await attemptOf(bucket, key, abortSignal)) !== attempt) return;
      await client.send(new DeleteObjectCommand({Bucket: location.bucket, Key: key}), {abortSignal});
    } catch (thrown) {
      debug(`${key} could not be removed: ${messageOf(thrown)}`);
      left.push(key);
    }
  };
  await Promise.all(keys.map(remove));
  return left;
}

/**
 * Aborts the uploads of keys that begin so, which have to be this run's own: an answer that was lost leaves one that
 * nobody knows the id of.
 */
export async function abortStray(bucket: Bucket, prefix: string): Promise<void> {
  try {
    const stray = await listUploads(bucket, prefix);
    await Promise.all(stray.map((upload) => abortUpload(bucket, upload)));
  } catch (thrown) {
    debug(`Uploads that were begun could not be listed: ${messageOf(thrown)}`);
  }
}

/** Aborts the uploads that killed runs of this action left behind long ago. What it may not do, it leaves. */
export async function abortLeftovers(bucket: Bucket, now: Date): Promise<void> {
  try {
    const begun = await listUploads(bucket, bucket.location.prefix);
    const leftovers = begun.filter((upload) => isLeftover(upload, bucket.location, now));
    for (const upload of leftovers) await abortUpload(bucket, upload);
  } catch (thrown) {
    debug(explainS3(thrown, leftoversUnlisted(bucket)).message);
  }
}

function leftoversUnlisted(bucket: Bucket) {
  const what = `Uploads that were begun in ${addressOfBucket(bucket)} could not be listed`;
  return {what, action: 's3:ListBucketMultipartUploads', location: bucket.location} as const;
}

function saveFailure(
  backup: LocalBackup,
  {
    thrown,
    bucket,
    left,
  }: {readonly thrown: unknown; readonly bucket: Bucket; readonly left: readonly string[]},
): UserError {
  const kept = `The finished backup stays on this runner's disk at ${backup.directory}.`;
  const rest =
    left.length === 0 ? '' : ` Delete these objects by hand, they are of no use: ${left.join(', ')}.`;
  const message = `Backup ${backup.name} was taken, but could not be stored in ${addressOfBucket(bucket)}. ${kept}${rest}`;
  const cure = thrown instanceof UserError ? thrown.cure : 'Run the step again.';
  return new UserError(message, cure, {cause: thrown});
}
