import {createHash} from 'node:crypto';
import {type BackupFacts, factsOf} from '../backup-set/catalog.js';
import {parseMetadata} from '../backup-set/metadata.js';
import {type Evidence, parseProof} from '../backup-set/proof-file.js';
import {describe, UserError} from '../errors.js';
import {debug, warning} from '../log.js';
import {eachInParallel} from './parallel.js';

/** A metadata or proof file in a store where reading one is a request. */
export interface StoredDocument {
  /** Tells this very content from any other: an artifact's id; an object's key and its ETag. */
  readonly key: string;
  /** For people. */
  readonly name: string;
  read(): Promise<string>;
}

/**
 * Where a store keeps what it has read before, as one text. It may lose it at any time. Whoever may write there can
 * make the catalog wrong: a store compares with the metadata themselves before it removes anything.
 */
export interface FactsCache {
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
}

/** What documents told, by their keys. A document that was not understood is in none. */
export interface DocumentFacts {
  readonly metadata: ReadonlyMap<string, BackupFacts>;
  readonly proofs: ReadonlyMap<string, Evidence>;
}

/** Documents of both kinds. */
export interface CatalogDocuments {
  readonly metadata: readonly StoredDocument[];
  readonly proofs: readonly StoredDocument[];
}

const readsAtOnce = 8;

/** Up to so many documents are read without asking a cache, which would cost about as many requests. */
const fewDocuments = 10;

/** 4: with the parents of incremental backups, which a prune must know, how long each backup took, and damage. */
const cacheVersion = 4;

/**
 * Reads what a catalog needs of metadata and proof files, each at most once in the life of the cache. Throws what
 * `read` throws; a file that is not understood makes a warning.
 */
export async function readDocuments(
  documents: CatalogDocuments,
  {cache, signal}: {readonly cache: FactsCache; readonly signal: AbortSignal},
): Promise<DocumentFacts> {
  const {metadata, proofs} = documents;
  const isMany = metadata.length + proofs.length > fewDocuments;
  const known = isMany ? parseCache(await cache.load()) : emptyCache();
  const facts = {metadata: listed(metadata, known.metadata), proofs: listed(proofs, known.proofs)};
  const unread = [
    ...metadata
      .filter(({key}) => !facts.metadata.has(key))
      .map((document) => ({document, take: (text: string) => takeMetadata(document, text, facts.metadata)})),
    ...proofs
      .filter(({key}) => !facts.proofs.has(key))
      .map((document) => ({document, take: (text: string) => takeProof(document, text, facts.proofs)})),
  ];
  await eachInParallel(unread, {limit: readsAtOnce, signal}, async ({document, take}) =>
    take(await document.read()),
  );
  if (isMany && unread.length > 0) await cache.save(formatCache(facts));
  return facts;
}

function takeMetadata({key, name}: StoredDocument, text: string, into: Map<string, BackupFacts>): void {
  try {
    into.set(key, factsOf(parseMetadata(text, name), createHash('sha256').update(text).digest('hex')));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    warning(describe(error));
  }
}

function takeProof({key, name}: StoredDocument, text: string, into: Map<string, Evidence>): void {
  const proof = parseProof(text);
  if (proof) into.set(key, proof);
  else debug(`${name} is not a proof file that this version of the action understands.`);
}

interface Cached {
  readonly version: typeof cacheVersion;
  readonly metadata: Readonly<Record<string, BackupFacts>>;
  readonly proofs: Readonly<Record<string, Evidence>>;
}

const emptyCache = (): Cached => ({version: cacheVersion, metadata: {}, proofs: {}});

/** What an older or newer version of the action kept is read anew. */
function parseCache(text: string | undefined): Cached {
  if (text === undefined) return emptyCache();
  try {
    const value = JSON.parse(text) as Partial<Cached> | null;
    return value?.version === cacheVersion ? {...emptyCache(), ...value} : emptyCache();
  } catch {
    return emptyCache();
  }
}

/** What is not listed any more is forgotten. */
function formatCache({metadata, proofs}: DocumentFacts): string {
  return JSON.stringify({
    version: cacheVersion,
    metadata: Object.fromEntries(metadata),
    proofs: Object.fromEntries(proofs),
  } satisfies Cached);
}

function listed<T>(documents: readonly StoredDocument[], known: Readonly<Record<string, T>>): Map<string, T> {
  const found = documents.flatMap(({key}) => {
    const value = Object.hasOwn(known, key) ? known[key] : undefined;
    return value === undefined ? [] : [[key, value] as const];
  });
  return new Map(found);
}
