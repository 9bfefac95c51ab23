import {checkSize, requireExactFiles} from '../../backup-set/source.js';
import {groupedPhase, phase} from '../../log.js';
import type {FetchedBackup, FoundBackup} from '../../store/store.js';
import type {RestoreRequest} from '../request.js';

/**
 * Makes the files of a backup readable, each of the recorded size; what had to be copied lies under
 * `scratchDirectory`. With an attestation that is required they are compared with the attested metadata before anything
 * of them is used. Throws a UserError.
 */
export async function fetchBackup(
  found: FoundBackup,
  {requiredAttestation}: RestoreRequest,
  scratchDirectory: string,
): Promise<FetchedBackup> {
  const backup = await phase('Fetch', () => found.fetch(scratchDirectory));
  for (const file of backup.metadata?.files ?? []) await checkSize(backup.source, file);
  // What was copied has been compared on its way.
  if (requiredAttestation && found.source !== undefined)
    await groupedPhase('Compare with the attested metadata', () =>
      requireExactFiles(backup.source, backup.metadata?.files ?? []),
    );
  return backup;
}
