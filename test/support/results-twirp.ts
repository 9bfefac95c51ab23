import {
  backendId,
  type Entry,
  isSameRun,
  type Registry,
  type RunOfRepository,
  type StoredArtifact,
} from './artifact-registry.js';
import type {BlobServer} from './azurite.js';

/** What a request is answered with. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface TwirpRequest {
  readonly method: string;
  readonly body: string;
  readonly authorization: string | undefined;
}

interface Backends {
  readonly registry: Registry;
  readonly blobs: BlobServer;
  /** Where blobs are reached: through us, so that faults can be set. */
  readonly origin: string;
}

/** The fields of all requests of github.actions.results.api.v1.ArtifactService, as @actions/artifact 6.2.1 sends them. */
interface Message {
  readonly workflow_run_backend_id?: string;
  readonly name?: string;
  readonly mime_type?: string;
  readonly expires_at?: string;
  readonly size?: string;
  readonly hash?: string;
  readonly name_filter?: string;
  readonly id_filter?: string;
}

/** Answers for the service that stores a run's artifacts. */
export function answerTwirp(request: TwirpRequest, backends: Backends): Answer {
  const message = JSON.parse(request.body) as Message;
  const run = backends.registry.runOf(request.authorization);
  if (run === undefined || message.workflow_run_backend_id !== backendId(run)) {
    return failure(401, 'unauthenticated', 'the token does not belong to this run');
  }
  switch (request.method) {
    case 'CreateArtifact':
      return create(message, run, backends);
    case 'FinalizeArtifact':
      return withEntry(message, run, backends, (entry) => finalize(entry, message, backends));
    case 'ListArtifacts':
      return {status: 200, body: {artifacts: list(message, run, backends.registry).map(toMessage)}};
    case 'GetSignedArtifactURL':
      return withEntry(message, run, backends, ({name, stored}) =>
        stored === undefined
          ? failure(404, 'not_found', `${name} is not finished`)
          : {status: 200, body: {name, signed_url: backends.origin + signedDownload(stored, backends.blobs)}},
      );
    case 'DeleteArtifact':
      return withEntry(message, run, backends, (entry) => {
        backends.registry.remove(entry);
        return {status: 200, body: {ok: true, artifact_id: String(entry.id)}};
      });
    default:
      return failure(404, 'bad_route', request.method);
  }
}

/** A signed path to download an artifact under its own name. */
export function signedDownload({blob, name, mimeType}: StoredArtifact, blobs: BlobServer): string {
  const contentDisposition = `attachment; filename="${name}"; filename*=UTF-8''${encodeURIComponent(name)}`;
  return blobs.sign({blob, permissions: 'r', contentDisposition, contentType: mimeType});
}

function create(
  {name = '', mime_type: mimeType, expires_at: expiry}: Message,
  run: RunOfRepository,
  backends: Backends,
): Answer {
  if (name === '' || /["<>:|*?\\/\r\n]/.test(name)) return failure(400, 'invalid_argument', 'invalid name');
  if (backends.registry.find(run, name) !== undefined) {
    return failure(409, 'already_exists', 'an artifact with this name already exists on the workflow run');
  }
  const lifetime = expiry === undefined ? {} : {expiresAt: new Date(expiry)};
  const entry = backends.registry.create(run, {name, mimeType: mimeType ?? 'application/zip', ...lifetime});
  const signed = backends.blobs.sign({blob: entry.blob, permissions: 'cw'});
  return {status: 200, body: {ok: true, signed_upload_url: backends.origin + signed}};
}

function finalize(entry: Entry, {size = '0', hash = ''}: Message, {registry}: Backends): Answer {
  registry.finalize(entry, {
    sizeBytes: Number(size),
    digest: hash,
    createdAt: new Date(),
    expired: false,
    fromFork: false,
  });
  return {status: 200, body: {ok: true, artifact_id: String(entry.id)}};
}

function list(message: Message, run: RunOfRepository, registry: Registry): readonly StoredArtifact[] {
  const {name_filter: name, id_filter: id} = message;
  return registry
    .stored()
    .filter((artifact) => isSameRun(artifact.run, run) && !artifact.expired)
    .filter(
      (artifact) =>
        (name === undefined || artifact.name === name) && (id === undefined || artifact.id === Number(id)),
    );
}

function toMessage({id, name, run, sizeBytes, createdAt, digest}: StoredArtifact): object {
  return {
    workflow_run_backend_id: backendId(run),
    workflow_job_run_backend_id: 'job-1',
    database_id: String(id),
    name,
    size: String(sizeBytes),
    created_at: createdAt.toISOString(),
    digest,
  };
}

function withEntry(
  {name = ''}: Message,
  run: RunOfRepository,
  {registry}: Backends,
  work: (entry: Entry) => Answer,
): Answer {
  const entry = registry.find(run, name);
  return entry === undefined ? failure(404, 'not_found', `there is no artifact ${name}`) : work(entry);
}

function failure(status: number, code: string, msg: string): Answer {
  return {status, body: {code, msg}};
}
