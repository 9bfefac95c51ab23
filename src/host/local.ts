import {constants} from 'node:fs';
import {
  access,
  chmod,
  chown,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import {availableParallelism, totalmem, userInfo} from 'node:os';
import {delimiter, dirname, join} from 'node:path';
import {UserError} from '../errors.js';
import {makeDirectories} from './directories.js';
import {extraction} from './extraction.js';
import {type Command, CommandError, type Host, type RunOptions, shell, tooLong} from './host.js';
import {type Account, endGroup, runProcess} from './process.js';

/**
 * The runner itself, programs running as the account that the runner uses. Aborting `signal` ends every program
 * that runs, with all its children.
 */
export function runner(signal: AbortSignal, scratchDirectory: string): Host {
  const {username, uid, gid} = userInfo();
  return localHost({name: username, uid, gid}, {signal, scratchDirectory});
}

/**
 * The runner as a place for a server: PostgreSQL refuses to run as root, so that a runner that is root uses the
 * account `postgres`, which PostgreSQL's packages create. Throws a UserError where there is none.
 */
export async function serverRunner(signal: AbortSignal, scratchDirectory: string): Promise<Host> {
  const asRunner = runner(signal, scratchDirectory);
  if (userInfo().uid !== 0) return asRunner;
  try {
    const {stdout} = await asRunner.run(shell('id -u "$1" && id -g "$1"', ['postgres']));
    const [uid, gid] = stdout.split('\n').map(Number);
    if (uid === undefined || gid === undefined || Number.isNaN(uid + gid))
      throw new Error(`id tells of the account postgres: ${stdout}`);
    return localHost({name: 'postgres', uid, gid}, {signal, scratchDirectory});
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      'The runner is root, PostgreSQL refuses to run as root, and there is no account named postgres.',
      'Install PostgreSQL (sudo apt-get install postgresql), or: useradd --system postgres',
      {cause},
    );
  }
}

function localHost(
  account: Account,
  {signal, scratchDirectory}: {signal: AbortSignal; scratchDirectory: string},
): Host {
  const own = userInfo().uid === account.uid ? undefined : account;
  const give = async (path: string) => {
    if (own) await chown(path, own.uid, own.gid);
  };
  const run = (command: Command, options: RunOptions = {}) =>
    runProcess(command, options, {signal, ...(own && {account: own}), end: ({pid}) => endGroup(pid)});
  const host: Host = {
    name: 'the runner',
    user: account.name,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    scratchDirectory,
    network: {address: '127.0.0.1', clientAddress: '127.0.0.1', isReachable: true},
    adviseAsRoot: (command) => `sudo ${command}`,
    adviseInstall: (what, major) => {
      const byApt = `sudo apt-get install --yes postgresql-${what === 'client' ? 'client-' : ''}${major}`;
      const command = process.platform === 'darwin' ? `brew install postgresql@${major}` : byApt;
      return `Install it in an earlier step: ${command}`;
    },
    run,
    findOnPath,
    async extract(stream, directory, options = {}) {
      await run(extraction(directory, options), {stdin: stream});
    },
    async checkReadable(directory) {
      await run({program: 'ls', args: [directory]});
    },
    receive: async (directory) => directory,
    async openOutbox(path) {
      return {host, path, deliver: async () => undefined, close: async () => undefined};
    },
    look,
    list: async (directory) => (await readdir(directory).catch(absent))?.sort() ?? [],
    async makeDirectory(path) {
      const first = await makeDirectories(path);
      if (first === undefined) {
        await chmod(path, 0o700);
        return give(path);
      }
      for (let made = path; made.length >= first.length; made = dirname(made)) await give(made);
    },
    async makeTemporaryDirectory(parent) {
      const path = await mkdtemp(join(parent, 'pg-'));
      await give(path);
      return path;
    },
    readText,
    async writeText(path, text, {executable = false} = {}) {
      await writeFile(path, text, {mode: 0o600});
      if (executable) await chmod(path, 0o700);
      await give(path);
    },
    async remove(...paths) {
      for (const path of paths) await rm(path, {recursive: true, force: true, maxRetries: 3});
    },
    freeBytes,
  };
  return host;
}

/** Turns "no such file" into undefined and lets every other error through. */
function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
}

async function findOnPath(program: string): Promise<string | undefined> {
  for (const directory of (process.env.PATH ?? '').split(delimiter).filter(Boolean)) {
    const path = join(directory, program);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return realpath(path);
  }
  return undefined;
}

async function readText(path: string, limitBytes = Number.POSITIVE_INFINITY): Promise<string | undefined> {
  const found = await stat(path).catch(absent);
  if (found && found.size > limitBytes) throw tooLong(path, limitBytes);
  return readFile(path, 'utf8').catch(absent);
}

async function look(path: string): ReturnType<Host['look']> {
  const found = await stat(path).catch(absent);
  if (!found) return 'absent';
  if (found.isFile()) return 'file';
  if (!found.isDirectory()) return 'other';
  return (await readdir(path)).length === 0 ? 'empty-directory' : 'directory';
}

async function freeBytes(path: string): Promise<number> {
  const space = await statfs(path).catch(absent);
  return space ? space.bavail * space.bsize : freeBytes(dirname(path));
}
