import {readFile} from 'node:fs/promises';
import {getOctokit} from '@actions/github';
import {messageOf} from '../errors.js';
import {debug} from '../log.js';
import type {Repository} from './artifact-listing.js';
import {untilAborted} from './parallel.js';
import type {Exposure} from './store.js';

/** What tells whether a repository is public. */
export interface ExposureOptions {
  readonly repository: Repository;
  /** `GITHUB_EVENT_PATH`: the payload of the event that the run is for. */
  readonly eventPath: string | undefined;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

/** What GitHub tells of a repository, in events and by its API. */
interface ToldRepository {
  readonly full_name?: unknown;
  /** `public`, `private`, or `internal`: then every member of the enterprise can read it, and nobody else. */
  readonly visibility?: unknown;
  readonly private?: unknown;
}

const patienceMilliseconds = 10_000;

/**
 * Whether everybody can read the artifacts of a repository: as the event tells, which every event of GitHub does since
 * scheduled ones have a repository, too (GitHub changelog, 2022-09-27); else as the API tells.
 */
export async function findExposure(options: ExposureOptions): Promise<Exposure> {
  const told = exposureOf(await repositoryOfEvent(options));
  if (told !== 'unknown') return told;
  const {signal} = options;
  const soon = AbortSignal.any([signal, AbortSignal.timeout(patienceMilliseconds)]);
  try {
    return await untilAborted(soon, () => askApi(options, soon));
  } catch (error) {
    signal.throwIfAborted();
    debug(`GitHub's API did not tell whether the repository is public: ${messageOf(error)}`);
    return 'unknown';
  }
}

function exposureOf(told: ToldRepository | undefined): Exposure {
  if (typeof told?.visibility === 'string') return told.visibility === 'public' ? 'public' : 'private';
  if (typeof told?.private === 'boolean') return told.private ? 'private' : 'public';
  return 'unknown';
}

async function repositoryOfEvent({
  repository: {owner, name},
  eventPath,
}: ExposureOptions): Promise<ToldRepository | undefined> {
  if (!eventPath) return undefined;
  try {
    const event = JSON.parse(await readFile(eventPath, 'utf8')) as {repository?: ToldRepository} | null;
    const told = event?.repository;
    const isThis = String(told?.full_name).toLowerCase() === `${owner}/${name}`.toLowerCase();
    return isThis ? told : undefined;
  } catch (error) {
    debug(`The event's payload cannot be read: ${messageOf(error)}`);
    return undefined;
  }
}

/** Without a token GitHub shows public repositories alone, and says of all others that they are not there. */
async function askApi(
  {repository: {owner, name}, token}: ExposureOptions,
  signal: AbortSignal,
): Promise<Exposure> {
  if (token !== undefined) {
    const {data} = await getOctokit(token).rest.repos.get({owner, repo: name});
    return exposureOf(data);
  }
  const api = process.env.GITHUB_API_URL ?? 'https://api.github.com';
  const answer = await fetch(`${api}/repos/${owner}/${name}`, {
    headers: {accept: 'application/vnd.github+json', 'user-agent': 'pg-basebackup-action'},
    signal,
  });
  if (answer.status === 404) return 'private';
  return answer.ok ? exposureOf((await answer.json()) as ToldRepository) : 'unknown';
}
