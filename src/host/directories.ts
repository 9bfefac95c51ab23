import {mkdir} from 'node:fs/promises';
import {dirname} from 'node:path';
import {UserError} from '../errors.js';

/**
 * Makes a directory (mode 0700) and its missing parents; returns the first one that was made, or undefined when the
 * directory was there. Throws a UserError when it cannot be made. Not `mkdir` with `recursive`, which never ends
 * where a parent exists and takes no entries, such as /proc (Node 24).
 */
export async function makeDirectories(path: string): Promise<string | undefined> {
  let first: string | undefined;
  const make = async (directory: string, hasParent: boolean): Promise<void> => {
    try {
      await mkdir(directory, {mode: 0o700});
      first ??= directory;
    } catch (error) {
      const {code} = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return;
      if (code !== 'ENOENT' || hasParent) throw error;
      await make(dirname(directory), false);
      await make(directory, true);
    }
  };
  await make(path, false).catch((cause: Error) => {
    throw new UserError(
      `The directory ${path} cannot be made: ${cause.message}.`,
      'Set directory or data-directory to a path that the step may write to.',
      {cause},
    );
  });
  return first;
}
