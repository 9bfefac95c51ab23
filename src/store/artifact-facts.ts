import {createHash} from 'node:crypto';
import {mkdir, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {isFeatureAvailable, restoreCache, saveCache} from '@actions/cache';
import {messageOf} from '../errors.js';
import {debug} from '../log.js';
import type {Repository} from './artifact-listing.js';
import type {FactsCache} from './catalog-facts.js';

/**
 * Keeps what metadata artifacts tell in GitHub's cache. Reading an artifact takes two requests, and a job's token has
 * 1,000 an hour (GitHub Docs, "Rate limits for the REST API"). A run goes on without a cache.
 */
export function actionsCache({owner, name}: Repository): FactsCache {
  // Its path is part of what an entry is found by (@actions/cache 6.3.0).
  const directory = join(process.env.RUNNER_TEMP || tmpdir(), 'pg-basebackup-catalog');
  const file = join(directory, 'facts.json');
  const prefix = `pg-basebackup-catalog-${owner}-${name}-`;
  const within = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    if (!isFeatureAvailable()) return undefined;
    try {
      await mkdir(directory, {recursive: true});
      return await work();
    } catch (error) {
      debug(`The cache could not be used: ${messageOf(error)}`);
      return undefined;
    } finally {
      await rm(directory, {recursive: true, force: true});
    }
  };
  return {
    load: () =>
      within(async () => {
        const key = await restoreCache([directory], prefix, [prefix]);
        return key === undefined ? undefined : readFile(file, 'utf8');
      }),
    async save(text) {
      await within(async () => {
        await writeFile(file, text);
        await saveCache([directory], prefix + createHash('sha256').update(text).digest('hex').slice(0, 16));
      });
    },
  };
}
