import {readdir, readFile, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {messageOf} from '../errors.js';
import {info, warning} from '../log.js';
import {
  draftOf,
  identify,
  type Made,
  type Mark,
  markOf,
  type Root,
  rootName,
  scratchPrefix,
} from './claim.js';
import {type Orphan, type Owner, orphansOf, stateOf} from './owner.js';

/** Where what killed runs left is looked for. */
export interface Places {
  /** The runner's temporary folder. */
  readonly temporaryDirectory: string;
  /** Directories whose marks count, whatever they mark: backups are made there. */
  readonly directories: readonly string[];
  /** Paths whose own marks count. */
  readonly paths: readonly string[];
}

/** Files by which a run is known that has not tidied up, or not yet. */
interface Trace {
  readonly owner: Owner;
  readonly marks: Set<string>;
  scratch?: string;
}

/**
 * Ends the programs and removes the files of runs that were killed, and says so in one line for each. What a run did
 * not record as made by itself is left alone, and so is what belongs to a run that goes on, or may go on for all that
 * can be seen from here. Never throws: what is left does not hinder this run, or is refused later.
 */
export async function removeLeftovers(places: Places): Promise<void> {
  for (const trace of await findTraces(places)) {
    const state = await stateOf(trace.owner);
    if (state === 'unknown') tellUnknown(trace);
    if (state !== 'dead') continue;
    try {
      await removeTrace(trace);
    } catch (error) {
      warning(`What ${trace.owner.run} left could not be removed: ${messageOf(error)}`);
    }
  }
}

async function findTraces({temporaryDirectory, directories, paths}: Places): Promise<Iterable<Trace>> {
  const traces = new Map<string, Trace>();
  const traceOf = (owner: Owner): Trace => {
    const trace = traces.get(owner.id) ?? {owner, marks: new Set<string>()};
    traces.set(owner.id, trace);
    return trace;
  };
  for (const name of await names(temporaryDirectory, (one) => one.startsWith(scratchPrefix))) {
    const scratch = join(temporaryDirectory, name);
    const root = await read<Root>(join(scratch, rootName));
    if (root === undefined) continue;
    const trace = traceOf(root.owner);
    trace.scratch = scratch;
    for (const mark of root.marks) trace.marks.add(mark);
  }
  const marks = await Promise.all(
    directories.map(async (directory) =>
      (await names(directory, (one) => one.endsWith(markOf('.partial')))).map((name) =>
        join(directory, name),
      ),
    ),
  );
  for (const path of [...marks.flat(), ...paths.map(markOf)]) {
    const mark = await read<Mark>(path);
    if (mark !== undefined) traceOf(mark.owner).marks.add(path);
  }
  return traces.values();
}

async function names(directory: string, fits: (name: string) => boolean): Promise<readonly string[]> {
  return (await readdir(directory).catch(() => [])).filter(fits);
}

/** Undefined when it is absent, or none of ours. */
async function read<T extends {readonly owner: Owner}>(path: string): Promise<T | undefined> {
  try {
    const content = JSON.parse(await readFile(path, 'utf8')) as T | null;
    return typeof content?.owner?.id === 'string' ? content : undefined;
  } catch {
    return undefined;
  }
}

function tellUnknown({owner, marks, scratch}: Trace): void {
  const files = [...marks, ...(scratch === undefined ? [] : [scratch])].join(', ');
  info(`Left alone, because from here it cannot be seen whether ${owner.run} goes on: ${files}`);
}

async function removeTrace({owner, marks, scratch}: Trace): Promise<void> {
  const ended = await endOrphans(owner);
  const removed: string[] = [];
  for (const path of marks) removed.push(...(await removeMarked(path, owner)));
  if (scratch !== undefined) {
    await rm(scratch, {recursive: true, force: true, maxRetries: 3});
    removed.push(scratch);
  }
  const programs = ended.map(({program, pid}) => `${program} (${pid})`).join(', ');
  info(
    `Tidied up after ${owner.run}, which was killed: ${programs === '' ? '' : `ended ${programs}; `}removed ${removed.join(', ')}`,
  );
}

async function removeMarked(file: string, owner: Owner): Promise<readonly string[]> {
  await rm(draftOf(file, owner), {force: true});
  const mark = await read<Mark>(file);
  if (mark?.owner.id !== owner.id) return [];
  const removed: string[] = [];
  for (const group of mark.made) {
    const [first, ...others] = group;
    // Renamed, it is a finished backup, and so are those that belong to it.
    if (first === undefined || !(await isSame(first))) continue;
    // It last, so that the next run goes on where this one is interrupted.
    for (const made of [...others, first]) {
      if (!(await isSame(made))) continue;
      await rm(made.path, {recursive: true, force: true, maxRetries: 3});
      removed.push(made.path);
    }
  }
  await rm(file, {force: true});
  return removed.length === 0 ? [file] : removed;
}

async function isSame(made: Made): Promise<boolean> {
  const found = await identify(made.path).catch(() => undefined);
  return (
    found !== undefined &&
    found.device === made.device &&
    found.inode === made.inode &&
    found.bornAt === made.bornAt
  );
}

/**
 * Ends the programs that a dead run has left on this machine. They must have ended before their files are removed: what
 * still writes makes them anew. Throws an Error that names those that do not end.
 */
export async function endOrphans(owner: Owner): Promise<readonly Orphan[]> {
  const ended = new Map<number, Orphan>();
  for (const [tries, hard] of [
    [30, false],
    [50, true],
  ] as const) {
    const found = await orphansOf(owner);
    for (const orphan of found) {
      ended.set(orphan.pid, orphan);
      signal(orphan, hard);
    }
    for (let count = 0; count < tries && (await orphansOf(owner)).length > 0; count += 1) await sleep(100);
  }
  const left = await orphansOf(owner);
  if (left.length > 0)
    throw new Error(`${left.map(({program, pid}) => `${program} (${pid})`)} does not end.`);
  return [...ended.values()];
}

/** A server's immediate shutdown is SIGQUIT; SIGTERM would have it wait for its clients. */
function signal({pid, program}: Orphan, hard: boolean): void {
  try {
    process.kill(pid, hard ? 'SIGKILL' : program === 'postgres' ? 'SIGQUIT' : 'SIGTERM');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
