import {afterEach, beforeEach, describe, expect, test} from 'vitest';
import {prune} from '../../src/backup/prune.js';
import type {Catalog, CatalogEntry} from '../../src/backup-set/catalog.js';
import {UserError} from '../../src/errors.js';
import {type FactsCache, readDocuments} from '../../src/store/catalog-facts.js';
import type {Store} from '../../src/store/store.js';

let output = '';
const {write} = process.stdout;
beforeEach(() => {
  output = '';
  process.stdout.write = (chunk: string | Uint8Array) => {
    output += String(chunk);
    return true;
  };
});
afterEach(() => {
  process.stdout.write = write;
});

const entry = (name: string, day: number, parent?: string): CatalogEntry => ({
  id: name,
  name,
  finishedAt: new Date(Date.UTC(2026, 0, day)).toISOString(),
  sizeBytes: 1,
  systemIdentifier: 'ours',
  metadataSha256: 'a'.repeat(64),
  ...(parent !== undefined && {parent}),
});

const made = entry('made', 31);

/** A store in memory that refuses to remove some backups; `removed` tells what was asked of it. */
function storeWith(catalog: Partial<Catalog>, refused: readonly string[] = []) {
  const removed: string[] = [];
  const never = (): never => {
    throw new Error('A prune has no business with this.');
  };
  const remove = async ({name}: {readonly name: string}): Promise<void> => {
    removed.push(name);
    if (refused.includes(name)) throw new UserError(`${name} could not be removed.`, 'Ask its owner.');
  };
  const store: Store = {
    takesDirectories: true,
    checkName: never,
    save: never,
    find: never,
    findParent: never,
    saveProof: never,
    saveReport: never,
    list: async () => ({entries: [], unreadable: [], leftovers: [], ...catalog}),
    remove,
    removeLeftover: remove,
  };
  return {store, removed};
}

const pruning = (store: Store) => ({
  store,
  retention: {rules: {last: 1}, kind: {pattern: '*'}},
  dryRun: false,
});

describe('a prune', () => {
  test('goes on after a failure, but not with what the failed one needs, and warns of what is left', async () => {
    const entries = [
      entry('full', 1),
      entry('child', 2, 'full'),
      entry('grandchild', 3, 'child'),
      entry('single', 4),
      made,
    ];
    const {store, removed} = storeWith({entries}, ['child']);
    const pruned = await prune(made, pruning(store));
    expect(removed).toEqual(['single', 'grandchild', 'child']);
    expect(pruned?.gone).toEqual(['single', 'grandchild']);
    expect(pruned?.left.map(({name}) => name)).toEqual(['child', 'full']);
    expect(output).toContain('::warning::The backup is stored, but 2 older ones');
    expect(output).toContain('are left: child, full. child could not be removed.');
    expect(output).toContain('Ask its owner.');
  });

  test('gives up after three failures', async () => {
    const entries = [1, 2, 3, 4, 5, 6].map((day) => entry(`old-${day}`, day));
    const {store, removed} = storeWith({entries: [...entries, made]}, ['old-6', 'old-4', 'old-3', 'old-1']);
    const pruned = await prune(made, pruning(store));
    expect(removed).toEqual(['old-6', 'old-5', 'old-4', 'old-3']);
    expect(pruned?.left.map(({name}) => name)).toEqual(['old-6', 'old-4', 'old-3', 'old-2', 'old-1']);
  });

  test('removes what an interrupted one left, and goes on where that fails', async () => {
    const leftovers = [
      {id: '1', name: 'half-1'},
      {id: '2', name: 'half-2'},
    ];
    const {store, removed} = storeWith({entries: [entry('old', 1), made], leftovers}, ['half-1']);
    const pruned = await prune(made, pruning(store));
    expect(removed).toEqual(['half-1', 'half-2', 'old']);
    expect(pruned?.gone).toEqual(['old']);
    expect(output).toContain('::warning::What is left of half-1 could not be removed');
  });

  test('counts the backup that was just made also where it is not listed yet', async () => {
    const {store, removed} = storeWith({entries: [entry('old', 1), entry('older', 2)]});
    const pruned = await prune(made, pruning(store));
    expect(removed).toEqual(['older', 'old']);
    expect(pruned?.kept.map(({entry: {name}}) => name)).toEqual(['made']);
  });

  test('takes an older backup of the same name for another one', async () => {
    const old = {...entry('made', 1), id: 'of another run'};
    const {store, removed} = storeWith({entries: [old, made]});
    await prune(made, pruning(store));
    expect(removed).toEqual(['made']);
  });

  test('removes nothing when the backups cannot be listed, and warns', async () => {
    const {store, removed} = storeWith({});
    const list = async () => {
      throw new UserError('The store is away.', 'Wait.');
    };
    expect(await prune(made, pruning({...store, list}))).toBeUndefined();
    expect(removed).toEqual([]);
    expect(output).toContain(
      '::warning::Older backups could not be listed, so none was removed: The store is',
    );
  });

  test('removes nothing in a dry run, neither backups nor leftovers', async () => {
    const {store, removed} = storeWith({
      entries: [entry('old', 1)],
      leftovers: [{id: '1', name: 'half'}],
    });
    const pruned = await prune(made, {...pruning(store), dryRun: true});
    expect(removed).toEqual([]);
    expect(pruned?.gone).toEqual(['old']);
  });
});

describe('the documents of a catalog', () => {
  const text = (name: string) =>
    JSON.stringify({
      ...{schemaVersion: 1, name, label: '', startedAt: '2026-01-01T00:00:00Z', durationSeconds: 1},
      ...{finishedAt: '2026-01-01T00:00:00Z', startLsn: '0/1', endLsn: '0/2', timeline: 1},
      ...{systemIdentifier: '1', serverVersion: '', serverVersionNumber: 1, clientVersion: ''},
      ...{format: 'tar', walMethod: 'stream', compression: '', tablespaces: [], bootstrapSuperuser: null},
      ...{requiredSettings: null, selfContained: true, fromStandby: false, dataChecksums: null},
      ...{collations: null, dataSizeBytes: 1, sizeBytes: 1, files: [], warnings: []},
    });

  /** A store of 1,000 backups that counts what is asked of it. */
  function thousand(names = Array.from({length: 1000}, (_, index) => `nightly-${index}`)) {
    const counted = {
      reads: 0,
      atOnce: 0,
      mostAtOnce: 0,
      cacheRequests: 0,
      cached: undefined as string | undefined,
    };
    const cache: FactsCache = {
      async load() {
        counted.cacheRequests += 1;
        return counted.cached;
      },
      async save(kept) {
        counted.cacheRequests += 1;
        counted.cached = kept;
      },
    };
    const documentOf = (name: string) => ({
      key: `${name} of etag 1`,
      name,
      async read() {
        counted.reads += 1;
        counted.atOnce += 1;
        counted.mostAtOnce = Math.max(counted.mostAtOnce, counted.atOnce);
        await Promise.resolve();
        counted.atOnce -= 1;
        return text(name);
      },
    });
    const read = (more: readonly string[] = []) =>
      readDocuments(
        {metadata: [...names, ...more].map(documentOf), proofs: []},
        {cache, signal: new AbortController().signal},
      );
    return {counted, read};
  }

  test('are read once: 1,000 known ones cost the request for the cache alone, and a new one two more', async () => {
    const {counted, read} = thousand();
    expect((await read()).metadata.size).toBe(1000);
    expect(counted).toMatchObject({reads: 1000, mostAtOnce: 8, cacheRequests: 2});
    expect((await read()).metadata.size).toBe(1000);
    expect(counted).toMatchObject({reads: 1000, cacheRequests: 3});
    expect((await read(['new'])).metadata.get('new of etag 1')).toMatchObject({systemIdentifier: '1'});
    expect(counted).toMatchObject({reads: 1001, cacheRequests: 5});
  });

  test('are forgotten when they are not listed any more', async () => {
    const {counted, read} = thousand();
    await read(['gone']);
    expect(counted.cached).toContain('gone of etag 1');
    await read(['new']);
    expect(counted.cached).not.toContain('gone of etag 1');
  });

  test.for(['{', 'null', '[]', '{"version":0,"metadata":{"nightly-0 of etag 1":{}}}', '{"version":1}'])(
    'are read anew where the cache holds %s',
    async (cached) => {
      const {counted, read} = thousand();
      counted.cached = cached;
      expect((await read()).metadata.get('nightly-0 of etag 1')?.systemIdentifier).toBe('1');
      expect(counted.reads).toBe(1000);
    },
  );

  test('are read without a cache where they are few', async () => {
    const {counted, read} = thousand(['a', 'b']);
    await read();
    expect(counted).toMatchObject({reads: 2, cacheRequests: 0});
  });
});
