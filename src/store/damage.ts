import {DamagedBackupError} from '../backup-set/digest.js';
import type {DamageRecord} from '../backup-set/proof-file.js';
import {describe} from '../errors.js';
import {noteDamage, readDamages} from '../journal.js';
import {info, warning} from '../log.js';
import {untilAborted} from './parallel.js';
import {patienceMilliseconds, type Witness} from './record-proof.js';
import type {FoundBackup, Store} from './store.js';

const told = new WeakSet<Error>();

/**
 * Works with the files of a backup, and notes it when they turn out not to be those that were stored. What fails is
 * thrown on. Of a backup that others build on, the innermost one counts.
 */
export async function notingDamage<T>(
  {name, metadataSha256}: Pick<FoundBackup, 'name' | 'metadataSha256'>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const damage = damageIn(error);
    // Without metadata nothing tells that it is this backup, and no proof refers to it.
    if (damage && !told.has(damage) && metadataSha256 !== undefined)
      noteDamage({name, metadataSha256, reason: damage.message});
    if (damage) told.add(damage);
    throw error;
  }
}

function damageIn(error: unknown): DamagedBackupError | undefined {
  if (error instanceof DamagedBackupError) return error;
  return error instanceof Error ? damageIn(error.cause) : undefined;
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
      `${name}.proof.json notes the damage: latest-verified passes over ${name}, until it is proven again.`,
    );
  } catch (error) {
    warning(
      `${name} is damaged, which could not be noted beside it, so that latest-verified may find it: ${describe(error)}`,
    );
  }
}
