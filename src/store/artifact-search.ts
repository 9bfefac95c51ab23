import {DefaultArtifactClient} from '@actions/artifact';
import {isPattern, matchesName, problemOfName} from '../backup-set/naming.js';
import {UserError} from '../errors.js';
import type {ListedArtifact, Repository, RunArtifacts} from './artifact-listing.js';
import {listRepository, listRun, type RepositoryAccess} from './artifact-rest.js';

/** The run that this process is part of. */
export interface ThisRun {
  /** `GITHUB_SERVER_URL`, such as `https://github.com` */
  readonly serverUrl: string;
  readonly repository: Repository;
  readonly runId: number;
}

/** Where to look for a backup. With nothing but `thisRun`: in this run. */
export interface SearchOptions {
  readonly thisRun: ThisRun;
  /** Undefined: this repository. */
  readonly repository?: Repository | undefined;
  /** Undefined: this run. `latest`: whichever run of the repository has the newest backup. */
  readonly runId?: number | 'latest' | undefined;
  /** A token with `actions: read`; needed for everything but this run. */
  readonly token?: string | undefined;
}

/** A backup's metadata artifact, and the run that it is in. */
export interface Candidate {
  readonly name: string;
  readonly metadataArtifact: ListedArtifact;
  readonly run: RunArtifacts;
}

/** At least one, the newest first. */
export type Candidates = readonly [Candidate, ...Candidate[]];

const client = new DefaultArtifactClient();

/**
 * The backups of a run that fit, the newest first, or the newest of a repository: `latest`, an exact name, or a pattern.
 * Throws a UserError that lists the backups that are there when none does, or says what is missing to look there at all.
 */
export async function searchArtifacts(wanted: string, options: SearchOptions): Promise<Candidates> {
  const {thisRun, runId, repository = thisRun.repository, token} = options;
  const isHere = isSame(repository, thisRun.repository);
  if (runId === undefined && !isHere) {
    throw new UserError(
      `repository is ${repository.owner}/${repository.name}, but run-id does not say which run to look in.`,
      'Set run-id to the number of a run, or to latest.',
    );
  }
  if (isHere && (runId === undefined || runId === thisRun.runId))
    return candidatesIn(await listThisRun(thisRun), wanted);
  if (token === undefined) throw tokenIsMissing();
  const from = {repository, token};
  if (runId === 'latest') return [await newestInRepository(wanted, from)];
  return candidatesIn(await listRun({...from, runId: runId ?? thisRun.runId}), wanted);
}

/** The artifacts of this run, the newest of each name. Needs no token. */
export async function listThisRun({runId}: ThisRun): Promise<RunArtifacts> {
  const {artifacts} = await client.listArtifacts({latest: true});
  const listed = artifacts.map(({name, id, createdAt}) => ({
    name,
    id,
    createdAt: createdAt?.getTime() ?? 0,
    isExpired: false,
  }));
  return {location: `artifacts of run ${runId}`, artifacts: listed};
}

function isExact(wanted: string): boolean {
  return wanted !== 'latest' && !isPattern(wanted);
}

/** The backups of a run, the newest first. A `.json` without a file beside it is something else's. */
function backupsIn(run: RunArtifacts, wanted: string): Candidate[] {
  const present = run.artifacts.filter(({isExpired}) => !isExpired);
  const hasFiles = (name: string): boolean =>
    present.some((other) => other.name.startsWith(`${name}.`) && other.name !== `${name}.json`);
  return present
    .filter((artifact) => artifact.name.endsWith('.json'))
    .toSorted((a, b) => b.createdAt - a.createdAt || b.id - a.id)
    .map((metadataArtifact) => ({
      name: metadataArtifact.name.slice(0, -'.json'.length),
      metadataArtifact,
      run,
    }))
    .filter(
      ({name}) =>
        problemOfName(name) === undefined && matchesName(name, wanted) && (isExact(wanted) || hasFiles(name)),
    );
}

function candidatesIn(run: RunArtifacts, wanted: string): Candidates {
  const [newest, ...older] = backupsIn(run, wanted);
  if (newest !== undefined) return [newest, ...older];
  const there = backupsIn(run, 'latest').map(({name}) => name);
  throw nothingFound(wanted, `the ${run.location}`, there);
}

/**
 * Reads the list page by page. GitHub lists the newest first, but does not promise it, so the search ends with the
 * first page that has a backup only as long as that is what it sees.
 */
async function newestInRepository(wanted: string, from: RepositoryAccess): Promise<Candidate> {
  const there = new Set<string>();
  let waiting: {name: string; runId: number; createdAt: number}[] = [];
  let previous = Number.POSITIVE_INFINITY;
  let isNewestFirst = true;
  const artifactName = isExact(wanted) ? `${wanted}.json` : undefined;
  for await (const page of listRepository({...from, artifactName})) {
    for (const artifact of page) {
      isNewestFirst &&= artifact.createdAt <= previous;
      previous = artifact.createdAt;
      // A run of a pull request from a fork stores what a stranger wrote: never restored without being named.
      if (artifact.isExpired || artifact.isFromFork || !artifact.name.endsWith('.json')) continue;
      const name = artifact.name.slice(0, -'.json'.length);
      // A proof is no backup, and asking for its run would be a request for nothing.
      if (problemOfName(name) !== undefined) continue;
      there.add(name);
      if (matchesName(name, wanted)) waiting.push({...artifact, name});
    }
    if (!isNewestFirst) continue;
    const found = await firstBackup(waiting, wanted, from);
    if (found !== undefined) return found;
    waiting = [];
  }
  const found = await firstBackup(waiting, wanted, from);
  if (found !== undefined) return found;
  throw nothingFound(wanted, `repository ${from.repository.owner}/${from.repository.name}`, [...there]);
}

async function firstBackup(
  waiting: readonly {name: string; runId: number; createdAt: number}[],
  wanted: string,
  from: RepositoryAccess,
): Promise<Candidate | undefined> {
  for (const {name, runId} of waiting.toSorted((a, b) => b.createdAt - a.createdAt)) {
    const backups = backupsIn(await listRun({...from, runId}), wanted);
    const found = backups.find((backup) => backup.name === name);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isSame(one: Repository, other: Repository): boolean {
  return `${one.owner}/${one.name}`.toLowerCase() === `${other.owner}/${other.name}`.toLowerCase();
}

/** The error for a search beyond this run without a token. */
export function tokenIsMissing(): UserError {
  return new UserError(
    'A backup of another run can be looked up only with a token.',
    `Set github-token: \${{ github.token }} and give the job permissions: actions: read.`,
  );
}

const namesShown = 10;

function nothingFound(wanted: string, where: string, there: readonly string[]): UserError {
  const shown = there.slice(0, namesShown).join(', ') + (there.length > namesShown ? ', ...' : '');
  const list = there.length === 0 ? 'There are none at all.' : `There are: ${shown}.`;
  const which = wanted === 'latest' ? 'No backup was found' : `No backup named ${wanted} was found`;
  return new UserError(
    `${which} among the unexpired artifacts of ${where}. ${list}`,
    `For a backup of another run set run-id to its number or to latest, github-token to \${{ github.token }}, and give the job permissions: actions: read.`,
  );
}
