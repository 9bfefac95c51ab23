import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {DefaultArtifactClient} from '@actions/artifact';
import {type Evidence, formatProof, parseProof, successor} from '../backup-set/proof-file.js';
import type {ReportFiles} from '../backup-set/report-file.js';
import {type ArtifactCatalogOptions, proofEnd} from './artifact-catalog.js';
import {readArtifact} from './artifact-download.js';
import {listThisRun} from './artifact-search.js';

const client = new DefaultArtifactClient();

/** Stores a proof or damage as an artifact of this run, in the place of older evidence that says no more. */
export async function saveProofArtifact(
  evidence: Evidence,
  {thisRun, scratchDirectory}: ArtifactCatalogOptions,
): Promise<Evidence | undefined> {
  const artifactName = evidence.name + proofEnd;
  const run = await listThisRun(thisRun);
  const old = run.artifacts.find(({name}) => name === artifactName);
  const known = old && parseProof(await readArtifact(old, run, scratchDirectory));
  const next = successor(evidence, known);
  if (next === undefined) return undefined;
  if (old) await client.deleteArtifact(artifactName);
  await uploadText(artifactName, formatProof(next), scratchDirectory);
  return next;
}

/** Stores a report's files as artifacts of this run, in the place of older ones. */
export async function saveReportArtifacts(
  files: ReportFiles,
  {thisRun, scratchDirectory}: Pick<ArtifactCatalogOptions, 'thisRun' | 'scratchDirectory'>,
): Promise<void> {
  const {artifacts} = await listThisRun(thisRun);
  for (const [name, text] of Object.entries(files)) {
    if (artifacts.some((artifact) => artifact.name === name)) await client.deleteArtifact(name);
    await uploadText(name, text, scratchDirectory);
  }
}

async function uploadText(artifactName: string, text: string, scratchDirectory: string): Promise<void> {
  const directory = await mkdtemp(join(scratchDirectory, 'text-'));
  try {
    const path = join(directory, artifactName);
    await writeFile(path, text);
    await client.uploadArtifact(artifactName, [path], directory, {skipArchive: true});
  } finally {
    await rm(directory, {recursive: true, force: true});
  }
}
