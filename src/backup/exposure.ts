import type {Finding} from '../finding.js';
import type {Store} from '../store/store.js';
import type {BackupRequest} from './request.js';

/** Looks whether strangers could read the stored backup: the artifacts of a public repository are everybody's. */
export async function findExposure(
  {encryption, allowPublicPlaintext}: BackupRequest,
  store: Store,
): Promise<readonly Finding[]> {
  if (encryption !== undefined || store.exposure === undefined) return [];
  const exposure = await store.exposure();
  if (exposure === 'private') return [];
  const about = {subject: 'Confidentiality', cure};
  if (exposure === 'unknown') {
    const observed =
      'whether this repository is public cannot be told: if it is, everybody on GitHub can download the backup, which is not encrypted';
    return allowPublicPlaintext ? [] : [{...about, level: 'warning', observed}];
  }
  return [{...about, level: allowPublicPlaintext ? 'warning' : 'error', observed: isPublic}];
}

const isPublic =
  'this repository is public: everybody on GitHub can download its artifacts, and so all data and the hashes of all passwords, which are not encrypted';

const cure =
  'Encrypt the backup: age-keygen -o backup.key makes a key, encrypt-to takes its public part (age1…). Or keep it elsewhere (storage: directory). For data that everybody may have: allow-public-plaintext: true';
