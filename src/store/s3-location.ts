import {randomUUID} from 'node:crypto';
import {problemOfName} from '../backup-set/naming.js';

/** Where in an object store backups are kept. */
export interface S3Location {
  readonly bucket: string;
  /** What every key begins with: empty, or with a slash at its end. */
  readonly prefix: string;
}

/** Whether a value of `storage` means an object store. */
export function isS3Url(text: string): boolean {
  return /^s3:/i.test(text);
}

/**
 * What is wrong with `s3://bucket[/prefix]`, or undefined. Buckets are named by the rules of all makes together: AWS
 * allows small letters only, older ones of it and others allow capitals and underscores.
 */
export function problemOfS3Url(text: string): string | undefined {
  const [, bucket, path = ''] = /^s3:\/\/([^/]*)(?:\/(.*))?$/s.exec(text) ?? [];
  if (bucket === undefined) return 'is not s3://bucket or s3://bucket/prefix';
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/.test(bucket))
    return `has no bucket's name in it: ${JSON.stringify(bucket)}`;
  const segments = path.replace(/\/$/, '').split('/');
  if (path === '' || path === '/') return undefined;
  if (segments.some((segment) => segment === '')) return 'has an empty part in its prefix';
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'has . or .. in its prefix';
  const forbidden = /["*?#\\]|\p{Cc}/u.exec(path)?.[0];
  if (forbidden !== undefined) return `must not contain ${JSON.stringify(forbidden)}`;
  // 1,024 bytes for a key, less 200 of the backup's name and what we append.
  return Buffer.byteLength(path) > 700 ? 'has a prefix longer than 700 bytes' : undefined;
}

/** Reads `s3://bucket[/prefix]` that has no problem. */
export function parseS3Url(text: string): S3Location {
  const [bucket = '', ...segments] = text
    .replace(/^s3:\/\//, '')
    .replace(/\/$/, '')
    .split('/');
  return {bucket, prefix: segments.map((segment) => `${segment}/`).join('')};
}

/** The key of a backup's metadata, the object that makes it exist. */
export function metadataKey({prefix}: S3Location, name: string): string {
  return `${prefix}${name}.json`;
}

/** What the keys of a backup's files begin with. */
export function filesPrefix({prefix}: S3Location, name: string): string {
  return `${prefix}${name}/`;
}

/** The key of one of a backup's files. */
export function fileKey(location: S3Location, name: string, file: string): string {
  return `${filesPrefix(location, name)}${file}`;
}

/** The key of an object that is there while a backup is stored that is still being made. */
export function claimKey({prefix}: S3Location, name: string): string {
  return `${prefix}${name}.claim`;
}

/** A key that no other run uses, for an upload that is begun and aborted. */
export function trialKey(location: S3Location, name: string): string {
  return fileKey(location, name, `${randomUUID()}.trial`);
}

/** The name of the backup whose metadata a key is; undefined for any other key. */
export function nameOfMetadata({prefix}: S3Location, key: string): string | undefined {
  if (!key.startsWith(prefix) || !key.endsWith('.json')) return undefined;
  const name = key.slice(prefix.length, -'.json'.length);
  return problemOfName(name) === undefined ? name : undefined;
}

/** A backup's address, for people: `s3://bucket/prefix/name`. */
export function addressOf({bucket, prefix}: S3Location, name = ''): string {
  return `s3://${bucket}/${prefix}${name}`.replace(/\/$/, '');
}

/** An upload of several parts that was begun and neither completed nor aborted. */
export interface BegunUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly begunAt: Date;
}

// GitHub ends a job after 6 hours, on runners of one's own after 5 days (GitHub Docs, "Usage limits").
const longestJobMilliseconds = 5 * 86_400_000;

/** Whether an upload is one that a run of this action left behind: a file of a backup, older than any job. */
export function isLeftover(upload: BegunUpload, {prefix}: S3Location, now: Date): boolean {
  if (!upload.key.startsWith(prefix)) return false;
  const [name = '', file = '', ...more] = upload.key.slice(prefix.length).split('/');
  return (
    more.length === 0 &&
    problemOfName(name) === undefined &&
    /^((base|pg_wal|\d+)\.tar(\.\w+)?|backup_manifest)(\.age)?$|^[\da-f-]{36}\.trial$/.test(file) &&
    now.getTime() - upload.begunAt.getTime() > longestJobMilliseconds
  );
}
