import {setMaxListeners} from 'node:events';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  type S3Client,
  type ServerSideEncryption,
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import {messageOf} from '../errors.js';
import {debug} from '../log.js';
import {type Bucket, patienceMilliseconds} from './s3-client.js';
import type {BegunUpload} from './s3-location.js';
import {nameTaken, refusalOf} from './s3-refusal.js';

/** How objects are kept. */
export interface Keeping {
  readonly encryption?: ServerSideEncryption | undefined;
  readonly kmsKeyId?: string | undefined;
  /** Of the files; the metadata stay in the standard class, to be read by every search. */
  readonly storageClass?: string | undefined;
}

/** What all objects of one attempt to store a backup have in common. */
export interface Storing {
  readonly bucket: Bucket;
  readonly keeping: Keeping;
  /** Whether the store takes a CRC32 with each part, besides the SHA-256 that is part of every signature. */
  readonly checksums: boolean;
  /** Marks the objects of this attempt, a random text; undefined for none. */
  readonly attempt: string;
}

/** An object that travels in pieces of one size but for the last. */
export interface Pieces {
  readonly key: string;
  readonly pieces: AsyncIterable<Buffer>;
  /** How many pieces are on their way at most. */
  readonly atOnce: number;
  /** Called before the object comes into being; what it throws prevents that. */
  readonly check: () => void;
  /** Given a piece that has arrived, whose memory may be used again. */
  readonly onSent: (piece: Buffer) => void;
}

/** The user metadata of an object that names the attempt which stored it. */
const attemptMark = 'pg-basebackup-attempt';

/** The attempt that stored an object: undefined for an absent one, null for one that somebody else put there. */
export async function attemptOf(
  {patient, location}: Bucket,
  key: string,
  abortSignal?: AbortSignal,
): Promise<string | null | undefined> {
  try {
    const head = new HeadObjectCommand({Bucket: location.bucket, Key: key});
    const {Metadata} = await patient.send(head, abortSignal && {abortSignal});
    return Metadata?.[attemptMark] ?? null;
  } catch (thrown) {
    if (refusalOf(thrown).status === 404) return undefined;
    throw thrown;
  }
}

/** Stores an object in one piece, unless one of that name is there. */
export async function putObject(
  storing: Storing,
  key: string,
  body: Buffer,
  keeping: Keeping = storing.keeping,
): Promise<void> {
  const {bucket, checksums} = storing;
  const input = {
    Bucket: bucket.location.bucket,
    Key: key,
    Body: body,
    ...keepingFields(keeping),
    ...markFields(storing),
    ...(checksums && {ChecksumAlgorithm: 'CRC32' as const}),
  };
  await unlessPresent(storing, key, (condition) =>
    bucket.patient.send(new PutObjectCommand({...input, ...condition}), {abortSignal: bucket.signal}),
  );
}

/** Stores an object in parts, unless one of that name is there. What had arrived of it is removed when it fails. */
export async function putInParts(storing: Storing, object: Pieces): Promise<void> {
  const {bucket} = storing;
  const uploadId = await beginUpload(bucket.patient, storing, object.key);
  const upload = {key: object.key, uploadId};
  try {
    const parts = await sendParts(storing, uploadId, object);
    object.check();
    bucket.signal.throwIfAborted();
    await complete(storing, upload, parts);
  } catch (thrown) {
    await abortUpload(bucket, upload);
    throw thrown;
  }
}

/** Begins an upload. It cannot be cancelled: without the answer nobody knows what to abort. */
export async function beginUpload(
  client: S3Client,
  storing: Omit<Storing, 'bucket'> & {readonly bucket: Pick<Bucket, 'location'>},
  key: string,
): Promise<string> {
  const {bucket, keeping, checksums} = storing;
  const {UploadId} = await client.send(
    new CreateMultipartUploadCommand({
      Bucket: bucket.location.bucket,
      Key: key,
      ...keepingFields(keeping),
      ...markFields(storing),
      ...(checksums && {ChecksumAlgorithm: 'CRC32' as const}),
    }),
  );
  if (UploadId === undefined) throw new Error('The store began an upload without an id.');
  return UploadId;
}

/** Sends one part, and returns what completes the upload. */
export async function sendPart(
  client: S3Client,
  {bucket, checksums}: Pick<Storing, 'bucket' | 'checksums'>,
  part: {
    readonly key: string;
    readonly uploadId: string;
    readonly number: number;
    readonly body: Buffer;
    readonly signal: AbortSignal;
  },
): Promise<CompletedPart> {
  const command = new UploadPartCommand({
    Bucket: bucket.location.bucket,
    Key: part.key,
    UploadId: part.uploadId,
    PartNumber: part.number,
    Body: part.body,
    ...(checksums && {ChecksumAlgorithm: 'CRC32' as const}),
  });
  const {ETag, ChecksumCRC32} = await client.send(command, {abortSignal: part.signal});
  return {PartNumber: part.number, ETag, ...(ChecksumCRC32 !== undefined && {ChecksumCRC32})};
}

async function sendParts(storing: Storing, uploadId: string, object: Pieces): Promise<CompletedPart[]> {
  const {key, pieces, atOnce, onSent} = object;
  const {patient, signal: cancelled} = storing.bucket;
  const failed = new AbortController();
  const signal = AbortSignal.any([cancelled, failed.signal]);
  setMaxListeners(0, signal);
  const parts: CompletedPart[] = [];
  const underway = new Set<Promise<void>>();
  const failures: unknown[] = [];
  try {
    for await (const body of pieces) {
      cancelled.throwIfAborted();
      if (failures.length > 0) throw failures[0];
      const number = parts.push({});
      const sending = sendPart(patient, storing, {key, uploadId, number, body, signal}).then((part) => {
        parts[number - 1] = part;
        underway.delete(sending);
        onSent(body);
      });
      // It may fail while the next piece is read and nobody waits for it.
      sending.catch((thrown: unknown) => failures.push(thrown));
      underway.add(sending);
      if (underway.size >= atOnce) await Promise.race(underway);
    }
    await Promise.all(underway);
    return parts;
  } finally {
    // A part that arrives after the upload was aborted would stay for ever.
    failed.abort();
    await Promise.allSettled(underway);
  }
}

async function complete(
  storing: Storing,
  {key, uploadId}: Pick<BegunUpload, 'key' | 'uploadId'>,
  parts: readonly CompletedPart[],
): Promise<void> {
  const {patient, location} = storing.bucket;
  // Ceph, for one, completes an upload over an object that is there.
  if ((await attemptOf(storing.bucket, key)) !== undefined) throw nameTaken(location, key);
  const input = {
    Bucket: location.bucket,
    Key: key,
    UploadId: uploadId,
    MultipartUpload: {Parts: [...parts]},
  };
  await unlessPresent(storing, key, (condition) =>
    patient.send(new CompleteMultipartUploadCommand({...input, ...condition})),
  );
}

/**
 * Makes an object with `If-None-Match: *`, or without where the store does not know that. When the answer to a first
 * try was lost, the second is refused because of the first: the object's mark tells whose it is.
 */
async function unlessPresent(
  {bucket, attempt}: Storing,
  key: string,
  make: (condition: {IfNoneMatch?: '*'}) => Promise<unknown>,
): Promise<void> {
  try {
    await make({IfNoneMatch: '*'});
  } catch (thrown) {
    const {code, status} = refusalOf(thrown);
    if (status === 501 || code === 'NotImplemented') {
      debug(`The store takes no If-None-Match: ${messageOf(thrown)}`);
      // It would put one object over another.
      const stored = await attemptOf(bucket, key);
      if (stored !== undefined && stored !== attempt) throw nameTaken(bucket.location, key);
      await make({});
      return;
    }
    const isPerhapsOurs = status === 412 || status === 409 || code === 'NoSuchUpload';
    if (!isPerhapsOurs || (await attemptOf(bucket, key)) !== attempt) throw thrown;
  }
}

/** Aborts an upload, as well as it can be done while the run is cancelled. Tells whether it is gone. */
export async function abortUpload(
  {client, location, signal}: Bucket,
  {key, uploadId}: Pick<BegunUpload, 'key' | 'uploadId'>,
): Promise<boolean> {
  try {
    await client.send(
      new AbortMultipartUploadCommand({Bucket: location.bucket, Key: key, UploadId: uploadId}),
      {abortSignal: AbortSignal.timeout(patienceMilliseconds(signal))},
    );
    return true;
  } catch (thrown) {
    if (refusalOf(thrown).code === 'NoSuchUpload') return true;
    debug(`The upload of ${key} could not be aborted: ${messageOf(thrown)}`);
    return false;
  }
}

/** The uploads under a prefix that were begun and neither completed nor aborted. */
export async function listUploads(
  {client, location}: Bucket,
  prefix: string,
): Promise<readonly BegunUpload[]> {
  const begun: BegunUpload[] = [];
  let from: {KeyMarker?: string | undefined; UploadIdMarker?: string | undefined} = {};
  while (true) {
    const page = await client.send(
      new ListMultipartUploadsCommand({Bucket: location.bucket, Prefix: prefix, ...from}),
    );
    for (const {Key: key, UploadId: uploadId, Initiated: begunAt} of page.Uploads ?? []) {
      if (key !== undefined && uploadId !== undefined && begunAt !== undefined && key.startsWith(prefix))
        begun.push({key, uploadId, begunAt});
    }
    if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return begun;
    from = {KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker};
  }
}

function keepingFields({encryption, kmsKeyId, storageClass}: Keeping) {
  return {
    ...(encryption !== undefined && {ServerSideEncryption: encryption}),
    ...(kmsKeyId !== undefined && {SSEKMSKeyId: kmsKeyId}),
    // Other makes have classes that the SDK does not know.
    ...(storageClass !== undefined && {StorageClass: storageClass as StorageClass}),
  };
}

function markFields({attempt}: Pick<Storing, 'attempt'>) {
  return {Metadata: {[attemptMark]: attempt}};
}
