import {statfsSync} from 'node:fs';
import {messageOf, UserError} from '../errors.js';

/** What a disk that takes no more says, by the code of the system (errno(3)), and what to do about it. */
const cures: Readonly<Record<string, string>> = {
  ENOSPC: 'Free space there in an earlier step, or use a runner with a larger disk.',
  EDQUOT: 'The account has used up its quota there: free space in an earlier step, or have the quota raised.',
  EROFS:
    'That file system is mounted read-only: set directory, data-directory or RUNNER_TEMP to another one.',
  EIO: 'The disk itself fails (dmesg tells more): use another one.',
};

/** The codes that have a cure, for docs/troubleshooting.md to be held to. */
export const knownDiskCodes: readonly string[] = Object.keys(cures);

/** The failure of a disk as a UserError with the cure; anything else as it is. `where` is told where the system does not. */
export function explainDisk(thrown: unknown, where?: string): unknown {
  if (thrown instanceof UserError || !(thrown instanceof Error)) return thrown;
  const {code = '', path = where, syscall} = thrown as NodeJS.ErrnoException;
  const cure = cures[code];
  if (cure === undefined) return thrown;
  const what = path === undefined ? `A file could not be written` : `${path} could not be written`;
  return new UserError(`${what} (${syscall ?? code}): ${messageOf(thrown)}`, cure, {cause: thrown});
}

/** Of a disk that has no room left. */
const fullBytes = 2 ** 20;

/**
 * The failure of a write that nobody listened to, and that tells only that a stream has ended: a UserError where the
 * disk of `directory` is full, else as it is.
 */
export function explainStray(error: Error, directory: string): Error {
  try {
    const {bavail, bsize} = statfsSync(directory);
    if (bavail * bsize >= fullBytes) return error;
  } catch {
    return error;
  }
  return new UserError(
    `A download or a copy could not go on: no room is left in ${directory}.`,
    'Free space in an earlier step, set RUNNER_TEMP to a larger disk, or use a larger runner.',
    {cause: error},
  );
}
