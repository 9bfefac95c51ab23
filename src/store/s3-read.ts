import {GetObjectCommand, ListObjectsV2Command} from '@aws-sdk/client-s3';
import {addressOfBucket, type Bucket, explained} from './s3-client.js';
import {refusalOf} from './s3-refusal.js';

/** Objects, and what looks like directories. */
export interface Listing {
  readonly objects: readonly {
    readonly key: string;
    readonly sizeBytes: number;
    readonly storedAt: number;
    readonly etag: string | undefined;
  }[];
  /** What the keys begin with that have a slash behind the prefix. */
  readonly directories: ReadonlySet<string>;
}

/** Lists the objects whose keys begin with `prefix`; up to the next slash only, with a delimiter. 1,000 a request. */
export async function list(bucket: Bucket, prefix: string, delimiter?: '/'): Promise<Listing> {
  const {client, location, signal} = bucket;
  const objects: Listing['objects'][number][] = [];
  const directories = new Set<string>();
  const doing = {what: `${addressOfBucket(bucket)} could not be listed`, action: 's3:ListBucket'} as const;
  let token: string | undefined;
  do {
    const input = {
      Bucket: location.bucket,
      Prefix: prefix,
      ...(delimiter && {Delimiter: delimiter}),
      ...(token !== undefined && {ContinuationToken: token}),
    };
    const page = await explained(bucket, doing, () =>
      client.send(new ListObjectsV2Command(input), {abortSignal: signal}),
    );
    for (const {Key: key = '', Size: sizeBytes = 0, LastModified, ETag: etag} of page.Contents ?? [])
      objects.push({key, sizeBytes, storedAt: LastModified?.getTime() ?? 0, etag});
    for (const {Prefix: directory = ''} of page.CommonPrefixes ?? []) directories.add(directory);
    token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
  } while (token !== undefined);
  return {objects, directories};
}

/** The first key that begins so; undefined when there is none. One request. */
export async function firstKey(bucket: Bucket, prefix: string): Promise<string | undefined> {
  const {client, location, signal} = bucket;
  const doing = {what: `${addressOfBucket(bucket)} could not be listed`, action: 's3:ListBucket'} as const;
  const command = new ListObjectsV2Command({Bucket: location.bucket, Prefix: prefix, MaxKeys: 1});
  const {Contents} = await explained(bucket, doing, () => client.send(command, {abortSignal: signal}));
  return Contents?.[0]?.Key;
}

/** An object's address, for people. */
export function addressOfKey({location}: Bucket, key: string): string {
  return `s3://${location.bucket}/${key}`;
}

/** The text of an object; undefined when there is none. */
export async function readText(bucket: Bucket, key: string): Promise<string | undefined> {
  const {client, location, signal} = bucket;
  const doing = {what: `${addressOfKey(bucket, key)} could not be read`, action: 's3:GetObject'} as const;
  return explained(bucket, doing, async () => {
    try {
      const command = new GetObjectCommand({Bucket: location.bucket, Key: key});
      const {Body} = await client.send(command, {abortSignal: signal});
      return await Body?.transformToString();
    } catch (thrown) {
      if (refusalOf(thrown).code === 'NoSuchKey') return undefined;
      throw thrown;
    }
  });
}
