import {dirname} from 'node:path';
import {messageOf, UserError} from '../errors.js';
import {CommandError, type Host} from '../host/host.js';
import {warning} from '../log.js';
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

/** The directories of a restore. Throws a UserError when one of them is not empty: nothing is overwritten. */
export async function chooseTarget(request: RestoreRequest, host: Host): Promise<Target> {
  const {dataDirectory, tablespaceMapping} = request;
  const [tablespacesDirectory, configDirectory] = [`${dataDirectory}_tablespaces`, `${dataDirectory}_config`];
  const all = [dataDirectory, tablespacesDirectory, configDirectory, ...tablespaceMapping.values()];
  refuseOverlap(all);
  const found: string[] = [];
  for (const path of all) {
    const kind = await host.look(path);
    if (kind === 'empty-directory') found.push(path);
    if (kind === 'absent' || kind === 'empty-directory') continue;
    throw new UserError(
      `${path} exists already and is not empty, and nothing is overwritten.`,
      'Set data-directory (or tablespace-mapping) to a path that is empty or absent, or remove it in an earlier step.',
    );
  }
  await requireReachable(all, host);
  return {dataDirectory, tablespacesDirectory, configDirectory, all, found};
}

/** PostgreSQL's account must be able to pass through every parent: the runner's own may be closed to it. */
async function requireReachable(paths: readonly string[], host: Host): Promise<void> {
  for (const path of new Set(paths.map((one) => dirname(one)))) {
    let parent = path;
    while ((await host.look(parent)) === 'absent') parent = dirname(parent);
    try {
      await host.run({program: 'test', args: ['-x', parent]});
    } catch (cause) {
      if (!(cause instanceof CommandError)) throw cause;
      throw new UserError(
        `${host.user}, the account that PostgreSQL runs as, cannot enter ${parent}.`,
        `Set data-directory to a path that it can reach, or: chmod o+x '${parent}' (and its parents)`,
        {cause},
      );
    }
  }
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

/** Removes what a failed restore wrote. What cannot be removed is a warning, so that the failure itself is told. */
export async function removeTarget(target: Target, host: Host): Promise<void> {
  for (const path of target.all) {
    try {
      if (!target.found.includes(path)) await host.remove(path);
      else for (const name of await host.list(path)) await host.remove(`${path}/${name}`);
    } catch (error) {
      warning(`${path} could not be removed: ${messageOf(error)}`);
    }
  }
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

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
