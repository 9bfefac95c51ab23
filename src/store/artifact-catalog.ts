import {type Catalog, type CatalogEntry, entryOf, type Leftover} from '../backup-set/catalog.js';
import {problemOfName} from '../backup-set/naming.js';
import {UserError} from '../errors.js';
import {readArtifact} from './artifact-download.js';
import {actionsCache} from './artifact-facts.js';
import {
  findByOf,
  listRepository,
  listRun,
  type RepositoryAccess,
  type RepositoryArtifact,
} from './artifact-rest.js';
import {type Candidate, type SearchOptions, tokenIsMissing} from './artifact-search.js';
import {readDocuments, type StoredDocument} from './catalog-facts.js';
import {choose, type Wanted} from './choose.js';

/** What the catalog of artifacts works with. */
export interface ArtifactCatalogOptions extends SearchOptions {
  readonly signal: AbortSignal;
  /** Where small files arrive before they are read. */
  readonly scratchDirectory: string;
}

/** The end of a proof artifact's name. */
export const proofEnd = '.proof.json';

const archive = /^(.+)\.base\.tar(?:\.\w+)*$/;

/**
 * Lists the backups of a whole repository, 100 artifacts a request. What runs of pull requests from forks stored is
 * passed over.
 */
export async function listArtifactBackups(options: ArtifactCatalogOptions): Promise<Catalog> {
  const access = accessOf(options);
  const {scratchDirectory, signal} = options;
  const artifacts = await listAll(access);
  const backups = backupsOf(artifacts);
  const proofs = proofsOf(artifacts, new Set(backups.map(({name}) => name)));
  const facts = await readDocuments(
    {
      metadata: backups.map(({metadata}) => documentOf(metadata, access, scratchDirectory)),
      proofs: [...proofs.values()].flat().map((proof) => documentOf(proof, access, scratchDirectory)),
    },
    {cache: actionsCache(access.repository), signal},
  );
  const entries: CatalogEntry[] = [];
  const unreadable: string[] = [];
  for (const backup of backups) {
    const known = facts.metadata.get(String(backup.metadata.id));
    const {name, runId} = backup;
    if (known === undefined) unreadable.push(`${name} of run ${runId}`);
    else {
      const shown = (proofs.get(name) ?? []).map(({id}) => facts.proofs.get(String(id)));
      entries.push(entryOf({id: `${runId}/${name}`, name}, known, shown));
    }
  }
  return {entries, unreadable, leftovers: leftoversOf(artifacts)};
}

/** Proofs of backups that are there, by the backups' names; many runs may have stored backups of one name. */
function proofsOf(
  artifacts: readonly RepositoryArtifact[],
  names: ReadonlySet<string>,
): ReadonlyMap<string, readonly RepositoryArtifact[]> {
  const nameOf = ({name}: RepositoryArtifact) => name.slice(0, -proofEnd.length);
  const proofs = artifacts.filter(
    (artifact) => artifact.name.endsWith(proofEnd) && names.has(nameOf(artifact)),
  );
  return Map.groupBy(proofs, nameOf);
}

/** A job on a runner of one's own may take 5 days (GitHub Docs, "Actions limits"). */
const longestJobMilliseconds = 7 * 86_400_000;

/**
 * Backups without metadata, whose removal or whose upload was interrupted. An upload that is still going on has none
 * yet, so nothing counts that is younger than any job can be.
 */
function leftoversOf(artifacts: readonly RepositoryArtifact[]): readonly Leftover[] {
  const ids = new Set(artifacts.map(({runId, name}) => `${runId}/${name}`));
  // By its id, because an archive may have many parts.
  const leftovers = new Map<string, Leftover>();
  for (const artifact of artifacts) {
    const name = nameByArchive(artifact);
    const id = `${artifact.runId}/${name}`;
    const isOld = artifact.createdAt < Date.now() - longestJobMilliseconds;
    if (name !== undefined && isOld && !ids.has(`${id}.json`)) leftovers.set(id, {id, name});
  }
  return [...leftovers.values()];
}

/**
 * The backup of the repository that is meant by its proof, or by when it was finished; undefined when none has such a
 * name. Throws a UserError when none is proven, and one that is was asked for.
 */
export async function searchCatalog(
  wanted: Wanted,
  options: ArtifactCatalogOptions,
): Promise<Candidate | undefined> {
  const access = accessOf(options);
  const {owner, name: repository} = access.repository;
  const catalog = await listArtifactBackups(options);
  const entry = choose(catalog, wanted, `the artifacts of ${owner}/${repository}`);
  if (entry === undefined) return undefined;
  const run = await listRun({...access, runId: runIdOf(entry)});
  const metadataArtifact = run.artifacts.find((artifact) => artifact.name === `${entry.name}.json`);
  if (metadataArtifact) return {name: entry.name, metadataArtifact, run};
  throw new UserError(
    `Backup ${entry.name} was removed while it was looked for.`,
    'Run the step again: it takes the newest one that is left.',
  );
}

interface Backup {
  readonly name: string;
  readonly runId: number;
  readonly metadata: RepositoryArtifact;
}

/** The complete backups among artifacts. A `.json` without an archive beside it is something else's. */
function backupsOf(artifacts: readonly RepositoryArtifact[]): readonly Backup[] {
  const keyOf = ({runId}: RepositoryArtifact, name: string) => `${runId}/${name}`;
  const withArchive = new Set(
    artifacts.flatMap((artifact) => {
      const name = nameByArchive(artifact);
      return name === undefined ? [] : [keyOf(artifact, name)];
    }),
  );
  const backups = new Map<string, Backup>();
  // The newest comes last, and wins: a run that was tried again may list a name twice.
  for (const metadata of artifacts.toSorted((a, b) => a.id - b.id)) {
    if (!metadata.name.endsWith('.json')) continue;
    const name = metadata.name.slice(0, -'.json'.length);
    const key = keyOf(metadata, name);
    if (problemOfName(name) === undefined && withArchive.has(key))
      backups.set(key, {name, runId: metadata.runId, metadata});
  }
  return [...backups.values()];
}

/** The backup that an artifact is the main archive of; undefined: of none. */
function nameByArchive({name}: RepositoryArtifact): string | undefined {
  return archive.exec(name)?.[1];
}

/** The run that a listed backup is in. */
export function runIdOf({id}: Pick<CatalogEntry, 'id'>): number {
  return Number(id.split('/')[0]);
}

/** The repository that is looked at. Throws a UserError without a token. */
export function accessOf({thisRun, repository = thisRun.repository, token}: SearchOptions): RepositoryAccess {
  if (token === undefined) throw tokenIsMissing();
  return {repository, token};
}

/** Every artifact of a repository that counts: not expired, and not of a pull request from a fork. */
async function listAll(access: RepositoryAccess): Promise<readonly RepositoryArtifact[]> {
  const artifacts: RepositoryArtifact[] = [];
  for await (const page of listRepository(access))
    artifacts.push(...page.filter(({isExpired, isFromFork}) => !isExpired && !isFromFork));
  return artifacts;
}

function documentOf(
  artifact: RepositoryArtifact,
  access: RepositoryAccess,
  scratchDirectory: string,
): StoredDocument {
  const {id, name, runId} = artifact;
  const location = `artifacts of run ${runId}`;
  const findBy = findByOf(access, runId);
  return {
    key: String(id),
    name: `Artifact ${name} of run ${runId}`,
    read: () => readArtifact(artifact, {location, artifacts: [artifact], findBy}, scratchDirectory),
  };
}
