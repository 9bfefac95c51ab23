import {complaintOf} from '../../backup-set/decompress.js';
import {damaged} from '../../backup-set/digest.js';
import {UserError} from '../../errors.js';
import {hasKilledPart, lacksTar} from '../../host/extraction.js';
import {CommandError, wasKilled} from '../../host/host.js';

/** Whether it did not come to its own end: a signal, or an engine that could not go on. */
function wasEnded(error: CommandError): boolean {
  return (
    wasKilled(error) ||
    hasKilledPart(error) ||
    /^(Cannot connect to the Docker daemon|error during connect|Error response from daemon)/m.test(
      error.stderr,
    )
  );
}

/** What it means that tar failed on an archive: its first line says why; its last one only that it failed. */
export function tarFailure(name: string, error: unknown, directory: string): unknown {
  if (!(error instanceof CommandError)) return error;
  if (lacksTar(error)) {
    return new UserError(
      `${name} could not be extracted: there is no tar where PostgreSQL is to run (${error.stderr.trim()}).`,
      'Install tar there.',
      {cause: error},
    );
  }
  if (/Permission denied/.test(error.stderr)) {
    return new UserError(
      `${name} could not be extracted: ${error.stderr.trim().split('\n')[0]}`,
      `PostgreSQL's account must be able to write ${directory} and to pass through its parents: set data-directory.`,
      {cause: error},
    );
  }
  if (!/No space left on device|Disk quota exceeded/.test(error.stderr)) {
    if (wasEnded(error))
      return new UserError(
        `${name} could not be extracted, and whether it is damaged is not known: ${error.message}`,
        'Run the step again, where memory ran out on a machine with more of it.',
        {cause: error},
      );
    const line = complaintOf(error.stderr.trim().split('\n')[0] || error.message);
    return damaged(name, /File exists/i.test(line) ? `${line} (two of its members have that name)` : line);
  }
  return new UserError(
    `The disk is full: ${name} could not be extracted into ${directory}.`,
    'Free space in an earlier step, or set data-directory to a larger disk.',
    {cause: error},
  );
}
