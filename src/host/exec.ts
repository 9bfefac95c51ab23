import {CancelledError, UserError} from '../errors.js';
import type {ContainerShells} from './container-shell.js';
import type {Docker} from './docker.js';
import {type Command, CommandError, type Host, type Network, type Output, type RunOptions} from './host.js';
import {ownerOf, ownerVariable} from './owner.js';
import {english, type Process, runProcess} from './process.js';

/** A running container as a place for PostgreSQL's programs. */
export interface ContainerFacts {
  readonly id: string;
  readonly name: string;
  /** As the user named it: `postgres:17`. */
  readonly image: string;
  readonly imageId: string;
  /** The account that PostgreSQL runs as in it. */
  readonly user: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly network: Network;
  /** libpq's variables in the container's own environment, which could lead a program to another server. */
  readonly libpqVariables: readonly string[];
}

/** A container, and what reaches it. */
export interface Container {
  readonly facts: ContainerFacts;
  readonly docker: Docker;
  readonly runner: Host;
  readonly signal: AbortSignal;
  readonly shells: ContainerShells;
}

/** How a program runs in a container. */
export interface ExecOptions extends RunOptions {
  /** As root, and not as PostgreSQL's account. */
  readonly asRoot?: boolean;
}

/**
 * Runs a program in a container by `docker exec`. Throws a CommandError, and a UserError when the container ended.
 *
 * Its first process may be a postmaster, which takes every process that it inherits for a child of its own, and
 * one that ends with another status than 0 or 1 for a crash: it then ends all its sessions (postmaster.c,
 * CleanupBackend; PostgreSQL 13 to 18). So nothing that runs here may leave a child behind that dies badly: a program
 * with an input is ended by the end of that input, any other by SIGKILL to itself alone, whose death nobody in the
 * container sees.
 */
export async function exec(
  container: Container,
  command: Command,
  options: ExecOptions = {},
): Promise<Output> {
  let pid: string | undefined;
  const watch = watchForLoss(container, command.program, () => pid);
  const execution = {
    watch,
    pid: () => pid,
    takeErrorLine: (line: string) => {
      const isMark = line.startsWith(mark);
      if (isMark) pid = line.slice(mark.length);
      return isMark;
    },
  };
  try {
    return (
      (await execInShell(container, command, {...options, ...execution})) ??
      (await execAlone(container, command, {...options, ...execution}))
    );
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (pid === undefined || error.status === 137) await requireRunning(container, error);
    throw new CommandError(command.program, error.status, error.stderr);
  } finally {
    watch.stop();
  }
}

/** What an execution is watched and ended by. */
interface Execution {
  readonly watch: Watch;
  /** Its process number in the container, once it is told. */
  readonly pid: () => string | undefined;
  readonly takeErrorLine: (line: string) => boolean;
}

/** In the shell that stays there. Undefined, and nothing was started, where that cannot do it. */
async function execInShell(
  container: Container,
  command: Command,
  {stdin, asRoot = false, cleanup = false, onErrorLine, ...more}: ExecOptions & Execution,
): Promise<Output | undefined> {
  const {stdout, onStart, startsNoOthers, tellsCancellation, takeErrorLine, watch, pid} = more;
  if (stdout || onStart || startsNoOthers || tellsCancellation) return undefined;
  if (stdin !== undefined && (typeof stdin !== 'string' || stdin.length > smallInput)) return undefined;
  const signals = cleanup ? [] : [container.signal, ...(more.signal ? [more.signal] : [])];
  const signal = AbortSignal.any([watch.signal, ...signals]);
  if (signal.aborted) throw reasonOf(signal);
  const shell = container.shells.get(asRoot);
  let timer: NodeJS.Timeout | undefined;
  const end = () => {
    if (watch.signal.aborted) return shell.abandon();
    kill(container, command.program, pid());
    timer ??= setTimeout(() => shell.abandon(), 4000);
  };
  signal.addEventListener('abort', end, {once: true});
  try {
    const program = {program: 'sh', args: ['-c', scripts.exec, 'sh', command.program, ...command.args]};
    const env = {...(!cleanup && ownerOf(process.env)), ...command.env};
    const reply = await shell.run({
      command: {...program, env},
      ...(stdin !== undefined && {stdin}),
      isLong: !cleanup,
      takeErrorLine: (line) => {
        const isTaken = takeErrorLine(line);
        if (isTaken && signal.aborted) end();
        return isTaken;
      },
      ...(onErrorLine && {onErrorLine}),
    });
    if (signal.aborted) throw reasonOf(signal);
    if (reply === undefined || (reply.status === undefined && pid() === undefined)) return undefined;
    if (reply.status === 0) return reply;
    throw new CommandError(command.program, reply.status ?? 137, reply.stderr);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  }
}

/** Most characters of an input that goes through the shell's own. */
const smallInput = 1024 * 1024;

const reasonOf = ({reason}: AbortSignal): Error =>
  reason instanceof Error ? reason : new CancelledError(String(reason));

/** By a `docker exec` of its own. */
async function execAlone(
  container: Container,
  command: Command,
  {stdin, asRoot = false, watch, pid, takeErrorLine, ...rest}: ExecOptions & Execution,
): Promise<Output> {
  const hasInput = stdin !== undefined;
  const args = execArgs(container, command, {script: scripts.exec, asRoot, hasInput});
  return runProcess(
    {program: 'docker', args, env: {...english, ...command.env}},
    {...rest, ...(hasInput && {stdin})},
    {
      signal: rest.cleanup ? watch.signal : AbortSignal.any([container.signal, watch.signal]),
      takeErrorLine,
      end: (child) => endExec(container, child, {program: command.program, hasInput, pid}),
    },
  );
}

/** The engine lost sight of a program: what it did is not known. */
export class LostProgramError extends UserError {}

const watchSeconds = 20;

interface Watch {
  readonly signal: AbortSignal;
  stop(): void;
}

/**
 * Engines have been seen to miss the end of a program in a container, and `docker exec` then waits for ever. Looks
 * now and then whether the program is still there; the signal is aborted when it is not, twice in a row.
 */
function watchForLoss({docker, facts}: Container, program: string, pid: () => string | undefined): Watch {
  const lost = new AbortController();
  let missed = 0;
  const look = async () => {
    const number = pid();
    if (number === undefined) return;
    const args = ['exec', '--user=0', facts.id, 'sh', '-c', '[ -e "/proc/$1" ]', 'sh', number];
    const isGone = await docker.run(args, {cleanup: true}).then(
      () => false,
      (error: unknown) => error instanceof CommandError && error.status === 1 && error.stderr === '',
    );
    missed = isGone ? missed + 1 : 0;
    if (missed < 2) return;
    const name = program.split('/').at(-1);
    const what = `The Docker engine does not tell how ${name} ended in container ${facts.name}.`;
    lost.abort(new LostProgramError(what, 'Run the step again; if it stays so, update the Docker engine.'));
  };
  const timer = setInterval(look, watchSeconds * 1000);
  return {signal: lost.signal, stop: () => clearInterval(timer)};
}

/** How `docker exec` runs a program. */
export interface Form {
  readonly script: string;
  readonly asRoot: boolean;
  readonly hasInput: boolean;
}

/**
 * The arguments of `docker` that run a program by a script. Variables are named and not given, so that no secret is
 * among them.
 */
export function execArgs(
  {facts}: Container,
  {program, args, env = {}}: Command,
  {script, asRoot, hasInput}: Form,
): readonly string[] {
  const names = [...Object.keys(english), ownerVariable, ...Object.keys(env)];
  const unset = facts.libpqVariables.filter((name) => !(name in env)).flatMap((name) => ['-u', name]);
  return [
    'exec',
    ...(hasInput ? ['--interactive'] : []),
    `--user=${asRoot ? '0' : facts.user}`,
    ...names.flatMap((name) => ['--env', name]),
    facts.id,
    'sh',
    '-c',
    script,
    'sh',
    ...(unset.length > 0 ? ['env', ...unset] : []),
    program,
    ...args,
  ];
}

/** Killing the docker client would leave the program in the container alive. */
function endExec(
  container: Container,
  child: Process,
  {program, hasInput, pid}: {program: string; hasInput: boolean; pid: () => string | undefined},
): void {
  const killNow = () => {
    if (child.exitCode === null && child.signalCode === null) kill(container, program, pid());
  };
  child.stdin?.destroy();
  // What loses its input ends by itself, and with it its children.
  if (hasInput) setTimeout(killNow, 2000).unref();
  else killNow();
  setTimeout(() => child.kill('SIGKILL'), 4000).unref();
}

function kill({docker, facts}: Container, program: string, pid: string | undefined): void {
  if (pid === undefined) return;
  const args = ['exec', '--user=0', facts.id, 'sh', '-c', scripts.kill, 'sh', pid, program];
  docker.run(args, {cleanup: true}).catch(() => undefined);
}

/** Throws why a program could not be run when the container itself is the reason. */
async function requireRunning({docker, facts}: Container, cause: CommandError): Promise<void> {
  const {State: state} = await docker.inspect(facts.id);
  if (state.Running) return;
  throw new UserError(
    `Container ${facts.name} ended${state.OOMKilled ? ', because it ran out of memory' : ''} (exit code ${state.ExitCode}).`,
    `What it wrote last: docker logs --tail 50 ${facts.name}`,
    {cause},
  );
}

/** Tells the line with the process number from what docker itself may print. */
export const mark = 'pg-basebackup-action process ';

/** Constant scripts: programs and paths reach them as arguments and are never parsed. */
const scripts = {
  // The process number comes first, so that the program can be ended from outside.
  exec: `echo "${mark}$$" >&2; exec "$@"`,
  // Its number may be another process's by now, and that one a session of the service.
  kill: `name=$(tr '\\000' '\\n' < "/proc/$1/cmdline" | head -n 1)
case $name in "$2"|sh|*/sh|env) kill -9 "$1" ;; esac`,
} as const;

/** A constant script for the container's `sh`, and its arguments. */
export function shell(script: string, args: readonly string[]): Command {
  return {program: 'sh', args: ['-c', script, 'sh', ...args]};
}
