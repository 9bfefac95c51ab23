import type {Decryption} from '../backup-set/encryption/decryption.js';
import {unseal} from '../backup-set/encryption/sealed.js';
import {info} from '../log.js';
import type {FoundBackup} from './store.js';

/**
 * A backup with its metadata decrypted, as found and as fetched. Throws a UserError when it is encrypted and no key
 * fits: before anything is fetched.
 */
export async function unlock(found: FoundBackup, decryption: Decryption): Promise<FoundBackup> {
  if (!found.metadata) return found;
  if (!found.metadata.encryption) {
    if (decryption.hasKeys) info(`Backup ${found.name} is not encrypted: the keys are of no use to it.`);
    return found;
  }
  const metadata = await unseal(found.metadata, decryption);
  return {
    ...found,
    metadata,
    fetch: async (scratchDirectory) => ({...(await found.fetch(scratchDirectory)), metadata}),
  };
}
