import {createHash} from 'node:crypto';
import {DamagedBackupError} from '../backup-set/digest.js';
import {type BackupFile, parseMetadata} from '../backup-set/metadata.js';
import {isPattern, matchesName, problemOfName} from '../backup-set/naming.js';
import {copyVerified} from '../backup-set/source.js';
import {describe, UserError} from '../errors.js';
import {warning} from '../log.js';
import {suspecting} from './damage.js';
import {addressOfBucket, type Bucket, explained} from './s3-client.js';
import type {StoredObject} from './s3-download.js';
import {addressOf, fileKey, filesPrefix, metadataKey, nameOfMetadata} from './s3-location.js';
import {attemptOf} from './s3-multipart.js';
import {addressOfKey, list, readText} from './s3-read.js';
import {bucketSource} from './s3-source.js';
import type {FoundBackup} from './store.js';

/** A backup whose metadata is there, and when that was stored. */
interface Candidate {
  readonly name: string;
  readonly storedAt: number;
}

/** Metadata files that are read side by side. */
const readAtOnce = 4;
/** Milliseconds: stores tell when an object was stored by the second. */
const clockStep = 1000;
const namesShown = 20;

/** Finds a backup by exact name, pattern, or the newest. Throws a UserError that lists what is there when none fits. */
export async function findInBucket(bucket: Bucket, wanted: string): Promise<FoundBackup> {
  if (wanted === 'latest' || isPattern(wanted)) return findNewest(bucket, wanted);
  const read = problemOfName(wanted) === undefined ? await readMetadata(bucket, wanted) : undefined;
  return read ? openBackup(bucket, wanted, read) : findHandMade(bucket, wanted);
}

/**
 * No backup is newer than its metadata object, so that a search in the order of those ends as soon as the next one is
 * older than the newest backup known: a few requests, however many backups there are.
 */
async function findNewest(bucket: Bucket, wanted: string): Promise<FoundBackup> {
  const candidates = (await listCandidates(bucket, wanted)).toSorted((a, b) => b.storedAt - a.storedAt);
  let newest: {name: string; read: ReadMetadata; finishedAt: number} | undefined;
  while (newest === undefined || (candidates[0]?.storedAt ?? 0) + clockStep > newest.finishedAt) {
    const next = candidates.splice(0, newest === undefined ? 1 : readAtOnce);
    if (next.length === 0) break;
    for (const one of await Promise.all(next.map(({name}) => readCandidate(bucket, name)))) {
      if (one !== undefined && (newest === undefined || one.finishedAt > newest.finishedAt)) newest = one;
    }
  }
  if (newest !== undefined) return openBackup(bucket, newest.name, newest.read);
  throw await nothingFound(bucket, wanted);
}

async function readCandidate(bucket: Bucket, name: string) {
  const text = await readText(bucket, metadataKey(bucket.location, name));
  try {
    const read = text === undefined ? undefined : parse(bucket, name, text);
    return read && {name, read, finishedAt: Date.parse(read.metadata.finishedAt)};
  } catch (thrown) {
    // What is not a backup's metadata must not hide the backups beside it.
    warning(describe(thrown));
    return undefined;
  }
}

/** The backups whose metadata and files are there. */
async function listCandidates(bucket: Bucket, wanted: string): Promise<readonly Candidate[]> {
  const {location} = bucket;
  const literal = wanted === 'latest' ? '' : (/^[^*?]*/.exec(wanted)?.[0] ?? '');
  const {objects, directories} = await list(bucket, `${location.prefix}${literal}`, '/');
  return objects.flatMap(({key, storedAt}) => {
    const name = nameOfMetadata(location, key);
    if (name === undefined || !matchesName(name, wanted)) return [];
    return directories.has(filesPrefix(location, name)) ? [{name, storedAt}] : [];
  });
}

/** Undefined when there are none. */
async function readMetadata(bucket: Bucket, name: string): Promise<ReadMetadata | undefined> {
  const text = await readText(bucket, metadataKey(bucket.location, name));
  return text === undefined ? undefined : parse(bucket, name, text);
}

function parse(bucket: Bucket, name: string, text: string): ReadMetadata {
  const metadata = parseMetadata(text, addressOfKey(bucket, metadataKey(bucket.location, name)));
  const metadataSha256 = createHash('sha256').update(text).digest('hex');
  return {metadata, metadataSha256, metadataText: text};
}

type ReadMetadata = Required<Pick<FoundBackup, 'metadata' | 'metadataSha256' | 'metadataText'>>;

/** Compares the list of objects with the metadata. Throws a DamagedBackupError that names the file that is not there as it was. */
async function openBackup(bucket: Bucket, name: string, read: ReadMetadata): Promise<FoundBackup> {
  const {metadata} = read;
  const prefix = filesPrefix(bucket.location, name);
  const {objects} = await list(bucket, prefix);
  const objectOf = (file: BackupFile): StoredObject => {
    const key = fileKey(bucket.location, name, file.name);
    const object = objects.find((one) => one.key === key);
    if (object?.sizeBytes === file.sizeBytes) return {...object, fileName: file.name};
    const found = object === undefined ? 'is missing' : `has ${object.sizeBytes} bytes of ${file.sizeBytes}`;
    throw new DamagedBackupError(
      `Backup ${name} is not whole: s3://${bucket.location.bucket}/${key} ${found}.`,
      'Restore another backup.',
      {files: [file.name], isCertain: true},
    );
  };
  const files = await suspecting({name, ...read}, async () => metadata.files.map(objectOf));
  return found(bucket, name, {files, read});
}

function found(
  bucket: Bucket,
  name: string,
  {files, read}: {readonly files: readonly StoredObject[]; readonly read?: ReadMetadata},
): FoundBackup {
  const location = addressOf(bucket.location, name);
  const source = bucketSource(bucket, location, files);
  const here = {name, location, source, ...read};
  return {
    ...here,
    fetch: async () => here,
    fetchFile: (file, into) => copyVerified(source, file, into),
  };
}

/** A backup that somebody made with pg_basebackup and copied there, but not one whose run did not finish. */
async function findHandMade(bucket: Bucket, name: string): Promise<FoundBackup> {
  const prefix = filesPrefix(bucket.location, name);
  const isName = name !== '' && !name.split('/').some((part) => part === '' || part === '.' || part === '..');
  const {objects} = isName ? await list(bucket, prefix) : {objects: []};
  const files = objects
    .map((object) => ({...object, fileName: object.key.slice(prefix.length)}))
    .filter(({fileName}) => !fileName.endsWith('/') && fileName !== '');
  const [first] = files;
  if (first === undefined) throw await nothingFound(bucket, name);
  const address = addressOf(bucket.location, name);
  const outside = files.find(({fileName}) =>
    fileName.split('/').some((part) => ['', '.', '..'].includes(part)),
  );
  if (outside) {
    throw new UserError(
      `The backup ${address} holds a key that is no file's name: ${JSON.stringify(outside.key)}.`,
      'Remove that object, or restore another backup.',
    );
  }
  const doing = {
    what: `s3://${bucket.location.bucket}/${first.key} could not be read`,
    action: 's3:GetObject',
  } as const;
  if ((await explained(bucket, doing, () => attemptOf(bucket, first.key))) !== null)
    throw unfinished(address);
  if (files.some(({fileName}) => fileName === 'PG_VERSION')) throw plainInBucket(address);
  return found(bucket, name, {files});
}

function unfinished(address: string): UserError {
  return new UserError(
    `${address} is not complete: the run that stored it did not come to its end, or its metadata (${address}.json) was removed.`,
    `Restore another backup, and remove this one: aws s3 rm --recursive ${address}/`,
  );
}

function plainInBucket(address: string): UserError {
  return new UserError(
    `${address} is a data directory that was copied file by file, and an object store keeps no empty directories, without which PostgreSQL does not start.`,
    'Store it as an archive: tar --create --file=base.tar --directory=DATA . && aws s3 cp base.tar ' +
      `${address}-tar/base.tar`,
  );
}

async function nothingFound(bucket: Bucket, wanted: string): Promise<UserError> {
  const what =
    wanted === 'latest'
      ? 'no complete backup of this action'
      : isPattern(wanted)
        ? `no complete backup that matches ${wanted}`
        : `no backup ${wanted}`;
  const names = (await listCandidates(bucket, 'latest')).map(({name}) => name).toSorted();
  const more = names.length > namesShown ? ', ...' : '';
  const there =
    names.length === 0
      ? 'There are none at all.'
      : `There are: ${names.slice(0, namesShown).join(', ')}${more}.`;
  return new UserError(
    `There is ${what} in ${addressOfBucket(bucket)}. ${there}`,
    'Correct storage and backup-name; a backup made by hand is found by its exact name only.',
  );
}
