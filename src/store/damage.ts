import {DamagedBackupError, DamageError} from '../backup-set/digest.js';
import type {DamageRecord} from '../backup-set/proof-file.js';
import {verifyFiles} from '../backup-set/source.js';
import {describe} from '../errors.js';
import {noteDamage, noteFailure} from '../journal.js';
import {info, warning} from '../log.js';
import {untilAborted} from './parallel.js';
import {patienceMilliseconds, type Witness} from './record-proof.js';
import type {FoundBackup, Store} from './store.js';

type Subject = Pick<FoundBackup, 'name' | 'metadataSha256' | 'metadata' | 'source'>;

/** What was complained of, and the backup that it is about. One process is one step. */
const suspicions = new Map<DamagedBackupError, Subject>();

/**
 * Works with the files of a backup, and remembers it when they are complained of. What fails is thrown on. Of a backup
 * that others build on, the innermost one counts.
 */
export async function suspecting<T>(backup: Subject, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const complaint = complaintIn(error);
    if (complaint && !suspicions.has(complaint)) suspicions.set(complaint, backup);
    throw error;
  }
}

function complaintIn(error: unknown): DamagedBackupError | undefined {
  if (error instanceof DamagedBackupError) return error;
  return error instanceof Error ? complaintIn(error.cause) : undefined;
}

/** What damage is recorded with. */
export interface Recording {
  readonly store: Store;
  readonly request: {readonly mode: DamageRecord['by']; readonly dryRun: boolean};
  readonly witness: Witness;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/**
 * Does a step's work, and where it fails for damage, notes that beside the backup, so that an earlier proof does not
 * count any more. What fails is thrown on; a note that cannot be stored is a warning. A dry run notes nothing.
 */
export async function recordingDamage<T>(recording: Recording, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    noteFailure();
    // Nothing of that may take the place of what has failed.
    if (!recording.request.dryRun)
      await untilAborted(recording.signal, () => recordAll(recording)).catch(() => undefined);
    throw error;
  }
}

async function recordAll({store, request, witness}: Recording): Promise<void> {
  for (const [complaint, backup] of suspicions) {
    const {name, metadataSha256} = backup;
    // Without metadata nothing tells that it is this backup, and no proof refers to it.
    if (metadataSha256 === undefined) continue;
    const damage = complaint.isCertain ? complaint : await findDamage(backup, complaint);
    if (damage)
      await record(store, {
        ...{schemaVersion: 1, name, metadataSha256, damage: damage.message, by: request.mode},
        foundAt: new Date().toISOString(),
        ...{actionRef: witness.actionRef ?? null, runUrl: witness.runUrl ?? null},
      });
  }
}

/**
 * Compares the files that were complained of with the metadata once more; of a plain backup on this machine all of them,
 * because the complaint is of its manifest. Undefined: they are what was stored, or cannot be read.
 */
async function findDamage(
  {metadata, source}: Subject,
  {files, message}: DamagedBackupError,
): Promise<DamageError | undefined> {
  if (metadata === undefined || source === undefined) return undefined;
  const isHere = source.directory !== undefined;
  const isAll = isHere && metadata.format === 'plain';
  const doubted = isAll ? metadata.files : metadata.files.filter(({name}) => files.includes(name));
  if (doubted.length === 0) return undefined;
  info(`${message}\nComparing it with the metadata once more, to tell damage from a fault of this machine.`);
  try {
    await verifyFiles(source, doubted);
    return undefined;
  } catch (error) {
    return error instanceof DamageError && (error.isCertain || !isHere) ? error : undefined;
  }
}

async function record(store: Store, damage: DamageRecord): Promise<void> {
  const {name, damage: reason} = damage;
  const saving = untilAborted(AbortSignal.timeout(patienceMilliseconds), () => store.saveProof(damage));
  const note = await saving.then(
    (stored) =>
      stored &&
      `${name}.proof.json notes it: from the next run on, latest-verified passes over this backup. If the file can be put back, run mode: verify with backup-name: ${name}, and what was proven before holds again.`,
    (error: unknown) =>
      `It could not be noted beside the backup, so that latest-verified may find it again: ${describe(error)}`,
  );
  // It was removed meanwhile.
  if (note === undefined) return;
  noteDamage({name, reason, note});
  warning(`${name}: ${reason}\n${note}`);
}
