import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import type {Readable, Writable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {StringDecoder} from 'node:string_decoder';
import {CancelledError, UserError} from '../errors.js';
import {type Command, CommandError, type Output, type RunOptions} from './host.js';
import {ownerVariable} from './owner.js';

/** A process that was started. */
export type Process = ChildProcess;

/** An operating-system account that programs run as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Messages in English, so that they can be recognised. */
export const english = {LC_ALL: 'C', LC_MESSAGES: 'C'};

/** How a process is started and ended. */
export interface Launch {
  /** Aborted: the process is ended, and `runProcess` throws the signal's reason. */
  readonly signal: AbortSignal;
  /** Set when the process runs as another account than ours. */
  readonly account?: Account;
  /** Ends the process with all its children; called on cancellation, and when its input or output breaks. */
  end(child: ChildProcess): void;
  /** Shown the lines of standard error until it takes one, which is then no part of the output. */
  readonly takeErrorLine?: (line: string) => boolean;
}

/**
 * Runs a program in a process group of its own to its end. Processes are started here and not through
 * @actions/exec, which can neither signal a process group nor feed a stream to a program.
 * Throws a CommandError when its status is not 0, and a UserError when it is not there.
 */
export async function runProcess(command: Command, options: RunOptions, launch: Launch): Promise<Output> {
  const {account} = launch;
  const signal = options.signal ? AbortSignal.any([launch.signal, options.signal]) : launch.signal;
  const cancelled = () => !options.cleanup && signal.aborted;
  if (cancelled() || (options.tellsCancellation && signal.aborted)) throw cancellation(signal);
  const child = spawn(command.program, command.args, {
    env: environment(command, options, account),
    stdio: 'pipe',
    detached: !options.startsNoOthers,
    ...(account && {uid: account.uid, gid: account.gid, cwd: '/'}),
  });
  if (child.pid !== undefined) options.onStart?.(child.pid);
  const ended = once(child, 'close');
  const succeeded = once(child, 'exit').then(
    ([status]) => status === 0,
    () => false,
  );
  const end = () => endProcess(child, options, launch);
  if (!options.cleanup || options.tellsCancellation) signal.addEventListener('abort', end, {once: true});
  // A receiver forked by pg_basebackup outlives it and keeps our pipes open: end what is left of the group.
  child.once('exit', (status) => status !== 0 && endGroup(child.pid));
  try {
    const [stdout, stderr] = await Promise.all([
      options.stdout ? pipeline(child.stdout, options.stdout).then(() => '') : collect(child.stdout),
      tail(child.stderr, options.onErrorLine, launch.takeErrorLine),
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

function endProcess(child: ChildProcess, options: RunOptions, launch: Launch): void {
  if (options.tellsCancellation || options.startsNoOthers) child.kill('SIGTERM');
  else launch.end(child);
}

/** What is thrown for a signal that was aborted: its reason. */
export function cancellation(signal: AbortSignal): Error {
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
export function endGroup(pid: number | undefined): void {
  if (pid === undefined || !signalGroup(pid, 'SIGTERM')) return;
  // One that is paused would get the first only with the second.
  signalGroup(pid, 'SIGCONT');
  setTimeout(() => signalGroup(pid, 'SIGKILL'), 2000).unref();
}

function signalGroup(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, name);
  } catch (error) {
    // It has ended, or became root by sudo, and only root can end it.
    if (['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/**
 * Messages in English, so that they can be recognised; nothing of libpq's variables, which could lead a program
 * to another server than the one meant (commands name theirs); none of our secrets. What is run to its end although
 * the run is cancelled is none of those that may be ended when it was killed.
 */
function environment(
  command: Command,
  {cleanup = false}: RunOptions,
  account: Account | undefined,
): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !/^(PG|INPUT_|ACTIONS_|LC_|LANGUAGE$|STATE_)|TOKEN$/.test(name) &&
      !(account && name === 'HOME') &&
      !(cleanup && name === ownerVariable),
  );
  return {...Object.fromEntries(kept), ...english, ...command.env};
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
async function feed(from: RunOptions['stdin'], to: Writable, succeeded: Promise<boolean>): Promise<void> {
  to.on('error', () => undefined);
  for await (const chunk of typeof from === 'string' ? [from] : (from ?? [])) {
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

async function tail(
  stream: Readable,
  onLine: (line: string) => void = () => undefined,
  takeLine?: (line: string) => boolean,
): Promise<string> {
  const decoder = new StringDecoder('utf8');
  let [kept, line] = ['', ''];
  let isTaken = takeLine === undefined;
  for await (const chunk of stream) {
    const text = decoder.write(chunk);
    kept = (kept + text).slice(-64 * 1024);
    const lines = (line + text).split(/\r\n|\r|\n/);
    line = lines.pop() ?? '';
    for (const complete of lines) {
      if (!isTaken && takeLine?.(complete)) {
        isTaken = true;
        kept = kept.replace(`${complete}\n`, '');
      } else onLine(complete);
    }
  }
  if (line !== '') onLine(line);
  return kept;
}
