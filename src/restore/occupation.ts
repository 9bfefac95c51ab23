import {messageOf} from '../errors.js';
import type {Host} from '../host/host.js';
import {endOrphans} from '../host/leftovers.js';
import {exchangeOf, type Owner, orphansOf, stateOf} from '../host/owner.js';
import {info, warning} from '../log.js';

/** Who restores into a place, recorded in it while he does. A value for JSON. */
export interface Occupation {
  readonly owner: Owner;
  /** Directories that are his, and go as a whole; the one with the record last. */
  readonly made: readonly string[];
  /** Directories that were there, empty, before. */
  readonly filled: readonly string[];
}

/** The file in a directory that tells who restores. */
export const occupationOf = (directory: string) => `${directory}/claim`;

const limitBytes = 65_536;

/**
 * Records who restores into a place. Throws a CommandError when the record of another one is there, which `vacate`
 * empties and nobody removes: both may have seen the place empty.
 */
export async function occupy(file: string, occupation: Occupation, host: Host): Promise<void> {
  const draft = `${file}.${occupation.owner.id}`;
  await host.writeText(draft, JSON.stringify(occupation));
  try {
    // Whole or not at all. To the end also when the run is cancelled: only who knows that it is his may remove it.
    await host.run({program: 'ln', args: [draft, file]}, {cleanup: true});
  } finally {
    await host.remove(draft);
  }
}

/** What the restore made stays: from now on it is no killed run's. */
export async function vacate(file: string, host: Host): Promise<void> {
  await host.writeText(file, '');
}

/**
 * Ends the programs and removes the files of a restore that was killed, where only its host knows of them, and says so in
 * one line. Never throws: what is left is refused later.
 */
export async function removeAbandoned(file: string, host: Host): Promise<void> {
  if (!host.endOrphans) return;
  const occupation = await read(file, host);
  if (occupation === undefined) return;
  const {owner, made, filled} = occupation;
  try {
    const state = await stateOf(owner);
    if (state === 'unknown')
      info(
        `Left alone, because from here it cannot be seen whether ${owner.run} goes on: ${made.join(', ')}`,
      );
    if (state !== 'dead' || (await orphansOf(exchangeOf(owner))).length > 0) return;
    await endOrphans(owner);
    const ended = await host.endOrphans(owner);
    for (const path of filled) {
      await host.remove(...(await host.list(path)).map((name) => `${path}/${name}`));
    }
    for (const path of made) await host.remove(path);
    const programs = ended.length > 0 ? `ended ${ended.join(', ')}; ` : '';
    info(
      `Tidied up after ${owner.run}, which was killed: ${programs}removed ${made.join(', ')} on ${host.name}`,
    );
  } catch (error) {
    warning(`What ${owner.run} left on ${host.name} could not be removed: ${messageOf(error)}`);
  }
}

/** Undefined when it is absent, empty, or none of ours. */
async function read(file: string, host: Host): Promise<Occupation | undefined> {
  if ((await host.look(file)) !== 'file') return undefined;
  try {
    const content = JSON.parse((await host.readText(file, limitBytes)) ?? '') as Occupation | null;
    const isOurs = typeof content?.owner?.id === 'string' && Array.isArray(content.made);
    return isOurs ? content : undefined;
  } catch {
    return undefined;
  }
}
