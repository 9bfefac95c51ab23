import {dirname} from 'node:path';
import {messageOf, UserError} from '../errors.js';
import {attempt, type Finding, failuresOf, findingOf} from '../finding.js';
import type {Claim, HeldMark} from '../host/claim.js';
import {CommandError, type Host} from '../host/host.js';
import {warning} from '../log.js';
import {occupationOf, occupy} from './occupation.js';
import type {RestoreRequest} from './request.js';

/** Where a restore writes. Nothing else is touched. */
export interface Target {
  readonly dataDirectory: string;
  /** Holds a directory for each tablespace that the user did not map. */
  readonly tablespacesDirectory: string;
  /** The generated configuration and the server's log. */
  readonly configDirectory: string;
  /** Everything that a restore writes into, mapped tablespaces included. */
  readonly all: readonly string[];
  /** Those of them that were there, empty, before: they are emptied again after a failure, and stay. */
  readonly found: readonly string[];
}

/** The directories of a restore, and whatever forbids to write there: nothing is overwritten. */
export async function surveyTarget(
  request: RestoreRequest,
  host: Host,
): Promise<{readonly target: Target; readonly findings: readonly Finding[]}> {
  const {dataDirectory, tablespaceMapping} = request;
  const {tablespacesDirectory = `${dataDirectory}_tablespaces`} = request;
  const configDirectory = `${dataDirectory}_config`;
  const all = [dataDirectory, tablespacesDirectory, configDirectory, ...tablespaceMapping.values()];
  const kinds = await Promise.all(
    [...new Set(all)].map(async (path) => ({path, kind: await host.look(path)})),
  );
  const found = kinds.filter(({kind}) => kind === 'empty-directory').map(({path}) => path);
  const taken = kinds.filter(({kind}) => kind !== 'empty-directory' && kind !== 'absent');
  const attempts = [
    await attempt('Target', async () => refuseOverlap(all)),
    await attempt('Target', () => requireReachable(all, host)),
  ];
  return {
    target: {dataDirectory, tablespacesDirectory, configDirectory, all, found},
    findings: [...taken.map(({path}) => findingOf('Target', isTaken(path))), ...failuresOf(attempts)],
  };
}

const isTaken = (path: string) =>
  new UserError(
    `${path} exists already and is not empty, and nothing is overwritten.`,
    'Set data-directory (or tablespace-mapping) to a path that is empty or absent, or remove it in an earlier step.',
  );

/** PostgreSQL's account must be able to pass through every parent: the runner's own may be closed to it. */
async function requireReachable(paths: readonly string[], host: Host): Promise<void> {
  for (const path of new Set(paths.map((one) => dirname(one)))) {
    let parent = path;
    while ((await host.look(parent)) === 'absent') parent = dirname(parent);
    if (await canEnter(host, parent)) continue;
    const closed = await outermostClosed(host, parent);
    throw new UserError(
      `${host.user}, the account that PostgreSQL runs as, cannot enter ${closed}.`,
      `Set data-directory to a path that it can reach, or: chmod o+x '${closed}' (and what is closed to it below)`,
    );
  }
}

async function canEnter(host: Host, directory: string): Promise<boolean> {
  try {
    await host.run({program: 'test', args: ['-x', directory]});
    return true;
  } catch (error) {
    if (error instanceof CommandError) return false;
    throw error;
  }
}

/** The first on the way from the root that lets nobody pass; what is below it cannot be told from here. */
async function outermostClosed(host: Host, directory: string): Promise<string> {
  const parent = dirname(directory);
  return parent === directory || (await canEnter(host, parent)) ? directory : outermostClosed(host, parent);
}

/** Two tablespaces in one directory, or one inside of the data directory, would mix their files. */
function refuseOverlap(paths: readonly string[]): void {
  for (const [index, path] of paths.entries()) {
    const other = paths.find((one, at) => at !== index && `${path}/`.startsWith(`${one}/`));
    if (other === undefined) continue;
    throw new UserError(
      `${path} is the same as, or inside of, ${other}: each must be a directory of its own.`,
      'Change tablespace-mapping or data-directory.',
    );
  }
}

/**
 * Makes a restore the only one that writes into a target, until the target is removed. Throws a UserError when another
 * one does: both have seen it empty.
 */
export async function claimTarget(target: Target, host: Host, {owner}: Claim): Promise<void> {
  const {dataDirectory, configDirectory, all, found} = target;
  await host.makeDirectory(configDirectory);
  const made = [...all.filter((one) => one !== configDirectory), configDirectory];
  const occupation = {owner, made: made.filter((one) => !found.includes(one)), filled: found};
  try {
    await occupy(occupationOf(configDirectory), occupation, host);
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      `Another step restores into ${dataDirectory}: ${configDirectory} is in use.`,
      'Give each restore a data-directory of its own.',
      {cause},
    );
  }
}

/**
 * Makes the directories that are absent, and records them as made by this run, so that the next one can remove them
 * should this one be killed. Those that were there stay the user's. Nothing is left when it throws.
 */
export async function markTarget(target: Target, host: Host, claim: Claim): Promise<HeldMark> {
  const {dataDirectory, configDirectory, found} = target;
  const mark = await claim.mark(dataDirectory).catch(async (error: unknown) => {
    // What else is there is another run's.
    if (!found.includes(configDirectory)) await host.remove(configDirectory);
    throw error;
  });
  try {
    for (const path of target.all.filter((one) => !found.includes(one))) {
      await host.makeDirectory(path);
      await mark.note([path]);
    }
    return mark;
  } catch (error) {
    await removeTarget(target, host);
    await mark.release();
    throw error;
  }
}

/** Removes the directory of tablespaces that was made and is not needed. */
export async function tidyTarget(target: Target, host: Host): Promise<void> {
  await removeEmpty(target, target.tablespacesDirectory, host);
}

async function removeEmpty({found}: Target, path: string, host: Host): Promise<void> {
  if (!found.includes(path) && (await host.look(path)) === 'empty-directory') await host.remove(path);
}

/** Removes what a failed restore wrote. What cannot be removed is a warning, so that the failure itself is told. */
export async function removeTarget(target: Target, host: Host): Promise<void> {
  // The claim last: whoever has it next may write to the others.
  const {configDirectory} = target;
  for (const path of [...target.all.filter((one) => one !== configDirectory), configDirectory]) {
    try {
      if (!target.found.includes(path)) await host.remove(path);
      else await host.remove(...(await host.list(path)).map((name) => `${path}/${name}`));
    } catch (error) {
      warning(`${path} could not be removed: ${messageOf(error)}`);
    }
  }
}

/**
 * Bytes that unpacked backups take: each member of a chain apart, and at the same time what they become, which has no
 * more than all of them.
 */
export function unpackedBytes(chain: readonly {readonly dataSizeBytes: number}[]): number {
  const bytes = chain.reduce((sum, {dataSizeBytes}) => sum + dataSizeBytes, 0);
  return chain.length > 1 ? 2 * bytes : bytes;
}

/** Refuses a target whose disk cannot take the unpacked backup. `neededBytes` is undefined where nobody knows. */
export async function checkSpace(target: Target, host: Host, neededBytes: number | undefined): Promise<void> {
  if (neededBytes === undefined) return;
  const freeBytes = await host.freeBytes(target.dataDirectory);
  if (freeBytes >= neededBytes) return;
  throw new UserError(
    `The unpacked backup needs ${megabytes(neededBytes)}, but ${target.dataDirectory} has ${megabytes(freeBytes)} free on ${host.name}.`,
    'Free space in an earlier step, set data-directory to a larger disk, or use a larger runner.',
  );
}

/** Refuses a temporary folder whose disk cannot take what lies there of a backup while it is read. */
export async function checkFetchSpace(directory: string, runner: Host, neededBytes: number): Promise<void> {
  if (neededBytes === 0) return;
  const freeBytes = await runner.freeBytes(directory);
  if (freeBytes >= neededBytes) return;
  throw new UserError(
    `The files of the backup need ${megabytes(neededBytes)} while they are read, but ${directory}, where they arrive, has ${megabytes(freeBytes)} free.`,
    'Free space in an earlier step, or use a larger runner.',
  );
}

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
