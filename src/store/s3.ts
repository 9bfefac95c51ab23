import {problemOfName} from '../backup-set/naming.js';
import {UserError} from '../errors.js';
import {choose, needsCatalog} from './choose.js';
import {findInBucket} from './s3-catalog.js';
import {addressOfBucket, type Bucket, explained, openBucket, type S3Endpoint} from './s3-client.js';
import {
  listBackups,
  removeFromBucket,
  removeLeftoverFromBucket,
  saveProofInBucket,
  saveReportInBucket,
} from './s3-kept.js';
import {filesPrefix, metadataKey, type S3Location, trialKey} from './s3-location.js';
import {abortUpload, beginUpload, type Keeping, sendPart} from './s3-multipart.js';
import {largestObjectBytes} from './s3-parts.js';
import {firstKey} from './s3-read.js';
import {receiveIntoBucket} from './s3-receive.js';
import {nameTaken, refusalOf, statementFor} from './s3-refusal.js';
import {abortLeftovers, abortStray, saveToBucket} from './s3-upload.js';
import type {Store} from './store.js';

/** What keeping backups in an object store needs to know. */
export interface S3StoreOptions extends S3Endpoint, Keeping {
  readonly location: S3Location;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/**
 * Keeps backups in a bucket of an object store that speaks Amazon's S3: each file is the object
 * `<prefix>/<backup-name>/<file>`, and last comes `<prefix>/<backup-name>.json`.
 */
export function s3Store(options: S3StoreOptions): Store {
  const bucket = openBucket(options.location, options, options.signal);
  let checksums = true;
  return {
    // Objects have no modes, and there are no empty directories.
    takesDirectories: false,
    largestFileBytes: largestObjectBytes,
    async checkName(name) {
      checkCharacters(name);
      await checkIsFree(bucket, name);
      checksums = await tryUpload(bucket, name, options);
    },
    async save(backup) {
      await abortLeftovers(bucket, new Date());
      return saveToBucket(backup, {bucket, keeping: options, checksums});
    },
    receiving: {
      diskBytes: 0,
      async begin(expected) {
        await abortLeftovers(bucket, new Date());
        return receiveIntoBucket(expected, {bucket, keeping: options, checksums});
      },
    },
    async find(wanted) {
      const chosen = needsCatalog(wanted)
        ? choose(await listBackups(bucket), wanted, addressOfBucket(bucket))
        : undefined;
      return findInBucket(bucket, chosen?.name ?? wanted.name);
    },
    findParent: ({name}) => findInBucket(bucket, name),
    list: () => listBackups(bucket),
    remove: (entry) => removeFromBucket(bucket, entry),
    removeLeftover: (leftover) => removeLeftoverFromBucket(bucket, leftover),
    saveProof: (proof) => saveProofInBucket(bucket, proof),
    saveReport: (files) => saveReportInBucket(bucket, files),
  };
}

function checkCharacters(name: string): void {
  const problem = problemOfName(name);
  if (problem === undefined) return;
  throw new UserError(`backup-name ${JSON.stringify(name)} ${problem}.`, 'Write times as %Y%m%d-%H%M%S.');
}

async function checkIsFree(bucket: Bucket, name: string): Promise<void> {
  const {location} = bucket;
  const key = metadataKey(location, name);
  const [metadata, file] = await Promise.all([
    firstKey(bucket, key),
    firstKey(bucket, filesPrefix(location, name)),
  ]);
  if (metadata === key) throw nameTaken(location, key);
  if (file !== undefined) throw nameTaken(location, file);
}

/**
 * Begins an upload, sends a byte, and aborts it, which leaves nothing: a permission, an encryption or a storage class
 * that is refused is known before hours of work. Tells whether the store takes checksums with the parts.
 */
async function tryUpload(bucket: Bucket, name: string, keeping: Keeping): Promise<boolean> {
  const doing = {what: `${addressOfBucket(bucket)} cannot be written to`, action: 's3:PutObject'} as const;
  // Another run of the same name may be storing, whose uploads are its own.
  const key = trialKey(bucket.location, name);
  return explained(bucket, doing, async () => {
    try {
      await sendTrial(bucket, key, {keeping, checksums: true});
      return true;
    } catch (thrown) {
      const {status = 0} = refusalOf(thrown);
      if (status < 400 || status === 403 || status === 404) throw thrown;
      // Older ones refuse a header that they do not know. What is refused for another reason is so again.
      await sendTrial(bucket, key, {keeping, checksums: false});
      return false;
    } finally {
      await abortStray(bucket, key);
    }
  });
}

async function sendTrial(
  bucket: Bucket,
  key: string,
  {keeping, checksums}: {readonly keeping: Keeping; readonly checksums: boolean},
): Promise<void> {
  const {client, location, signal} = bucket;
  const uploadId = await beginUpload(client, {bucket, keeping, checksums, attempt: 'trial'}, key);
  let isGone = false;
  try {
    const body = Buffer.from('?');
    await sendPart(client, {bucket, checksums}, {key, uploadId, number: 1, body, signal});
  } finally {
    isGone = await abortUpload(bucket, {key, uploadId});
  }
  if (isGone) return;
  throw new UserError(
    `An upload to ${addressOfBucket(bucket)} could not be aborted: what a failed run leaves would stay there.`,
    `Give the role this statement:\n${statementFor('s3:AbortMultipartUpload', location)}`,
  );
}
