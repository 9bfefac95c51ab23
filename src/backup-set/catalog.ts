import type {Metadata} from './metadata.js';
import {type DamageRecord, type Evidence, heldAt, isVerified, judge, type ProofRecord} from './proof-file.js';

/** A complete backup, as a store lists it. */
export interface CatalogEntry extends BackupFacts {
  /** Unique within its store, which alone knows what it means. */
  readonly id: string;
  readonly name: string;
  /** The proof that says most of it; undefined: none was found. */
  readonly proof?: ProofRecord;
  /** That a step has found it damaged since; undefined: none has. */
  readonly damage?: DamageRecord;
}

/** What a metadata file tells a catalog. It never changes, so that it may be kept. */
export interface BackupFacts {
  /** ISO 8601 in UTC. */
  readonly finishedAt: string;
  /** Bytes of all files as they are stored. */
  readonly sizeBytes: number;
  /** How long pg_basebackup and what belongs to it took; undefined where an older version listed it. */
  readonly durationSeconds?: number;
  readonly systemIdentifier: string;
  /** Name of the backup that an incremental one needs to be restored; undefined: it needs none. */
  readonly parent?: string;
  /** SHA-256 of the metadata file, lower-case hexadecimal. */
  readonly metadataSha256: string;
}

/** All complete backups of a store, read from their metadata files alone. */
export interface Catalog {
  readonly entries: readonly CatalogEntry[];
  /** Backups whose metadata cannot be understood: damaged, or of a newer version of the action. */
  readonly unreadable: readonly string[];
  /** What interrupted removals left; not what somebody is storing, or has made by hand. */
  readonly leftovers: readonly Leftover[];
}

/** Files of a backup that has lost its metadata. */
export type Leftover = Pick<CatalogEntry, 'id' | 'name'>;

/** The catalog's part of a metadata file. */
export function factsOf(metadata: Metadata, metadataSha256: string): BackupFacts {
  const {finishedAt, sizeBytes, durationSeconds, systemIdentifier, parent} = metadata;
  const facts = {finishedAt, sizeBytes, durationSeconds, systemIdentifier, metadataSha256};
  return parent ? {...facts, parent: parent.name} : facts;
}

/** An entry with what is proven of it. */
export function entryOf(
  {id, name}: Pick<CatalogEntry, 'id' | 'name'>,
  facts: BackupFacts,
  evidence: readonly (Evidence | undefined)[],
): CatalogEntry {
  return {id, name, ...facts, ...judge(evidence, facts.metadataSha256)};
}

/** Newest first. */
export function newestFirst(entries: readonly CatalogEntry[]): CatalogEntry[] {
  return entries.toSorted((a, b) => Date.parse(b.finishedAt) - Date.parse(a.finishedAt));
}

/**
 * The newest backup that was finished by a time, or the newest of all. Where none was finished by then, the oldest: it
 * comes nearest, and whoever wants to recover to that time is told how much later it can be.
 */
export function newestBy(
  entries: readonly CatalogEntry[],
  finishedBy: Date | undefined,
): CatalogEntry | undefined {
  const sorted = newestFirst(entries);
  if (finishedBy === undefined) return sorted[0];
  return sorted.find(({finishedAt}) => Date.parse(finishedAt) <= finishedBy.getTime()) ?? sorted.at(-1);
}

/**
 * The backups whose restore was proven, newest first. Not those that build on one that was removed, or found damaged
 * since then.
 */
export function verifiedOf(catalog: readonly CatalogEntry[]): readonly CatalogEntry[] {
  const named = byName(catalog);
  return newestFirst(catalog).filter((entry) => {
    const {proof} = entry;
    if (!proof || !isVerified(proof)) return false;
    const ancestors = ancestorsOf(entry, named);
    return ancestors?.every(({damage}) => !damage || Date.parse(damage.foundAt) < heldAt(proof));
  });
}

/** The backups that nothing is known to be wrong with, nor with what they build on. */
export function wholeOf(catalog: readonly CatalogEntry[]): ReadonlySet<CatalogEntry> {
  const named = byName(catalog);
  const isWhole = (entry: CatalogEntry) =>
    ancestorsOf(entry, named)?.every(({damage}) => damage === undefined) && entry.damage === undefined;
  return new Set(catalog.filter(isWhole));
}

/** Among a backup and what it builds on, one that was found damaged. */
export function damagedIn(entry: CatalogEntry, catalog: readonly CatalogEntry[]): CatalogEntry | undefined {
  return [entry, ...(ancestorsOf(entry, byName(catalog)) ?? [])].find(({damage}) => damage !== undefined);
}

const byName = (catalog: readonly CatalogEntry[]) => Map.groupBy(catalog, ({name}) => name);

/**
 * All that a backup builds on; undefined: something of it is not there. Where several backups have a name, all of them
 * count.
 */
function ancestorsOf(
  entry: CatalogEntry,
  named: ReadonlyMap<string, readonly CatalogEntry[]>,
): readonly CatalogEntry[] | undefined {
  const names = new Set<string>();
  const found = new Set<CatalogEntry>();
  const waiting = [entry.parent];
  for (let name = waiting.pop(); waiting.length > 0 || name !== undefined; name = waiting.pop()) {
    if (name === undefined || names.has(name)) continue;
    names.add(name);
    const parents = (named.get(name) ?? []).filter((one) => one !== entry);
    if (parents.length === 0) return undefined;
    for (const one of parents) {
      found.add(one);
      waiting.push(one.parent);
    }
  }
  return [...found];
}
