import {filesWithoutBase} from '../backup-set/chain.js';
import {UserError} from '../errors.js';
import type {FoundBackup} from '../store/store.js';
import {Problems} from './problems.js';
import type {Checked, Verified} from './verify.js';

/**
 * Verifies what an incremental backup builds on, the full one first, and that each has what the next one lacks. Throws
 * a UserError that names the backup that is damaged.
 */
export async function verifyParents(
  parents: readonly FoundBackup[],
  verifyOne: (found: FoundBackup) => Promise<Verified>,
): Promise<Verified | undefined> {
  let last: Verified | undefined;
  for (const parent of parents) {
    try {
      last = await verifyLast(last, () => verifyOne(parent));
    } catch (cause) {
      if (!(cause instanceof UserError)) throw cause;
      throw new UserError(`Backup ${parent.name} of the chain: ${cause.message}`, cause.cure, {cause});
    }
  }
  return last;
}

/** Verifies the backup that builds on one that is verified, and adds up what was compared. */
export async function verifyLast(
  parent: Verified | undefined,
  verifyOne: () => Promise<Verified>,
): Promise<Verified> {
  const verified = await verifyOne();
  if (parent === undefined) return verified;
  const problems = new Problems();
  for (const path of filesWithoutBase(verified.manifest, parent.manifest))
    problems.add(path, `it has only what has changed, and ${parent.backup.name} has nothing of that file`);
  problems.refuse();
  return {
    ...verified,
    parents: [...parent.parents, parent.backup.name],
    checked: addUp(parent.checked, verified.checked),
  };
}

function addUp(parent: Checked, {systemIdentifier, ...own}: Checked): Checked {
  return {
    systemIdentifier,
    files: parent.files + own.files,
    bytes: parent.bytes + own.bytes,
    storedBytes: parent.storedBytes + own.storedBytes,
    walSegments: parent.walSegments + own.walSegments,
    walRecords: parent.walRecords + own.walRecords,
    seconds: parent.seconds + own.seconds,
  };
}
