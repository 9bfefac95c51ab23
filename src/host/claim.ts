import {chmod, link, mkdtemp, rename, rm, stat, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {UserError} from '../errors.js';
import {explainDisk} from './disk-failure.js';
import {type Owner, ownerVariable, thisOwner} from './owner.js';

/** A directory that a run made. A later one of the same path has another inode, or another time of birth. */
export interface Made {
  readonly path: string;
  readonly device: string;
  readonly inode: string;
  /** Nanoseconds since 1970. */
  readonly bornAt: string;
}

/** What is in the file beside what a run makes: who makes it, and which directories there are. */
export interface Mark {
  readonly owner: Owner;
  /** Groups; those of a group belong to its first. */
  readonly made: readonly (readonly Made[])[];
}

/** What is in the file of a run's scratch directory: who it is, and where its other marks are. */
export interface Root {
  readonly owner: Owner;
  readonly marks: readonly string[];
}

/** A mark that this run holds. */
export interface HeldMark {
  /** Records directories that this run has made itself, the one first to which the others belong. */
  note(paths: readonly string[]): Promise<void>;
  /** Gives up the mark: what was noted is whole, or removed. */
  release(): Promise<void>;
}

/**
 * What a run writes, recorded while it writes, so that the next one can remove it should this one be killed
 * (`leftovers.ts`).
 */
export interface Claim {
  /** This run. */
  readonly owner: Owner;
  /** For files that outlive no step; passable by every account, readable by ours alone. */
  readonly directory: string;
  /** Marks a path as being made by this run. Throws a UserError where another run's mark is. */
  mark(path: string): Promise<HeldMark>;
  /** Removes the scratch directory, and with it the record. */
  close(): Promise<void>;
}

/** The beginning of the names of scratch directories below the runner's temporary folder. */
export const scratchPrefix = 'pg-basebackup-action-';

/** The file of a scratch directory that tells whose it is. */
export const rootName = 'owner.json';

/** Where the mark of a path is: beside it, because pg_basebackup takes no directory that holds anything. */
export const markOf = (path: string) => `${path}.owner`;

/** Begins the record of this run, in a scratch directory of its own. `run` is for people. */
export async function openClaim(temporaryDirectory: string, run: string): Promise<Claim> {
  const owner = await thisOwner(run);
  const directory = await mkdtemp(join(temporaryDirectory, scratchPrefix));
  const marks = new Set<string>();
  const saveRoot = () => replace(join(directory, rootName), {owner, marks: [...marks]} satisfies Root);
  try {
    await saveRoot();
    // PostgreSQL's account reads files of its own in it.
    await chmod(directory, 0o711);
  } catch (error) {
    await rm(directory, {recursive: true, force: true});
    throw explainDisk(error, directory);
  }
  process.env[ownerVariable] = owner.id;
  return {
    owner,
    directory,
    async mark(path) {
      // Known before it is there, so that a killed run leaves none that nobody finds.
      marks.add(markOf(path));
      await saveRoot();
      return holdMark(path, owner);
    },
    close: () => rm(directory, {recursive: true, force: true, maxRetries: 3}),
  };
}

async function holdMark(path: string, owner: Owner): Promise<HeldMark> {
  const file = markOf(path);
  let made: readonly (readonly Made[])[] = [];
  await create(file, {owner, made}, path);
  return {
    async note(paths) {
      made = [...made, await Promise.all(paths.map(identify))];
      await replace(file, {owner, made} satisfies Mark);
    },
    release: () => rm(file, {force: true}),
  };
}

/** What a directory is told by, besides its path. */
export async function identify(path: string): Promise<Made> {
  const {dev, ino, birthtimeNs} = await stat(path, {bigint: true});
  return {path, device: String(dev), inode: String(ino), bornAt: String(birthtimeNs)};
}

/** Where a file is on its way to its name: whole or not at all. */
export const draftOf = (file: string, {id}: Pick<Owner, 'id'>) => `${file}.${id}`;

async function replace(file: string, content: Mark | Root): Promise<void> {
  const draft = draftOf(file, content.owner);
  try {
    await writeFile(draft, JSON.stringify(content), {mode: 0o600});
    await rename(draft, file);
  } catch (error) {
    await rm(draft, {force: true});
    throw explainDisk(error, file);
  }
}

async function create(file: string, content: Mark, path: string): Promise<void> {
  const draft = draftOf(file, content.owner);
  try {
    await writeFile(draft, JSON.stringify(content), {mode: 0o600});
    await link(draft, file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw explainDisk(cause, file);
    throw new UserError(
      `${path} is being made by another run, which its mark ${file} tells.`,
      `Wait for its end, or choose another name. Put the time into backup-name (basebackup-%Y%m%d-%H%M%S), or give each restore a data-directory of its own. If there is no such run any more: rm -r '${path}' '${file}'`,
      {cause},
    );
  } finally {
    await rm(draft, {force: true});
  }
}
