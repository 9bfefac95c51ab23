import {messageOf} from '../errors.js';
import {debug} from '../log.js';

/**
 * Brings a directory back from GitHub's cache, as the newest entry has it whose key begins with one of `prefixes`, in
 * their order. Returns the entry's key; undefined where there is none, or no cache: a run goes on without. The
 * directory is the one that was kept: its path is part of what an entry is found by (@actions/cache 6.3.0).
 */
export async function restorePackages(
  directory: string,
  prefixes: readonly [string, ...string[]],
): Promise<string | undefined> {
  const {isFeatureAvailable, restoreCache} = await import('@actions/cache');
  if (!isFeatureAvailable()) return undefined;
  const [first, ...others] = prefixes;
  return restoreCache([directory], first, others).catch(passOver);
}

/** Keeps a directory in GitHub's cache, where there is one. An entry that has the key already stays as it is. */
export async function keepPackages(directory: string, key: string): Promise<void> {
  const {isFeatureAvailable, saveCache} = await import('@actions/cache');
  if (!isFeatureAvailable()) return;
  await saveCache([directory], key).catch(passOver);
}

/** What the service refuses, the library has told already. */
function passOver(error: unknown): undefined {
  debug(`The cache could not be used: ${messageOf(error)}`);
}
