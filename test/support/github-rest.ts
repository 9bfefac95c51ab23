import type {Registry, StoredArtifact} from './artifact-registry.js';
import type {BlobServer} from './azurite.js';
import {type Answer, signedDownload} from './results-twirp.js';

/** How the REST API of the stand-in behaves. */
export interface RestSettings {
  readonly token: string;
  readonly pageSize: number;
  /** Of every repository. */
  visibility: 'public' | 'private';
}

interface RestRequest {
  readonly url: URL;
  readonly method: string;
  readonly authorization: string | undefined;
}

interface Backends {
  readonly registry: Registry;
  readonly blobs: BlobServer;
  readonly settings: RestSettings;
}

/** Answers for https://docs.github.com/en/rest/actions/artifacts, and whether a repository is public. */
export function answerRest({url, method, authorization}: RestRequest, backends: Backends): Answer {
  const {registry, settings} = backends;
  if (/^\/repos\/[^/]+\/[^/]+$/.test(url.pathname)) return aboutRepository(authorization, settings);
  if (authorization !== `token ${settings.token}`) return failure(401, 'Bad credentials');
  const route = /^\/repos\/([^/]+)\/([^/]+)\/actions(?:\/runs\/(\d+))?\/artifacts(?:\/(\d+)(\/zip)?)?$/.exec(
    url.pathname,
  );
  if (route === null) return failure(404, 'Not Found');
  const [, owner, repository, runId, id, zip] = route;
  const here = registry
    .stored()
    .filter(({run}) => run.owner === owner && run.repository === repository)
    .filter(({run}) => runId === undefined || run.runId === Number(runId));
  // A repository or run that has nothing may as well not exist.
  if (here.length === 0 && (id !== undefined || runId !== undefined)) return failure(404, 'Not Found');
  if (id === undefined) return page(url, here, settings.pageSize);
  const artifact = here.find((other) => other.id === Number(id));
  if (artifact === undefined) return failure(404, 'Not Found');
  if (method === 'DELETE') return remove(artifact, registry);
  if (zip === undefined) return {status: 200, body: toJson(artifact)};
  if (artifact.expired) return failure(410, 'Artifact has expired');
  return {status: 302, headers: {location: url.origin + signedDownload(artifact, backends.blobs)}};
}

/** Without a token, what is not public is not there (https://docs.github.com/en/rest/repos/repos). */
function aboutRepository(authorization: string | undefined, {token, visibility}: RestSettings): Answer {
  if (authorization !== undefined && authorization !== `token ${token}`)
    return failure(401, 'Bad credentials');
  if (authorization === undefined && visibility !== 'public') return failure(404, 'Not Found');
  return {status: 200, body: {private: visibility !== 'public', visibility}};
}

function remove({run, name}: StoredArtifact, registry: Registry): Answer {
  const entry = registry.find(run, name);
  if (entry !== undefined) registry.remove(entry);
  return {status: 204};
}

/** The newest first, with the links that clients follow. */
function page(url: URL, artifacts: readonly StoredArtifact[], pageSize: number): Answer {
  const name = url.searchParams.get('name');
  const listed = artifacts.filter((artifact) => name === null || artifact.name === name);
  listed.sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime() || b.id - a.id);
  const size = Math.min(pageSize, Number(url.searchParams.get('per_page') ?? 30));
  const number = Number(url.searchParams.get('page') ?? 1);
  const next = new URL(url);
  next.searchParams.set('page', String(number + 1));
  const hasNext = number * size < listed.length;
  return {
    status: 200,
    headers: hasNext ? {link: `<${next.href}>; rel="next"`} : {},
    body: {
      total_count: listed.length,
      artifacts: listed.slice((number - 1) * size, number * size).map(toJson),
    },
  };
}

const repositoryId = 1;
const forkId = 2;

function toJson({
  id,
  name,
  run,
  sizeBytes,
  digest,
  createdAt,
  expiresAt,
  expired,
  fromFork,
}: StoredArtifact): object {
  return {
    id,
    name,
    size_in_bytes: sizeBytes,
    digest,
    expired,
    created_at: createdAt.toISOString(),
    updated_at: createdAt.toISOString(),
    expires_at: expiresAt.toISOString(),
    workflow_run: {
      id: run.runId,
      repository_id: repositoryId,
      head_repository_id: fromFork ? forkId : repositoryId,
    },
  };
}

function failure(status: number, message: string): Answer {
  return {status, body: {message}};
}
