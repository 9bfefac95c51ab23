import type {StorageRequest} from './inputs/storage.js';
import {directoryStore} from './store/directory.js';
import type {Store} from './store/store.js';

/**
 * Opens the storage that a request names. The clients of artifacts and of object storage are files of their own in dist,
 * loaded here: a start that loads them all takes three times as long, and twice the memory.
 */
export async function openStorage(
  storage: StorageRequest,
  {signal, scratchDirectory}: {readonly signal: AbortSignal; readonly scratchDirectory: string},
): Promise<Store> {
  if (storage.kind === 'directory') return directoryStore(storage.directory);
  if (storage.kind === 's3') {
    const {s3Store} = await import('./store/s3.js');
    return s3Store({...storage, signal});
  }
  const {artifactStore} = await import('./store/artifact.js');
  const [owner = '', name = ''] = (process.env.GITHUB_REPOSITORY ?? '').split('/');
  const serverUrl = process.env.GITHUB_SERVER_URL ?? 'https://github.com';
  const runId = Number(process.env.GITHUB_RUN_ID ?? 0);
  const thisRun = {serverUrl, repository: {owner, name}, runId};
  return artifactStore({
    ...storage,
    thisRun,
    signal,
    scratchDirectory,
    eventPath: process.env.GITHUB_EVENT_PATH,
  });
}
