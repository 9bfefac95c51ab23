import type {BlobServer} from './azurite.js';

/** What a request of the cache service is answered with. */
interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** The fields of all requests of github.actions.results.api.v1.CacheService, as @actions/cache 6.3.0 sends them. */
interface Message {
  readonly key?: string;
  readonly version?: string;
  readonly restore_keys?: readonly string[];
}

/** An entry from CreateCacheEntry on. */
interface Entry {
  readonly id: number;
  readonly key: string;
  /** Made of the paths and the way of compression: only entries of the same version are found. */
  readonly version: string;
  readonly blob: string;
  isFinished: boolean;
}

/** GitHub's cache of one repository. */
export interface CacheService {
  /** Keys of finished entries, the newest first. */
  keys(): readonly string[];
  /** Where blobs are reached is `origin`. */
  answer(method: string, body: string, origin: string): Answer;
}

/** Starts with an empty cache. */
export function cacheService(blobs: BlobServer): CacheService {
  const entries: Entry[] = [];
  const finished = () => entries.filter(({isFinished}) => isFinished).reverse();
  return {
    keys: () => finished().map(({key}) => key),
    answer(method, body, origin) {
      const {key = '', version = '', restore_keys: others = []} = JSON.parse(body) as Message;
      const own = entries.find((entry) => entry.key === key && entry.version === version);
      const sign = ({blob}: Entry, permissions: string) => origin + blobs.sign({blob, permissions});
      switch (method) {
        case 'CreateCacheEntry': {
          if (own !== undefined) return {status: 409, body: {code: 'already_exists', msg: 'it is there'}};
          const id = entries.length + 1;
          const entry = {id, key, version, blob: `cache-${id}`, isFinished: false};
          entries.push(entry);
          return {status: 200, body: {ok: true, signed_upload_url: sign(entry, 'cw')}};
        }
        case 'FinalizeCacheEntryUpload':
          if (own === undefined) return {status: 404, body: {code: 'not_found', msg: 'it is not there'}};
          own.isFinished = true;
          return {status: 200, body: {ok: true, entry_id: String(own.id)}};
        case 'GetCacheEntryDownloadURL': {
          // Each key in its turn, as it is or as the beginning of another, of which the newest is taken.
          const found = [key, ...others]
            .map((wanted) => finished().find((one) => one.version === version && one.key.startsWith(wanted)))
            .find((entry) => entry !== undefined);
          const body =
            found === undefined
              ? {ok: false}
              : {ok: true, matched_key: found.key, signed_download_url: sign(found, 'r')};
          return {status: 200, body};
        }
        default:
          return {status: 404, body: {code: 'bad_route', msg: method}};
      }
    },
  };
}
