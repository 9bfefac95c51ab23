import {setTimeout as sleep} from 'node:timers/promises';
import {getOctokit} from '@actions/github';
import {UserError} from '../errors.js';
import type {ListedArtifact, Repository, RunArtifacts} from './artifact-listing.js';

/** An artifact in a repository's list. */
export interface RepositoryArtifact extends ListedArtifact {
  readonly runId: number;
  /** Made by a run of a pull request from a fork. */
  readonly isFromFork: boolean;
}

/** How many artifacts GitHub lists in an answer. */
export const artifactsPerPage = 100;
const retryDelaysSeconds = [1, 4, 10];

/** Lists every artifact of another run. Throws a UserError when GitHub's API refuses. */
export async function listRun(from: {
  readonly repository: Repository;
  readonly runId: number;
  readonly token: string;
}): Promise<RunArtifacts> {
  const {repository, runId, token} = from;
  const where = `run ${runId} of ${repository.owner}/${repository.name}`;
  const octokit = connect(token);
  // Not by the artifact client: its list does not say which artifacts have expired, and stops at 1000.
  const artifacts = await explained(where, () =>
    octokit.paginate(octokit.rest.actions.listWorkflowRunArtifacts, {
      owner: repository.owner,
      repo: repository.name,
      run_id: runId,
      per_page: artifactsPerPage,
    }),
  );
  return {
    location: `artifacts of ${where}`,
    artifacts: newestOfEachName(artifacts.map(listed)),
    findBy: findByOf({repository, token}, runId),
  };
}

/** A repository, and a token that may do there what is asked of it. */
export interface RepositoryAccess {
  readonly repository: Repository;
  readonly token: string;
}

/** What the artifact client needs to reach an artifact of another run. */
export function findByOf(
  {repository, token}: RepositoryAccess,
  runId: number,
): NonNullable<RunArtifacts['findBy']> {
  return {token, workflowRunId: runId, repositoryOwner: repository.owner, repositoryName: repository.name};
}

/** Deletes an artifact of any run; one that is gone is none the worse. Throws a UserError when GitHub's API refuses. */
export async function deleteArtifact(
  {repository, token}: RepositoryAccess,
  {id, name}: ListedArtifact,
): Promise<void> {
  const {owner, name: repo} = repository;
  try {
    await connect(token).rest.actions.deleteArtifact({owner, repo, artifact_id: id});
  } catch (cause) {
    const status = statusOf(cause);
    if (status === 404 || status === 410) return;
    throw new UserError(
      `Artifact ${name} could not be deleted.`,
      status === 403
        ? 'Give the job permissions: actions: write. Where it has that, GitHub allows no more requests in this hour; the next step that prunes goes on.'
        : cureOfRest(cause),
      {cause},
    );
  }
}

/** Lists the artifacts of a repository page by page. Throws a UserError when GitHub's API refuses. */
export async function* listRepository(from: {
  readonly repository: Repository;
  readonly token: string;
  /** Only the artifacts of exactly this name. */
  readonly artifactName?: string | undefined;
}): AsyncGenerator<readonly RepositoryArtifact[]> {
  const {repository, token, artifactName} = from;
  const octokit = connect(token);
  const pages = octokit.paginate
    .iterator(octokit.rest.actions.listArtifactsForRepo, {
      owner: repository.owner,
      repo: repository.name,
      per_page: artifactsPerPage,
      ...(artifactName === undefined ? {} : {name: artifactName}),
    })
    [Symbol.asyncIterator]();
  while (true) {
    const page = await explained(`repository ${repository.owner}/${repository.name}`, () => pages.next());
    if (page.done === true) return;
    yield page.value.data.flatMap((artifact) => {
      const run = artifact.workflow_run;
      if (run?.id === undefined) return [];
      return [{...listed(artifact), runId: run.id, isFromFork: run.head_repository_id !== run.repository_id}];
    });
  }
}

/** Tries again when GitHub's API answers with 5xx or not at all, which Octokit also reports as 500. */
export async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (const seconds of retryDelaysSeconds) {
    try {
      return await work();
    } catch (thrown) {
      if ((statusOf(thrown) ?? 0) < 500) throw thrown;
      await sleep(seconds * 1000);
    }
  }
  return work();
}

/** The cure for a request that GitHub's API refused. */
export function cureOfRest(thrown: unknown): string {
  switch (statusOf(thrown)) {
    case 401:
      return `The token is not valid: set github-token: \${{ github.token }}.`;
    case 403:
      return 'Give the job permissions: actions: read, or github-token a token that has it for that repository.';
    case 404:
      return 'Check run-id and repository, and that github-token may read them: permissions: actions: read.';
    case 410:
      return 'It has expired. Restore a newer backup, and raise retention-days for the next ones.';
    case 429:
      return 'GitHub takes no more requests for the moment: run the step again in some minutes.';
    default:
      return 'Run the step again. If it fails again, see https://www.githubstatus.com.';
  }
}

function statusOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if ('status' in thrown && typeof thrown.status === 'number') return thrown.status;
  // The artifact service's own client tells it in the text alone.
  return thrown.message.includes('(429)') ? 429 : undefined;
}

function connect(token: string): ReturnType<typeof getOctokit> {
  const octokit = getOctokit(token);
  octokit.hook.wrap('request', (request, options) => retried(async () => request(options)));
  return octokit;
}

async function explained<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new UserError(`The artifacts of ${where} could not be listed.`, cureOfRest(cause), {cause});
  }
}

function listed(artifact: {
  readonly name: string;
  readonly id: number;
  readonly expired: boolean;
  readonly created_at: string | null;
}): ListedArtifact {
  const {name, id, expired, created_at: createdAt} = artifact;
  return {name, id, createdAt: createdAt === null ? 0 : Date.parse(createdAt), isExpired: expired};
}

/** A run that was tried again lists the artifacts of every attempt. */
function newestOfEachName(artifacts: readonly ListedArtifact[]): readonly ListedArtifact[] {
  const newest = new Map<string, ListedArtifact>();
  for (const artifact of artifacts.toSorted((a, b) => a.id - b.id)) newest.set(artifact.name, artifact);
  return [...newest.values()];
}
