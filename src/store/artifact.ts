import {latestVerified, problemOfName} from '../backup-set/naming.js';
import {UserError} from '../errors.js';
import type {UploadOptions} from './artifact-attempt.js';
import {listArtifactBackups, searchCatalog} from './artifact-catalog.js';
import {findExposure} from './artifact-exposure.js';
import {openBackup} from './artifact-open.js';
import {saveProofArtifact, saveReportArtifacts} from './artifact-proof.js';
import {mostPartsOnDisk, receiveAsArtifacts} from './artifact-receive.js';
import {removeArtifactLeftover, removeArtifacts} from './artifact-removal.js';
import {listThisRun, type SearchOptions, searchArtifacts, type ThisRun} from './artifact-search.js';
import {saveAsArtifacts} from './artifact-upload.js';
import type {Wanted} from './choose.js';
import {untilAborted} from './parallel.js';
import type {FoundBackup, Receiving, Store} from './store.js';

export type {Repository} from './artifact-listing.js';
export type {ThisRun} from './artifact-search.js';

/** What keeping backups as artifacts of GitHub Actions needs to know. */
export interface ArtifactStoreOptions extends UploadOptions, SearchOptions {
  /** `GITHUB_EVENT_PATH` */
  readonly eventPath?: string | undefined;
  /** Files of larger backups are cut into parts of this size; undefined: every file is stored whole. */
  readonly partBytes?: number | undefined;
}

/**
 * Keeps backups as artifacts of a run: each file one artifact that is not zipped, `<backup-name>.<file>`, and last
 * `<backup-name>.json`. Backups are stored in this run and found in this run, another, or the whole repository.
 */
export function artifactStore(options: ArtifactStoreOptions): Store {
  const {thisRun, signal, eventPath, token} = options;
  return {
    // Artifacts drop empty directories and modes, and PostgreSQL then refuses to start.
    takesDirectories: false,
    // 50,000 blocks of 8 MiB (@actions/artifact 6.2.1; Azure takes no more blocks).
    largestFileBytes: 50_000 * 8 * 2 ** 20,
    ...(options.partBytes && {receiving: receivingInParts(options, options.partBytes)}),
    exposure: () => findExposure({repository: thisRun.repository, eventPath, token, signal}),
    async checkName(name) {
      checkCharacters(name);
      requireService(thisRun);
      await untilAborted(signal, () => checkIsFree(name, thisRun));
    },
    async save(backup) {
      requireService(thisRun);
      return saveAsArtifacts(backup, options);
    },
    async find(wanted) {
      requireService(thisRun);
      return untilAborted(signal, () => findArtifacts(wanted, options));
    },
    async findParent({name, id}) {
      requireService(thisRun);
      const search = () => searchArtifacts(name, {...options, ...inRun(id)});
      const [parent] = await untilAborted(signal, search);
      return openBackup(parent, options);
    },
    list: () => untilAborted(signal, () => listArtifactBackups(options)),
    remove: (entry) => untilAborted(signal, () => removeArtifacts(entry, options)),
    removeLeftover: (leftover) => untilAborted(signal, () => removeArtifactLeftover(leftover, options)),
    saveProof: (proof) => untilAborted(signal, () => saveProofArtifact(proof, options)),
    saveReport: (files) => untilAborted(signal, () => saveReportArtifacts(files, options)),
  };
}

/** By the catalog, where the backups of all runs come into question; else among those of one run, which needs none. */
async function findArtifacts(wanted: Wanted, options: ArtifactStoreOptions): Promise<FoundBackup> {
  const {name, finishedBy} = wanted;
  const isOfAnyRun = name === latestVerified || options.runId === 'latest';
  if (name === latestVerified || (finishedBy && isOfAnyRun)) {
    const chosen = await searchCatalog(wanted, options);
    if (chosen) return openBackup(chosen, options);
  }
  const [newest, ...older] = await searchArtifacts(name, options);
  let found = await openBackup(newest, options);
  for (const candidate of older) {
    if (finishedBy === undefined || isFinishedBy(found, finishedBy)) break;
    found = await openBackup(candidate, options);
  }
  return found;
}

const isFinishedBy = ({metadata}: FoundBackup, time: Date) =>
  metadata !== undefined && Date.parse(metadata.finishedAt) <= time.getTime();

/** GitHub takes 500 artifacts of a job (GitHub Docs, "actions/upload-artifact", Limitations); other steps may make some. */
const mostArtifacts = 450;

function receivingInParts(options: ArtifactStoreOptions, partBytes: number): Receiving {
  return {
    aboveBytes: partBytes,
    diskBytes: mostPartsOnDisk * partBytes,
    mostBytes: mostArtifacts * partBytes,
    begin(expected) {
      requireService(options.thisRun);
      return receiveAsArtifacts(expected, {...options, partBytes});
    },
  };
}

/** Where a listed backup is; one that came from another storage is looked for where its child is. */
function inRun(id: string): Pick<SearchOptions, 'runId'> {
  const runId = /^(\d+)\//.exec(id)?.[1];
  return runId === undefined ? {} : {runId: Number(runId)};
}

function checkCharacters(name: string): void {
  const problem = problemOfName(name);
  if (problem === undefined) return;
  throw new UserError(
    `backup-name ${JSON.stringify(name)} ${problem}.`,
    'Artifact names must not have any of " : < > | * ? \\ / or a line break. Write times as %H%M%S.',
  );
}

async function checkIsFree(name: string, thisRun: ThisRun): Promise<void> {
  const {artifacts} = await listThisRun(thisRun);
  // GitHub takes names that differ only in case for the same.
  const taken = artifacts.find((artifact) => artifact.name.toLowerCase() === `${name}.json`.toLowerCase());
  if (taken === undefined) return;
  throw new UserError(
    `This run has a backup named ${name} already (artifact ${taken.name}), and an artifact cannot be replaced.`,
    `Make the name unique: put \${{ github.run_attempt }} or the time (%H%M%S) into backup-name.`,
  );
}

/** The client fails for both reasons too, but says nothing about what to do. */
function requireService({serverUrl}: ThisRun): void {
  const cure = 'Set storage: directory, and keep the directory yourself.';
  const {hostname} = new URL(serverUrl);
  if (hostname !== 'github.com' && !hostname.endsWith('.ghe.com') && !hostname.endsWith('.localhost')) {
    throw new UserError(`${serverUrl} has no artifact service of the kind that github.com has.`, cure);
  }
  if (!process.env.ACTIONS_RUNTIME_TOKEN || !process.env.ACTIONS_RESULTS_URL) {
    throw new UserError(
      'GitHub gave this process no access to artifacts (ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set).',
      `It gives it to steps with "uses:" alone, not to "run:" steps or other machines. ${cure}`,
    );
  }
}
