import type {Catalog, CatalogEntry, Leftover} from '../backup-set/catalog.js';
import {isOfKind} from '../backup-set/naming.js';
import {decideRetention, otherKind, type Retention} from '../backup-set/retention.js';
import {describe} from '../errors.js';
import {groupedPhase, info, warning} from '../log.js';
import type {Store} from '../store/store.js';
import type {RetentionRequest} from './request.js';

/** The backup that was just made, or that a dry run would make. */
export type Made = Pick<CatalogEntry, 'name' | 'finishedAt' | 'sizeBytes' | 'systemIdentifier' | 'parent'>;

/** What became of older backups. */
export interface Pruned extends Retention {
  /** Names of those that went; of a dry run, of those that would. */
  readonly gone: readonly string[];
  /** Those that should have gone, and did not. */
  readonly left: readonly CatalogEntry[];
}

/** How a prune is done. */
export interface Pruning {
  readonly store: Store;
  readonly retention: RetentionRequest;
  /** Decides and tells, and removes nothing. */
  readonly dryRun: boolean;
}

/** A store that refuses three times is not asked hundreds of times more. */
const failuresTaken = 3;

/**
 * Removes the backups that are not to be kept. The backup that was just made is good whatever happens here, so that
 * nothing of it fails the step: a warning says what is left. Undefined when it could not be decided.
 */
export async function prune(made: Made, pruning: Pruning): Promise<Pruned | undefined> {
  return groupedPhase(pruning.dryRun ? 'Prune: plan' : 'Prune', () => pruneCatalog(made, pruning));
}

async function pruneCatalog(made: Made, {store, retention, dryRun}: Pruning): Promise<Pruned | undefined> {
  const catalog = await listOrWarn(store);
  if (catalog === undefined) return undefined;
  const isOf = (name: string) => isOfKind(name, retention.kind);
  const entry = find(catalog, made);
  const decided = decideRetention([...catalog.entries.filter(({id}) => id !== entry.id), entry], {
    rules: retention.rules,
    made: entry,
    isOfKind: isOf,
  });
  tellKept(decided, dryRun);
  if (dryRun) {
    for (const removed of decided.removed) info(`Would go: ${nameOf(removed)}`);
    return {...decided, gone: decided.removed.map(({name}) => name), left: []};
  }
  const leftovers = catalog.leftovers.filter(({name}) => isOf(name));
  await removeLeftovers(leftovers, store);
  return {...decided, ...(await removeAll(decided.removed, store))};
}

/** A store may have many others: a dry run alone tells of each. */
function tellKept({kept, removed, others}: Retention, dryRun: boolean): void {
  for (const {entry, reasons} of [...kept, ...(dryRun ? others : [])])
    info(`Stays: ${nameOf(entry)}: ${reasons.join(', ')}`);
  info(`Others, of another system or kind of name, which are left alone: ${others.length}`);
  const isAlone = kept.length + removed.length === 1;
  if (isAlone && others.some(({reasons}) => reasons.includes(otherKind)))
    info(
      'No other backup has a name of its kind. If there should be some, set keep-names, such as nightly-*.',
    );
}

/** Nothing is removed as long as it is not known of every backup whether it needs another. */
async function listOrWarn(store: Store): Promise<Catalog | undefined> {
  const catalog = await store.list().catch((error: unknown) => {
    warning(`Older backups could not be listed, so none was removed: ${describe(error)}`);
    return undefined;
  });
  if (catalog === undefined || catalog.unreadable.length === 0) return catalog;
  warning(
    `No older backup was removed, because the metadata of these cannot be read, and they may need others: ${catalog.unreadable.join(', ')}. Use the version of the action that made them, or remove them yourself.`,
  );
  return undefined;
}

/** What was stored a moment ago may not be listed yet. */
function find({entries}: Catalog, made: Made): CatalogEntry {
  const listed = entries.find(
    ({name, finishedAt, systemIdentifier}) =>
      name === made.name && finishedAt === made.finishedAt && systemIdentifier === made.systemIdentifier,
  );
  const {name, finishedAt, sizeBytes, systemIdentifier, parent} = made;
  const facts = {name, finishedAt, sizeBytes, systemIdentifier, ...(parent !== undefined && {parent})};
  return listed ?? {...facts, id: '', metadataSha256: ''};
}

async function removeLeftovers(leftovers: readonly Leftover[], store: Store): Promise<void> {
  for (const leftover of leftovers) {
    try {
      await store.removeLeftover(leftover);
      info(`Gone: ${leftover.name}, whose removal was interrupted`);
    } catch (error) {
      warning(`What is left of ${leftover.name} could not be removed: ${describe(error)}`);
    }
  }
}

async function removeAll(
  entries: readonly CatalogEntry[],
  store: Store,
): Promise<Pick<Pruned, 'gone' | 'left'>> {
  const gone: string[] = [];
  const left: CatalogEntry[] = [];
  const failures: unknown[] = [];
  for (const entry of entries) {
    const isNeeded = left.some(({parent}) => parent === entry.name);
    if (isNeeded || failures.length >= failuresTaken) {
      left.push(entry);
      continue;
    }
    try {
      await store.remove(entry);
      info(`Gone: ${nameOf(entry)}`);
      gone.push(entry.name);
    } catch (error) {
      failures.push(error);
      left.push(entry);
    }
  }
  if (left.length > 0)
    warning(
      `The backup is stored, but ${left.length} older ones that should have gone are left: ${left.map(({name}) => name).join(', ')}. ${[...new Set(failures.map(describe))].join('\n')}`,
    );
  return {gone, left};
}

function nameOf({name, finishedAt}: CatalogEntry): string {
  return `${name}, finished ${finishedAt}`;
}
