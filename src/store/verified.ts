import {type Catalog, type CatalogEntry, newestFirst, newestVerified} from '../backup-set/catalog.js';
import {UserError} from '../errors.js';

/** The newest backup whose restore was proven. Throws a UserError that tells what is there when there is none. */
export function requireVerified({entries}: Catalog, location: string): CatalogEntry {
  const verified = newestVerified(entries);
  if (verified) return verified;
  const [newest] = newestFirst(entries);
  const there =
    newest === undefined
      ? 'There is no complete backup at all.'
      : `There are ${entries.length}, the newest is ${newest.name}${newest.proof ? `, proven ${newest.proof.proof} alone` : ''}.`;
  throw new UserError(
    `No backup in ${location} is proven to restore. ${there}`,
    'A mode: restore that succeeds, and reaches recovered, writes that proof: run one with backup-name: latest.',
  );
}
