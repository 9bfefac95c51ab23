import type {Decryption} from '../../backup-set/encryption/decryption.js';
import {UserError} from '../../errors.js';
import {attempt, type Finding, failuresOf} from '../../finding.js';
import {CommandError, type Host} from '../../host/host.js';
import {suspecting} from '../../store/damage.js';
import type {FoundBackup} from '../../store/store.js';
import {type Planning, planRecovery, readManifestOf} from '../recovery/recovery-plan.js';

/**
 * Whether backup and `wal-directory` can give what recovery is asked for. Warnings are told by a dry run alone: when
 * the files are here, what they tell is compared again.
 */
export async function surveyRecovery(
  {backup, decryption}: {readonly backup: FoundBackup; readonly decryption: Decryption},
  planning: Planning,
): Promise<readonly Finding[]> {
  const {metadata, source} = backup;
  const {request, host} = planning;
  const readable = await attempt('wal-directory', () => requireReadable(request.recovery.walDirectory, host));
  if ('finding' in readable) return failuresOf([readable]);
  const plan = await attempt('Recovery', async () => {
    const manifest = source && (await suspecting(backup, () => readManifestOf(source, decryption)));
    return planRecovery({metadata, manifest}, planning);
  });
  if ('finding' in plan) return failuresOf([plan]);
  if (!request.dryRun) return [];
  return plan.value.warnings.map((observed) => ({
    level: 'warning',
    subject: 'Recovery',
    observed,
    cure: '',
  }));
}

/** PostgreSQL takes an archive that it cannot read for one that has ended. */
async function requireReadable(walDirectory: string | undefined, host: Host): Promise<void> {
  if (walDirectory === undefined) return;
  try {
    await host.checkReadable(walDirectory);
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      `wal-directory ${walDirectory} cannot be read: ${cause.message}`,
      `Check the path, and give ${host.user}, the account that PostgreSQL runs as, the right to read it and to pass through its parents (chmod o+rx).`,
      {cause},
    );
  }
}
