import {createHash} from 'node:crypto';
import {once} from 'node:events';
import {createServer, type IncomingMessage, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {buffer} from 'node:stream/consumers';
import {
  artifactRegistry,
  type Registry,
  type RunOfRepository,
  type StoredArtifact,
} from './artifact-registry.js';
import {type BlobServer, startBlobServer} from './azurite.js';
import {type Exchange, forward, spoil} from './blob-proxy.js';
import {type CacheService, cacheService} from './cache-twirp.js';
import {answerRest, type RestSettings} from './github-rest.js';
import {type Fault, type Faults, faultList, type Operation, type SeenRequest} from './results-faults.js';
import {type Answer, answerTwirp} from './results-twirp.js';

export type {RunOfRepository, StoredArtifact} from './artifact-registry.js';
export type {Fault, FaultKind, Operation, SeenRequest} from './results-faults.js';

/** An artifact to put there without a run that stores it. */
export interface Seed {
  readonly name: string;
  readonly content: string | Uint8Array;
  /** Undefined: this run. */
  readonly run?: RunOfRepository;
  /** Undefined: now. */
  readonly createdAt?: Date;
  readonly expired?: boolean;
  /** Of a run of a pull request from a fork. */
  readonly fromFork?: boolean;
}

/** GitHub as an action sees it: the artifact service, its blob storage, and the REST API of artifacts. */
export interface ResultsService {
  /** What the runner hands to an action of this run (run 4242 of octo-org/octo-repo). */
  readonly env: Readonly<Record<string, string>>;
  /** The same for another run, also of another repository. */
  envOf(run: RunOfRepository): Readonly<Record<string, string>>;
  /** For the input github-token; the only one that the REST API takes. */
  readonly token: string;
  /** What is stored in all runs: finished uploads only, in the order of their ids. */
  artifacts(): readonly StoredArtifact[];
  contentOf(artifact: StoredArtifact): Promise<Buffer>;
  addArtifact(seed: Seed): Promise<StoredArtifact>;
  /** Makes an artifact that is stored look expired. */
  expire(name: string): void;
  /** Forgets every artifact, also those whose upload is still under way. */
  removeAll(): void;
  /** What the REST API says of every repository; `private` without it. */
  setVisibility(visibility: 'public' | 'private'): void;
  setFault(fault: Fault): void;
  /** Also resets the connections that hang. */
  clearFaults(): void;
  /** Keys of what is in GitHub's cache, the newest first. */
  cacheKeys(): readonly string[];
  /** Every request so far, also the spoiled ones. */
  requests(): readonly SeenRequest[];
  stop(): Promise<void>;
}

/** How the stand-in starts out. */
export interface ResultsServiceOptions {
  readonly faults?: readonly Fault[];
  /** The REST API never lists more than this on a page (GitHub: 100). */
  readonly pageSize?: number;
  /** An address of this machine that the action reaches it at; 127.0.0.1 without it. */
  readonly address?: string;
}

/** The run that `env` belongs to. */
export const thisRun: RunOfRepository = {owner: 'octo-org', repository: 'octo-repo', runId: 4242};

/** Starts the stand-in on a free loopback port. Stop it, or its blob server outlives the test. */
export async function startResultsService(options: ResultsServiceOptions = {}): Promise<ResultsService> {
  const blobs = await startBlobServer();
  const registry = artifactRegistry();
  const faults = faultList(options.faults ?? []);
  const seen: SeenRequest[] = [];
  const hung = new Set<IncomingMessage>();
  const {address = '127.0.0.1'} = options;
  const caches = cacheService(blobs);
  const settings: RestSettings = {
    token: 'token-of-the-stand-in',
    pageSize: options.pageSize ?? 100,
    visibility: 'private',
  };
  const server = createServer((request, response) => {
    answer({request, response}, {blobs, registry, caches, faults, seen, hung, settings}).catch(
      (thrown: unknown) => {
        // A bug of the stand-in, or a client that went away.
        if (!response.headersSent) response.writeHead(500).end(JSON.stringify({msg: String(thrown)}));
        else response.destroy();
      },
    );
  });
  server.listen(0, address);
  await once(server, 'listening');
  const origin = `http://${address}:${(server.address() as AddressInfo).port}`;
  return {
    env: environment(thisRun, origin, registry),
    envOf: (run) => environment(run, origin, registry),
    token: settings.token,
    artifacts: () => registry.stored(),
    contentOf: async ({blob}) =>
      Buffer.from(await (await fetch(blobs.origin + blobs.sign({blob, permissions: 'r'}))).arrayBuffer()),
    addArtifact: (seed) => addArtifact(seed, registry, blobs),
    expire: (name) => registry.expire(name),
    removeAll: () => registry.clear(),
    setVisibility: (visibility) => {
      settings.visibility = visibility;
    },
    setFault: (fault) => faults.set(fault),
    clearFaults: () => {
      faults.clear();
      for (const request of hung) request.socket.resetAndDestroy();
      hung.clear();
    },
    cacheKeys: () => caches.keys(),
    requests: () => [...seen],
    stop: () => stop(server, blobs),
  };
}

function environment(run: RunOfRepository, origin: string, registry: Registry): Record<string, string> {
  return {
    ACTIONS_RUNTIME_TOKEN: registry.admit(run),
    ACTIONS_RESULTS_URL: `${origin}/`,
    ACTIONS_CACHE_SERVICE_V2: 'True',
    GITHUB_API_URL: origin,
    GITHUB_SERVER_URL: 'https://github.com',
    GITHUB_REPOSITORY: `${run.owner}/${run.repository}`,
    GITHUB_RUN_ID: String(run.runId),
    GITHUB_RUN_ATTEMPT: '1',
    GITHUB_RETENTION_DAYS: '90',
  };
}

async function addArtifact(seed: Seed, registry: Registry, blobs: BlobServer): Promise<StoredArtifact> {
  const content = Buffer.from(seed.content);
  const entry = registry.create(seed.run ?? thisRun, {name: seed.name, mimeType: 'application/octet-stream'});
  const response = await fetch(blobs.origin + blobs.sign({blob: entry.blob, permissions: 'cw'}), {
    method: 'PUT',
    headers: {'x-ms-blob-type': 'BlockBlob', 'x-ms-version': '2021-12-02'},
    body: content,
  });
  if (response.status !== 201) throw new Error(`azurite: ${response.status} ${await response.text()}`);
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
  return registry.finalize(entry, {
    sizeBytes: content.length,
    digest,
    createdAt: seed.createdAt ?? new Date(),
    expired: seed.expired ?? false,
    fromFork: seed.fromFork ?? false,
  });
}

async function stop(server: Server, blobs: BlobServer): Promise<void> {
  server.close();
  server.closeAllConnections();
  await blobs.stop();
}

interface Parts {
  readonly blobs: BlobServer;
  readonly registry: Registry;
  readonly caches: CacheService;
  readonly faults: Faults;
  readonly seen: SeenRequest[];
  /** Requests that are never answered. */
  readonly hung: Set<IncomingMessage>;
  readonly settings: RestSettings;
}

async function answer({request, response}: Exchange, parts: Parts): Promise<void> {
  const {blobs, registry, faults, seen} = parts;
  const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
  const isBlob = url.pathname.startsWith(`/${blobs.account}/`);
  const body = isBlob ? undefined : (await buffer(request)).toString();
  const seenRequest = {
    operation: operationOf(request, url, isBlob),
    artifact: artifactNamedBy(url, body, registry),
    runId: registry.runOf(request.headers.authorization)?.runId,
  };
  seen.push(seenRequest);
  const fault = faults.next(seenRequest);
  if (fault !== undefined && (await spoil(fault, {request, response}, parts))) return;
  if (isBlob) {
    await forward({request, response}, blobs);
    return;
  }
  const answered: Answer = url.pathname.includes('.CacheService/')
    ? parts.caches.answer(seenRequest.operation, body ?? '', url.origin)
    : url.pathname.startsWith('/twirp/')
      ? answerTwirp(
          {method: seenRequest.operation, body: body ?? '', authorization: request.headers.authorization},
          {registry, blobs, origin: url.origin},
        )
      : answerRest(
          {url, method: request.method ?? 'GET', authorization: request.headers.authorization},
          {registry, blobs, settings: parts.settings},
        );
  response.writeHead(answered.status, {'content-type': 'application/json', ...answered.headers});
  response.end(answered.body === undefined ? undefined : JSON.stringify(answered.body));
}

function operationOf(request: IncomingMessage, url: URL, isBlob: boolean): Operation {
  if (isBlob) return request.method === 'PUT' ? 'upload' : 'download';
  if (url.pathname.startsWith('/twirp/')) return url.pathname.split('/').at(-1) as Operation;
  if (url.pathname.endsWith('/zip')) return 'rest-download';
  return url.pathname.endsWith('/artifacts') ? 'rest-list' : 'rest-other';
}

function artifactNamedBy(url: URL, body: string | undefined, registry: Registry): string | undefined {
  if (body === undefined) return registry.nameOfBlob(url.pathname.split('/').at(-1) ?? '');
  if (!url.pathname.startsWith('/twirp/'))
    return registry.nameOfId(Number(/artifacts\/(\d+)/.exec(url.pathname)?.[1]));
  const {name, name_filter: nameFilter} = JSON.parse(body) as {name?: string; name_filter?: string};
  return name ?? nameFilter;
}
