import {Writable} from 'node:stream';
import {UserError} from '../../errors.js';
import {type Command, CommandError, type RunOptions} from '../../host/host.js';
import {info} from '../../log.js';
import type {Server} from '../server.js';
import {cureOf} from '../start-cures.js';

/** A program that checks a restored server, and what its failure is called. */
export interface CheckProgram extends Command {
  /** The check's name. */
  readonly name: string;
  readonly database?: string;
  readonly stdin?: RunOptions['stdin'];
}

/**
 * Runs a program that finds damage. Throws a UserError with the first lines that it wrote; of its output no more than
 * that is kept.
 */
export async function runCheck({host, programs}: Server, check: CheckProgram): Promise<void> {
  const output = startOfOutput();
  const {name, database, stdin, ...command} = check;
  try {
    await host.run(command, {stdout: output.stream, ...(stdin && {stdin})});
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const lines = [...output.lines(), ...error.stderr.trim().split('\n')].filter((line) => line !== '');
    for (const line of lines.slice(0, 40)) info(line);
    const where = database === undefined ? '' : ` in database ${JSON.stringify(database)}`;
    const found = lines.length > 1 ? `\n${lines.slice(0, 5).join('\n')}` : '';
    throw new UserError(
      `Check ${name} failed${where}: ${error.message}${found}`,
      cureFor(lines, programs.major),
      {cause: error},
    );
  }
}

function cureFor(lines: readonly string[], major: number): string {
  const text = lines.join('\n');
  if (/permission denied|must be (superuser|owner)|query would be affected by row-level security/.test(text))
    return 'Set user to a superuser of the restored cluster.';
  if (isLocked(text)) return lockedCure;
  const order = /item order invariant|lacks matching index tuple/.test(text)
    ? ' If a warning above tells of other collations, the index is sound on the source and REINDEX is the cure here.'
    : '';
  return (
    cureOf(lines, major) ??
    `The backup restores, but its data look damaged: keep older backups, and run the same check on the source.${order}`
  );
}

/** Whether a check could not get at a table in time. */
export const isLocked = (message: string) =>
  /lock timeout|could not obtain lock|LOCK TABLE .* ACCESS SHARE/i.test(message);

/** What to do then. */
export const lockedCure =
  'Recovery stopped inside of a transaction that has locked that table, such as one that drops it, and is still open there. Set recovery-target-action: promote, which ends it, or a target a little earlier.';

const keptBytes = 16 * 1024;

/** Takes what a program writes, and keeps the start of it. */
function startOfOutput(): {readonly stream: Writable; lines(): readonly string[]} {
  let kept = Buffer.alloc(0);
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (kept.length < keptBytes) kept = Buffer.concat([kept, chunk]).subarray(0, keptBytes);
      done();
    },
  });
  return {stream, lines: () => kept.toString('utf8').trimEnd().split('\n')};
}
