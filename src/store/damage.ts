import {DamagedBackupError, DamageError} from '../backup-set/digest.js';
import type {DamageRecord} from '../backup-set/proof-file.js';
import {verifyFiles} from '../backup-set/source.js';
import {describe} from '../errors.js';
import {noteDamage, noteFailure, readDamages} from '../journal.js';
import {info, warning} from '../log.js';
import {untilAborted} from './parallel.js';
import {patienceMilliseconds, type Witness} from './record-proof.js';
import type {FoundBackup, Store} from './store.js';

type Subject = Pick<FoundBackup, 'name' | 'metadataSha256' | 'metadata' | 'source'>;

const looked = new WeakSet<Error>();

/**
 * Works with the files of a backup, and notes it when they turn out not to be those that were stored. What fails is
 * thrown on. Of a backup that others build on, the innermost one counts.
 */
export async function notingDamage<T>(backup: Subject, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const complaint = complaintIn(error);
    if (complaint && !looked.has(complaint)) {
      looked.add(complaint);
      await noteIfTrue(backup, complaint);
    }
    throw error;
  }
}

function complaintIn(error: unknown): DamagedBackupError | undefined {
  if (error instanceof DamagedBackupError) return error;
  return error instanceof Error ? complaintIn(error.cause) : undefined;
}

async function noteIfTrue(backup: Subject, complaint: DamagedBackupError): Promise<void> {
  const {name, metadataSha256} = backup;
  // Without metadata nothing tells that it is this backup, and no proof refers to it.
  if (metadataSha256 === undefined) return;
  const damage = complaint.isCertain ? complaint : await findDamage(backup, complaint);
  if (damage) noteDamage({name, metadataSha256, reason: damage.message});
}

/**
 * Compares what is stored with the metadata once more: all of it where it lies on this machine, elsewhere the files
 * that were complained of. Undefined: it is what was stored, or cannot be read.
 */
async function findDamage(
  {metadata, source}: Subject,
  {files}: DamagedBackupError,
): Promise<DamageError | undefined> {
  if (metadata === undefined || source === undefined) return undefined;
  const doubted = metadata.files.filter(
    (file) => source.directory !== undefined || files.includes(file.name),
  );
  if (doubted.length === 0) return undefined;
  info(
    `Comparing ${source.location} with its metadata once more, to tell damage from a fault of this machine.`,
  );
  try {
    await verifyFiles(source, doubted);
    return undefined;
  } catch (error) {
    return error instanceof DamageError ? error : undefined;
  }
}

/** What damage is recorded with. */
export interface Recording {
  readonly store: Store;
  readonly request: {readonly mode: DamageRecord['by']; readonly dryRun: boolean};
  readonly witness: Witness;
}

/**
 * Does a step's work, and where it fails for damage, notes that beside the backup, so that an earlier proof does not
 * count any more. What fails is thrown on; a note that cannot be stored is a warning. A dry run notes nothing.
 */
export async function recordingDamage<T>(
  {store, request, witness}: Recording,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    noteFailure();
    const damages = request.dryRun ? [] : readDamages();
    for (const {name, metadataSha256, reason} of damages)
      await record(store, {
        ...{schemaVersion: 1, name, metadataSha256, damage: reason, foundAt: new Date().toISOString()},
        ...{by: request.mode, actionRef: witness.actionRef ?? null, runUrl: witness.runUrl ?? null},
      });
    throw error;
  }
}

async function record(store: Store, damage: DamageRecord): Promise<void> {
  const {name} = damage;
  try {
    await untilAborted(AbortSignal.timeout(patienceMilliseconds), () => store.saveProof(damage));
    info(
      `${name}.proof.json notes the damage, for latest-verified and keep-*, until ${name} is proven again.`,
    );
  } catch (error) {
    warning(
      `${name} is damaged, which could not be noted beside it, so that latest-verified may find it: ${describe(error)}`,
    );
  }
}
