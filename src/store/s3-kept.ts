import {DeleteObjectCommand, PutObjectCommand} from '@aws-sdk/client-s3';
import {type Catalog, type CatalogEntry, entryOf, type Leftover} from '../backup-set/catalog.js';
import {problemOfName} from '../backup-set/naming.js';
import {type Evidence, formatProof, isDamage, parseProof, successor} from '../backup-set/proof-file.js';
import {allReportNames, type ReportFiles} from '../backup-set/report-file.js';
import {messageOf} from '../errors.js';
import {debug} from '../log.js';
import {type FactsCache, readDocuments, type StoredDocument} from './catalog-facts.js';
import {eachInParallel} from './parallel.js';
import {type Bucket, explained} from './s3-client.js';
import {filesPrefix, metadataKey, nameOfMetadata} from './s3-location.js';
import {addressOfKey, type Listing, list, readText} from './s3-read.js';

const deletionsAtOnce = 8;

/** What takes the place of a backup's metadata from the moment on from which it is being removed. */
const removingKey = (bucket: Bucket, name: string) => `${bucket.location.prefix}${name}.removing`;

const proofKey = (bucket: Bucket, name: string) => `${bucket.location.prefix}${name}.proof.json`;

/** Lists the complete backups of a bucket: their metadata, and files beside those. 1,000 objects a request. */
export async function listBackups(bucket: Bucket): Promise<Catalog> {
  const {location} = bucket;
  const listing = await list(bucket, location.prefix, '/');
  const etags = new Map(listing.objects.map(({key, etag}) => [key, etag]));
  const names = completeOf(bucket, listing);
  const document = (key: string): StoredDocument => ({
    key: `${key} ${etags.get(key)}`,
    name: addressOfKey(bucket, key),
    // One that is gone meanwhile is not understood.
    read: async () => (await readText(bucket, key)) ?? '',
  });
  const metadataOf = (name: string) => document(metadataKey(location, name));
  const proofOf = (name: string) => document(proofKey(bucket, name));
  const proven = names.filter((name) => etags.has(proofKey(bucket, name)));
  const facts = await readDocuments(
    {metadata: names.map(metadataOf), proofs: proven.map(proofOf)},
    {cache: cacheIn(bucket), signal: bucket.signal},
  );
  const entries: CatalogEntry[] = [];
  const unreadable: string[] = [];
  for (const name of names) {
    const known = facts.metadata.get(metadataOf(name).key);
    if (known === undefined) unreadable.push(name);
    else entries.push(entryOf({id: name, name}, known, [facts.proofs.get(proofOf(name).key)]));
  }
  return {entries, unreadable, leftovers: leftoversOf(bucket, listing)};
}

function completeOf({location}: Bucket, {objects, directories}: Listing): readonly string[] {
  return objects.flatMap(({key}) => {
    const name = nameOfMetadata(location, key);
    return name !== undefined && directories.has(filesPrefix(location, name)) ? [name] : [];
  });
}

function leftoversOf({location}: Bucket, {objects}: Listing): readonly Leftover[] {
  return objects.flatMap(({key}) => {
    const name = /^(.*)\.removing$/.exec(key.slice(location.prefix.length))?.[1];
    return name === undefined || problemOfName(name) !== undefined ? [] : [{id: name, name}];
  });
}

/** Keeps what metadata objects tell beside them. A role that may not write there goes on without. */
function cacheIn(bucket: Bucket): FactsCache {
  const key = `${bucket.location.prefix}pg-basebackup-catalog.cache`;
  return {
    load: () => readText(bucket, key),
    save: (text) =>
      overwrite(bucket, key, text).catch((error: unknown) => {
        debug(`${addressOfKey(bucket, key)} could not be written: ${messageOf(error)}`);
      }),
  };
}

/** Removes a backup, its metadata first. Throws a UserError when something is left. */
export async function removeFromBucket(bucket: Bucket, {name}: CatalogEntry): Promise<void> {
  await overwrite(bucket, removingKey(bucket, name), name);
  await remove(bucket, metadataKey(bucket.location, name));
  await removeRest(bucket, name);
}

/** Goes on with a removal that was interrupted. Throws a UserError when something is left. */
export async function removeLeftoverFromBucket(bucket: Bucket, {name}: Leftover): Promise<void> {
  // Either the removal was interrupted before its first step, or somebody has made a backup of the same name since.
  const isBackup = (await readText(bucket, metadataKey(bucket.location, name))) !== undefined;
  if (isBackup) await remove(bucket, removingKey(bucket, name));
  else await removeRest(bucket, name);
}

async function removeRest(bucket: Bucket, name: string): Promise<void> {
  const {objects} = await list(bucket, filesPrefix(bucket.location, name));
  await eachInParallel(objects, {limit: deletionsAtOnce, signal: bucket.signal}, ({key}) =>
    remove(bucket, key),
  );
  await remove(bucket, proofKey(bucket, name));
  await removeReports(bucket, name);
  await remove(bucket, removingKey(bucket, name));
}

/** Most backups have none, so that it is asked first. */
async function removeReports(bucket: Bucket, name: string): Promise<void> {
  const {prefix} = bucket.location;
  const ours = new Set(allReportNames(name).map((file) => prefix + file));
  const {objects} = await list(bucket, `${prefix}${name}.`, '/');
  for (const {key} of objects.filter((object) => ours.has(object.key))) await remove(bucket, key);
}

/** Stores a report's files beside a backup. */
export async function saveReportInBucket(bucket: Bucket, files: ReportFiles): Promise<void> {
  for (const [name, text] of Object.entries(files))
    await overwrite(bucket, bucket.location.prefix + name, text);
}

/** Stores a proof or damage, unless a better proof of the same backup is there. */
export async function saveProofInBucket(bucket: Bucket, evidence: Evidence): Promise<Evidence | undefined> {
  const key = proofKey(bucket, evidence.name);
  const old = await readText(bucket, key);
  const next = successor(evidence, old === undefined ? undefined : parseProof(old));
  if (next === undefined) return undefined;
  // A backup that was removed meanwhile is not damaged, and nobody would remove the note.
  const metadata = metadataKey(bucket.location, evidence.name);
  if (isDamage(next) && (await readText(bucket, metadata)) === undefined) return undefined;
  await overwrite(bucket, key, formatProof(next));
  return next;
}

async function overwrite(bucket: Bucket, key: string, text: string): Promise<void> {
  const {client, location, signal} = bucket;
  const doing = {what: `${addressOfKey(bucket, key)} could not be stored`, action: 's3:PutObject'} as const;
  const command = new PutObjectCommand({Bucket: location.bucket, Key: key, Body: Buffer.from(text)});
  await explained(bucket, doing, () => client.send(command, {abortSignal: signal}));
}

async function remove(bucket: Bucket, key: string): Promise<void> {
  const {client, location, signal} = bucket;
  const what = `${addressOfKey(bucket, key)} could not be removed`;
  const command = new DeleteObjectCommand({Bucket: location.bucket, Key: key});
  await explained(bucket, {what, action: 's3:DeleteObject'}, () =>
    client.send(command, {abortSignal: signal}),
  );
}
