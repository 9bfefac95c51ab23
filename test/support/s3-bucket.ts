import {randomBytes} from 'node:crypto';
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {describe, inject} from 'vitest';
import {hasCeph, type ObjectStore} from './radosgw.js';

const missing = 'They need Ceph (ceph-mon, ceph-osd, radosgw), which script/setup installs.';

/** Like `describe`, with a real object store for the tests; where Ceph is not installed they are skipped, but in CI. */
export function describeWithObjectStore(subject: string, tests: (store: ObjectStore) => void): void {
  const store = inject('objectStore');
  if (store === undefined) skip(subject);
  else describe(subject, () => tests(store));
}

/** The same for tests that start a store of their own, in a ring that has none. */
export function describeWithCeph(subject: string, tests: () => void): void {
  if (hasCeph()) describe(subject, tests);
  else skip(subject);
}

function skip(subject: string): void {
  if (process.env.CI !== undefined) throw new Error(missing);
  process.stderr.write(`\n\n### SKIPPED: ${subject}. ${missing}\n\n`);
  describe.skip(subject, () => undefined);
}

/** A bucket of its own for one test, seen past the action and past any proxy. */
export interface TestBucket {
  readonly name: string;
  /** All keys, in the order in which the store lists them. */
  keys(): Promise<readonly string[]>;
  /** Keys of uploads that were begun and neither completed nor aborted. */
  uploads(): Promise<readonly string[]>;
  put(key: string, body: string | Buffer): Promise<void>;
  remove(key: string): Promise<void>;
  /** Begins an upload, and leaves it alone. */
  begin(key: string): Promise<void>;
}

/** Makes an empty bucket. */
export async function makeBucket(store: ObjectStore): Promise<TestBucket> {
  const client = new S3Client({
    endpoint: store.origin,
    forcePathStyle: true,
    region: 'us-east-1',
    credentials: {accessKeyId: store.accessKeyId, secretAccessKey: store.secretAccessKey},
  });
  const name = `backups-${randomBytes(6).toString('hex')}`;
  await client.send(new CreateBucketCommand({Bucket: name}));
  return {
    name,
    async keys() {
      const {Contents = []} = await client.send(new ListObjectsV2Command({Bucket: name}));
      return Contents.map(({Key = ''}) => Key);
    },
    async uploads() {
      const {Uploads = []} = await client.send(new ListMultipartUploadsCommand({Bucket: name}));
      return Uploads.map(({Key = ''}) => Key);
    },
    async put(key, body) {
      await client.send(new PutObjectCommand({Bucket: name, Key: key, Body: body}));
    },
    async remove(key) {
      await client.send(new DeleteObjectCommand({Bucket: name, Key: key}));
    },
    async begin(key) {
      await client.send(new CreateMultipartUploadCommand({Bucket: name, Key: key}));
    },
  };
}

/** What gives a step the credentials of the store's user. */
export function credentialsOf({accessKeyId, secretAccessKey}: ObjectStore): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_REGION: 'us-east-1',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}
