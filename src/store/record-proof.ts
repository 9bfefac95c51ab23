import {highest, type PassedCheck, type ProofLevel} from '../backup-set/proof.js';
import type {Evidence, ProofRecord} from '../backup-set/proof-file.js';
import {describe} from '../errors.js';
import {info, warning} from '../log.js';
import {untilAborted} from './parallel.js';
import type {FetchedBackup, Store} from './store.js';

/** What a run that succeeded has shown of a backup. */
export interface Shown {
  readonly mode: ProofRecord['by'];
  readonly backup: FetchedBackup;
  readonly reached: ReadonlySet<ProofLevel>;
  readonly checks?: readonly PassedCheck[];
  /** The programs that were started on it. */
  readonly serverVersion?: string;
  readonly restoreSeconds?: number;
}

/** The run that shows it. */
export interface Witness {
  /** The ref that the action is used at: `v1`. */
  readonly actionRef?: string;
  readonly runUrl?: string;
}

/** A store that hangs must not hold up the report of a step that is done. */
export const patienceMilliseconds = 60_000;

/**
 * Stores what a run has proven beside the backup. The proof itself stands whether or not it can be stored, so a
 * storage that cannot be written to makes a warning. A backup without metadata has nothing that a proof could refer
 * to, and gets none.
 */
export async function recordProof(store: Store, shown: Shown, witness: Witness): Promise<void> {
  const {backup, reached, mode, checks = [], serverVersion = null, restoreSeconds} = shown;
  const proof = highest(reached);
  if (backup.metadataSha256 === undefined || proof === undefined) return;
  const record: ProofRecord = {
    schemaVersion: 1,
    name: backup.name,
    metadataSha256: backup.metadataSha256,
    proof,
    reached: [...reached],
    checks: checks.map(({name}) => name),
    provenAt: new Date().toISOString(),
    by: mode,
    ...(restoreSeconds !== undefined && {restoreSeconds}),
    serverVersion,
    actionRef: witness.actionRef ?? null,
    runUrl: witness.runUrl ?? null,
  };
  try {
    const stored = await untilAborted(AbortSignal.timeout(patienceMilliseconds), () =>
      store.saveProof(record),
    );
    info(`${backup.name}.proof.json: ${whatIsStored(stored, proof)}`);
  } catch (error) {
    warning(
      `${backup.name} is proven ${proof}, but the proof could not be stored, so that latest-verified does not find it: ${describe(error)}`,
    );
  }
}

function whatIsStored(stored: Evidence | undefined, proof: ProofLevel): string {
  if (stored === undefined) return `a proof that says more than ${proof} is there already, and stays`;
  return 'confirmedAt' in stored
    ? `damage that was noted is gone, and the proof from before (${stored.proof}) holds again`
    : `the proof (${proof}) is stored`;
}
