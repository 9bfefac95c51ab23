import {ageSeconds} from '../backup-set/age.js';
import type {Manifest} from '../backup-set/manifest.js';
import type {PassedCheck, ProofLevel} from '../backup-set/proof.js';
import type {Finding} from '../finding.js';
import {phase} from '../log.js';
import type {FetchedBackup, FoundBackup} from '../store/store.js';
import {Achieved, isFailure, UnprovenError} from './achieved.js';
import {chooseDestination, type Placed} from './destination.js';
import {preflight, type RestoreSurroundings} from './preflight/preflight.js';
import {type Proven, prove} from './prove.js';
import type {RestoreRequest} from './request.js';
import {type Target, tidyTarget} from './target.js';
import {unpack} from './unpack/unpack.js';

interface Planned {
  readonly mode: 'restore';
  readonly request: RestoreRequest;
  /** What preflight found; none is an error. */
  readonly findings: readonly Finding[];
}

/** What a dry run found. */
export interface DryRestore extends Planned {
  readonly dryRun: true;
  readonly backup: FoundBackup;
  readonly target: Target;
}

/** A restored backup, and how far it is proven. */
export interface Restored extends Planned, Proven, Placed {
  readonly dryRun: false;
  readonly backup: FetchedBackup;
  readonly manifest: Manifest | undefined;
  readonly checks: readonly PassedCheck[];
  readonly reached: ReadonlySet<ProofLevel>;
  /** From the first byte fetched until the server was recovered and accepted connections, in its place. */
  readonly restoreSeconds: number;
  /** Undefined where nothing tells when the backup was made. */
  readonly backupAgeSeconds: number | undefined;
}

/** What a restore step tells. */
export type RestoreResult = DryRestore | Restored;

/**
 * Finds a backup, unpacks it, starts PostgreSQL on it, and proves it. Throws a UserError with the cure for whatever
 * stops it; then no server runs and nothing that the restore wrote is left.
 */
export async function restore(
  asked: RestoreRequest,
  surroundings: RestoreSurroundings,
): Promise<RestoreResult> {
  const {host} = surroundings;
  const destination = chooseDestination(asked, surroundings);
  const {request, target, backup, parents, decryption, primary, findings} = await phase('Preflight', () =>
    preflight(asked, {...surroundings, destination}),
  );
  const planned = {mode: 'restore', request, findings} as const;
  if (request.dryRun) return {...planned, dryRun: true, backup, target};
  const held = await destination.claim(target);
  const achieved = new Achieved();
  try {
    const startedAt = performance.now();
    const opening = {decryption, primary, achieved};
    const unpacked = await unpack(backup, {...surroundings, request, target, parents, ...opening});
    await tidyTarget(target, host);
    const proven = await prove(unpacked, {request, host, target, primary, achieved});
    const finish = () => destination.finish(proven, request);
    const placed = await (request.inPlace ? phase('Put in place', finish) : finish());
    return {
      ...planned,
      dryRun: false,
      backup: unpacked.backup,
      manifest: unpacked.manifest,
      ...proven,
      ...placed,
      checks: achieved.checks,
      reached: achieved.reached,
      restoreSeconds: (placed.readyAt - startedAt) / 1000,
      backupAgeSeconds: ageOf(unpacked.backup, unpacked.manifest),
    };
  } catch (error) {
    await destination.undo(target);
    throw isFailure(error) ? new UnprovenError(error, {request, findings, achieved}) : error;
  } finally {
    await held.release();
  }
}

function ageOf({metadata}: FetchedBackup, manifest: Manifest | undefined): number | undefined {
  const finishedAt = metadata?.finishedAt ?? manifest?.takenAt;
  return finishedAt === undefined ? undefined : ageSeconds(finishedAt);
}
