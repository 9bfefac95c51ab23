import {spawn} from 'node:child_process';
import {once} from 'node:events';
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
import type {Readable, Writable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {StringDecoder} from 'node:string_decoder';
import {CancelledError, UserError} from '../errors.js';
import {makeDirectories} from './directories.js';
import {type Command, CommandError, type Host, type Output, type RunOptions} from './host.js';

/** An operating-system account that programs run as. */
interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The runner itself, programs running as the account that the runner uses. Processes are started here and not
 * through @actions/exec, which can neither signal a process group nor feed a stream to a program.
 * Aborting `signal` ends every program that runs, with all its children.
 */
export function runner(signal: AbortSignal): Host {
  const {username, uid, gid} = userInfo();
  return localHost(signal, {name: username, uid, gid});
}

/**
 * The runner as a place for a server: PostgreSQL refuses to run as root, so that a runner that is root uses the
 * account `postgres`, which PostgreSQL's packages create. Throws a UserError where there is none.
 */
export async function serverRunner(signal: AbortSignal): Promise<Host> {
  const asRunner = runner(signal);
  if (userInfo().uid !== 0) return asRunner;
  const id = async (option: string) =>
    Number((await asRunner.run({program: 'id', args: [option, 'postgres']})).stdout);
  try {
    return localHost(signal, {name: 'postgres', uid: await id('--user'), gid: await id('--group')});
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      'The runner is root, PostgreSQL refuses to run as root, and there is no account named postgres.',
      'Install PostgreSQL (sudo apt-get install postgresql), or: useradd --system postgres',
      {cause},
    );
  }
}

function localHost(signal: AbortSignal, account: Account): Host {
  const own = userInfo().uid === account.uid ? undefined : account;
  const give = async (path: string) => {
    if (own) await chown(path, own.uid, own.gid);
  };
  return {
    name: 'the runner',
    user: account.name,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    run: (command, options = {}) => run(command, options, {signal, account: own}),
    findOnPath,
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
    async makeTemporaryDirectory() {
      const path = await mkdtemp('/tmp/pg-');
      await give(path);
      return path;
    },
    readText: (path) => readFile(path, 'utf8').catch(absent),
    async writeText(path, text, {executable = false} = {}) {
      await writeFile(path, text, {mode: 0o600});
      if (executable) await chmod(path, 0o700);
      await give(path);
    },
    remove: (path) => rm(path, {recursive: true, force: true, maxRetries: 3}),
    freeBytes,
  };
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

interface Surroundings {
  readonly signal: AbortSignal;
  /** Set when programs run as another account than ours. */
  readonly account: Account | undefined;
}

async function run(command: Command, options: RunOptions, {signal, account}: Surroundings): Promise<Output> {
  const cancelled = () => !options.cleanup && signal.aborted;
  if (cancelled()) throw cancellation(signal);
  const child = spawn(command.program, command.args, {
    env: environment(command, account),
    stdio: 'pipe',
    detached: true,
    ...(account && {uid: account.uid, gid: account.gid, cwd: '/'}),
  });
  const ended = once(child, 'close');
  const succeeded = once(child, 'exit').then(
    ([status]) => status === 0,
    () => false,
  );
  const end = () => endGroup(child.pid);
  if (!options.cleanup) signal.addEventListener('abort', end, {once: true});
  // A receiver forked by pg_basebackup outlives it and keeps our pipes open: end the group with its leader.
  child.once('exit', (status) => status !== 0 && end());
  try {
    const [stdout, stderr] = await Promise.all([
      options.stdout ? pipeline(child.stdout, options.stdout).then(() => '') : collect(child.stdout),
      tail(child.stderr, options.onErrorLine),
      feed(options.stdin, child.stdin, succeeded),
      ended,
    ]);
    const status = child.exitCode ?? child.signalCode ?? 'an unknown cause';
    if (cancelled()) throw cancellation(signal);
    if (status !== 0) throw new CommandError(command.program, status, stderr);
    return {stdout, stderr};
  } catch (thrown) {
    end();
    // Nothing may still write when the caller cleans up.
    await ended.catch(() => undefined);
    throw cancelled() ? cancellation(signal) : startFailure(command.program, thrown);
  } finally {
    signal.removeEventListener('abort', end);
  }
}

function cancellation(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new CancelledError(String(signal.reason));
}

function startFailure(program: string, thrown: unknown): unknown {
  const isSpawn =
    thrown instanceof Error && 'syscall' in thrown && String(thrown.syscall).startsWith('spawn');
  if (!isSpawn) return thrown;
  return new UserError(`${program} could not be started on the runner.`, `Install ${program}.`, {
    cause: thrown,
  });
}

/** SIGTERM to the whole process group, SIGKILL two seconds later to what is left of it. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined || !signalGroup(pid, 'SIGTERM')) return;
  setTimeout(() => signalGroup(pid, 'SIGKILL'), 2000).unref();
}

function signalGroup(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Messages in English, so that they can be recognised; nothing of libpq's variables, which could lead a program
 * to another server than the one meant (commands name theirs); none of our secrets.
 */
function environment(command: Command, account: Account | undefined): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !/^(PG|INPUT_|ACTIONS_|LC_|LANGUAGE$|STATE_)|TOKEN$/.test(name) && !(account && name === 'HOME'),
  );
  return {...Object.fromEntries(kept), LC_ALL: 'C', LC_MESSAGES: 'C', ...command.env};
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * A program that stops reading its input says why by its status, so that EPIPE is no error of its own. One that
 * succeeded without the last bytes (tar ends at its end mark) still has the source read to its end, where a digest
 * is compared.
 */
async function feed(from: Readable | undefined, to: Writable, succeeded: Promise<boolean>): Promise<void> {
  to.on('error', () => undefined);
  for await (const chunk of from ?? []) {
    if (to.destroyed) {
      if (!(await succeeded)) return;
    } else if (!to.write(chunk)) {
      await drainedOrClosed(to);
    }
  }
  to.end();
}

/** Not a race with one long-lived promise, which would keep a reaction for every wait. */
function drainedOrClosed(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      stream.off('drain', go).off('close', go);
      resolve();
    };
    stream.once('drain', go).once('close', go);
  });
}

async function tail(stream: Readable, onLine: (line: string) => void = () => undefined): Promise<string> {
  const decoder = new StringDecoder('utf8');
  let kept = '';
  let line = '';
  for await (const chunk of stream) {
    const text = decoder.write(chunk);
    kept = (kept + text).slice(-64 * 1024);
    const lines = (line + text).split(/\r\n|\r|\n/);
    line = lines.pop() ?? '';
    for (const complete of lines) onLine(complete);
  }
  if (line !== '') onLine(line);
  return kept;
}
