import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, relative} from 'node:path';
import {onTestFinished} from 'vitest';
import {waitUntil} from './command.js';
import {processesOf} from './processes.js';

/** The directories of one job on a runner. */
export interface Workspace {
  /** Holds all the others. */
  readonly root: string;
  /** GITHUB_WORKSPACE. */
  readonly directory: string;
  /** RUNNER_TEMP. */
  readonly temp: string;
  /** Where the runner keeps GITHUB_OUTPUT and the like. */
  readonly fileCommands: string;
  /** Ends every process that belongs to the workspace, and removes all of it. */
  remove(): Promise<void>;
}

/** Makes a workspace that is removed after the test that asks for it. */
export function workspace(): Workspace {
  const made = makeWorkspace();
  onTestFinished(() => made.remove());
  return made;
}

/** Makes a workspace for more than one test; the caller removes it. */
export function makeWorkspace(): Workspace {
  const root = mkdtempSync(join(tmpdir(), 'action-'));
  const names = {
    directory: join(root, 'work'),
    temp: join(root, 'temp'),
    fileCommands: join(root, 'commands'),
  };
  for (const path of Object.values(names)) mkdirSync(path);
  // The restored server runs as postgres when the tests run as root, and must reach RUNNER_TEMP.
  for (const path of [root, ...Object.values(names)]) chmodSync(path, 0o755);
  return {root, ...names, remove: () => removeWorkspace(root)};
}

/** A workspace of its own for one test, with what is in another one's directory. */
export function copyOf(from: Workspace): Workspace {
  const home = workspace();
  // Not cpSync, which changes the modes of directories.
  execFileSync('cp', ['--archive', `${from.directory}/.`, home.directory]);
  return home;
}

async function removeWorkspace(root: string): Promise<void> {
  const left = () => processesOf(root);
  for (const {pid} of left()) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  await waitUntil(() => left().length === 0, {seconds: 10, what: `the processes of ${root} to end`});
  rmSync(root, {recursive: true, force: true});
}

/** Every path below a directory, relative to it and sorted; empty when the directory is absent. */
export function listAll(directory: string): readonly string[] {
  return walk(directory)
    .map((path) => relative(directory, path))
    .sort();
}

/** Path, size, inode and time of change of everything below a directory: equal only when nothing was touched. */
export function fingerprint(directory: string): readonly string[] {
  return walk(directory)
    .map((path) => {
      const {size, ino, mtimeMs, ctimeMs} = lstatSync(path);
      return `${relative(directory, path)} ${size} ${ino} ${mtimeMs} ${ctimeMs}`;
    })
    .sort();
}

/** Paths of the regular files below a directory. */
export function filesBelow(directory: string): readonly string[] {
  return walk(directory).filter((path) => lstatSync(path).isFile());
}

/** Turns over every bit of one byte of a file. */
export function flipByte(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 0xff, offset);
  writeFileSync(path, bytes);
}

function walk(directory: string): readonly string[] {
  try {
    return readdirSync(directory, {withFileTypes: true, recursive: true}).map((entry) =>
      join(entry.parentPath, entry.name),
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
