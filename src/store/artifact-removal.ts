import {createHash} from 'node:crypto';
import {isDeepStrictEqual} from 'node:util';
import {type CatalogEntry, factsOf, type Leftover} from '../backup-set/catalog.js';
import {parseMetadata} from '../backup-set/metadata.js';
import {UserError} from '../errors.js';
import {type ArtifactCatalogOptions, accessOf, runIdOf} from './artifact-catalog.js';
import {readArtifact} from './artifact-download.js';
import type {ListedArtifact} from './artifact-listing.js';
import {deleteArtifact, listRun, type RepositoryAccess} from './artifact-rest.js';

/**
 * Removes a backup's artifacts: the metadata, then the files, and `base.tar` last, by which the next removal knows
 * what an interrupted one left. Throws a UserError when something is left, or the metadata are not those listed.
 */
export async function removeArtifacts(entry: CatalogEntry, options: ArtifactCatalogOptions): Promise<void> {
  const access = accessOf(options);
  const run = await listRun({...access, runId: runIdOf(entry)});
  const metadata = run.artifacts.find(({name}) => name === `${entry.name}.json`);
  if (metadata === undefined) return;
  requireSame(await readArtifact(metadata, run, options.scratchDirectory), entry);
  await deleteArtifact(access, metadata);
  await deleteFiles(entry.name, run.artifacts, access);
}

/** Removes the artifacts of a backup that has lost its metadata. Throws a UserError when something is left. */
export async function removeArtifactLeftover(
  {id, name}: Leftover,
  options: ArtifactCatalogOptions,
): Promise<void> {
  const access = accessOf(options);
  const {artifacts} = await listRun({...access, runId: runIdOf({id})});
  if (!artifacts.some((artifact) => artifact.name === `${name}.json`))
    await deleteFiles(name, artifacts, access);
}

/** What was listed may have been told by a cache that others can write to. */
function requireSame(text: string, {id, name, proof, damage, ...listed}: CatalogEntry): void {
  const sha256 = createHash('sha256').update(text).digest('hex');
  if (isDeepStrictEqual(factsOf(parseMetadata(text, `${name}.json`), sha256), listed)) return;
  throw new UserError(
    `Artifact ${name}.json is not what the catalog says of it, so the backup is not removed.`,
    'Delete the caches pg-basebackup-catalog-* of the repository, and find out who wrote them.',
  );
}

/** The main archive goes last: by it a backup is known whose removal was interrupted. */
async function deleteFiles(
  name: string,
  artifacts: readonly ListedArtifact[],
  access: RepositoryAccess,
): Promise<void> {
  const ends = artifacts.flatMap((artifact) =>
    artifact.name.startsWith(`${name}.`) ? [{artifact, end: artifact.name.slice(name.length + 1)}] : [],
  );
  const files = ends.filter(({end}) =>
    /^(claim|backup_manifest|backup\.report|(base|pg_wal|\d+)\.tar)(\.\w+)*$/.test(end),
  );
  for (const {artifact} of files.toSorted((a, b) => Number(isMain(a.end)) - Number(isMain(b.end))))
    await deleteArtifact(access, artifact);
}

const isMain = (end: string) => end.startsWith('base.tar');
