import {
  type Container,
  kill,
  mark,
  requireRunning,
  telling,
  tellingScript,
  type Watch,
  watchForLoss,
} from './container-program.js';
import type {ContainerShell} from './container-shell.js';
import {type Command, CommandError, type Output, type RunOptions} from './host.js';
import {ownerOf, ownerVariable} from './owner.js';
import {cancellation, english, type Process, runProcess} from './process.js';

/** How a program runs in a container. */
export interface ExecOptions extends RunOptions {
  /** As root, and not as PostgreSQL's account. */
  readonly asRoot?: boolean;
}

/**
 * Runs a program in a container, in the shell that stays there or by a `docker exec` of its own. Throws a CommandError,
 * and a UserError when the container ended.
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
  options: ExecOptions & Execution,
): Promise<Output | undefined> {
  if (!isForShell(options)) return undefined;
  const {stdin, asRoot = false, cleanup = false, onErrorLine, takeErrorLine, watch, pid} = options;
  const signals = cleanup ? [] : [container.signal, ...(options.signal ? [options.signal] : [])];
  const signal = AbortSignal.any([watch.signal, ...signals]);
  if (signal.aborted) throw cancellation(signal);
  const shell = container.shells.get(asRoot);
  const ending = endInShell(container, shell, {program: command.program, signal, watch, pid});
  try {
    const env = {...(!cleanup && ownerOf(process.env)), ...command.env};
    const reply = await shell.run({
      command: {...telling(command), env},
      ...(stdin !== undefined && {stdin}),
      isLong: !cleanup,
      takeErrorLine: (line) => {
        const isTaken = takeErrorLine(line);
        if (isTaken) ending.begun();
        return isTaken;
      },
      ...(onErrorLine && {onErrorLine}),
    });
    if (signal.aborted) throw cancellation(signal);
    if (reply === undefined || (reply.status === undefined && pid() === undefined)) return undefined;
    if (reply.status === 0) return reply;
    throw new CommandError(command.program, reply.status ?? 137, reply.stderr);
  } finally {
    ending.stop();
  }
}

/** Whether the shell can do it: what streams, or is signalled from outside, needs a `docker exec` of its own. */
function isForShell(
  options: ExecOptions & Execution,
): options is ExecOptions & Execution & {readonly stdin?: string} {
  const {stdin, stdout, onStart, startsNoOthers, tellsCancellation} = options;
  if (stdout || onStart || startsNoOthers || tellsCancellation) return false;
  return stdin === undefined || (typeof stdin === 'string' && stdin.length <= smallInput);
}

/** Ends a program of the shell when the signal is aborted; the shell itself, too, when that does not help. */
function endInShell(
  container: Container,
  shell: ContainerShell,
  {program, signal, watch, pid}: Pick<Execution, 'watch' | 'pid'> & {program: string; signal: AbortSignal},
): {begun(): void; stop(): void} {
  let timer: NodeJS.Timeout | undefined;
  const end = () => {
    if (watch.signal.aborted) return shell.abandon();
    kill(container, program, pid());
    timer ??= setTimeout(() => shell.abandon(), 4000);
  };
  signal.addEventListener('abort', end, {once: true});
  return {
    begun: () => signal.aborted && end(),
    stop() {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
    },
  };
}

/** Most characters of an input that goes through the shell's own, which some shells read one by one. */
const smallInput = 256 * 1024;

/** By a `docker exec` of its own. */
async function execAlone(
  container: Container,
  command: Command,
  {stdin, asRoot = false, watch, pid, takeErrorLine, ...rest}: ExecOptions & Execution,
): Promise<Output> {
  const hasInput = stdin !== undefined;
  const args = execArgs(container, command, {script: tellingScript, asRoot, hasInput});
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
