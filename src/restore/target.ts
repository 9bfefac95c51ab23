import {UserError} from '../errors.js';
import type {Host} from '../host/host.js';
import type {RestoreRequest} from './request.js';

/** Where a restore writes. Nothing else is touched. */
export interface Target {
  readonly dataDirectory: string;
  /** Holds a directory for each tablespace that the user did not map. */
  readonly tablespacesDirectory: string;
  /** The generated configuration and the server's log. */
  readonly configDirectory: string;
  /** Everything that a restore makes, mapped tablespaces included. */
  readonly all: readonly string[];
}

/** The directories of a restore. Throws a UserError when one of them is not empty: nothing is overwritten. */
export async function chooseTarget(request: RestoreRequest, host: Host): Promise<Target> {
  const {dataDirectory, tablespaceMapping} = request;
  const [tablespacesDirectory, configDirectory] = [`${dataDirectory}_tablespaces`, `${dataDirectory}_config`];
  const all = [dataDirectory, tablespacesDirectory, configDirectory, ...tablespaceMapping.values()];
  for (const path of all) {
    const found = await host.look(path);
    if (found === 'absent' || found === 'empty-directory') continue;
    throw new UserError(
      `${path} exists already and is not empty, and nothing is overwritten.`,
      'Set data-directory (or tablespace-mapping) to a path that is empty or absent, or remove it in an earlier step.',
    );
  }
  return {dataDirectory, tablespacesDirectory, configDirectory, all};
}

/** Removes what a failed restore made. */
export async function removeTarget(target: Target, host: Host): Promise<void> {
  for (const path of target.all) await host.remove(path);
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
