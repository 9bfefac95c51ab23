import {PassThrough} from 'node:stream';
import {setTimeout as sleep} from 'node:timers/promises';
import {UserError} from '../errors.js';
import type {Docker} from './docker.js';
import {
  type Command,
  CommandError,
  type Host,
  type Launching,
  type Network,
  type Output,
  type RunOptions,
} from './host.js';
import {ownerVariable} from './owner.js';
import {type Process, runProcess} from './process.js';

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
}

/** How a program runs in a container. */
export interface ExecOptions extends Omit<RunOptions, 'stdin'> {
  readonly stdin?: RunOptions['stdin'] | string;
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
  {stdin, asRoot = false, ...options}: ExecOptions = {},
): Promise<Output> {
  let pid: string | undefined;
  const {cleanup = false, ...rest} = options;
  const watch = watchForLoss(container, command.program, () => pid);
  const input = typeof stdin === 'string' ? new PassThrough().end(stdin) : stdin;
  const args = execArgs(container, command, {script: scripts.exec, asRoot, hasInput: input !== undefined});
  const whole = {...rest, ...(input && {stdin: input})};
  try {
    return await runProcess({program: 'docker', args, env: {...english, ...command.env}}, whole, {
      signal: cleanup ? watch.signal : AbortSignal.any([container.signal, watch.signal]),
      takeErrorLine: (line) => {
        pid = line.startsWith(mark) ? line.slice(mark.length) : undefined;
        return pid !== undefined;
      },
      end: (child) =>
        endExec(container, child, {program: command.program, hasInput: input !== undefined, pid: () => pid}),
    });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (pid === undefined || error.status === 137) await requireRunning(container, error);
    throw new CommandError(command.program, error.status, error.stderr);
  } finally {
    watch.stop();
  }
}

/** The engine lost sight of a program: what it did is not known. */
export class LostProgramError extends UserError {}

const watchSeconds = 20;

/**
 * Engines have been seen to miss the end of a program in a container, and `docker exec` then waits for ever. Looks
 * now and then whether the program is still there; the signal is aborted when it is not, twice in a row.
 */
function watchForLoss(
  {docker, facts}: Container,
  program: string,
  pid: () => string | undefined,
): {readonly signal: AbortSignal; stop(): void} {
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

interface Execution {
  readonly script: string;
  readonly asRoot: boolean;
  readonly hasInput: boolean;
}

/** Variables are named to docker and not given to it, so that no secret is in its arguments. */
function execArgs(
  {facts}: Container,
  {program, args, env = {}}: Command,
  {script, asRoot, hasInput}: Execution,
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
  {docker, facts}: Container,
  child: Process,
  {program, hasInput, pid}: {program: string; hasInput: boolean; pid: () => string | undefined},
): void {
  const kill = () => {
    const number = pid();
    if (child.exitCode !== null || child.signalCode !== null || number === undefined) return;
    const args = ['exec', '--user=0', facts.id, 'sh', '-c', scripts.kill, 'sh', number, program];
    docker.run(args, {cleanup: true}).catch(() => undefined);
  };
  child.stdin?.destroy();
  // What loses its input ends by itself, and with it its children.
  if (hasInput) setTimeout(kill, 2000).unref();
  else kill();
  setTimeout(() => child.kill('SIGKILL'), 4000).unref();
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

/**
 * Not `pg_ctl start`: a server that it starts becomes a child of the container's first process. One that is started
 * here has its parent outside of the container, so that its death, however it dies, is nobody's crash. Throws a
 * CommandError when it ends, or is not ready in time.
 */
export async function launch(container: Container, command: Command, launching: Launching): Promise<void> {
  const env = {...command.env, LAUNCH_LOG: launching.logPath};
  const execution = {script: scripts.launch, asRoot: false, hasInput: false};
  const args = execArgs(container, {...command, env}, execution);
  const isUp = new AbortController();
  let failure: unknown;
  const client = runProcess(
    {program: 'docker', args, env: {...english, ...env}},
    {},
    {
      signal: AbortSignal.any([isUp.signal, container.signal]),
      takeErrorLine: (line) => line.startsWith(mark),
      // The client alone: the server goes on.
      end: (child) => child.kill('SIGKILL'),
    },
  ).then(
    () => {
      failure = new CommandError(command.program, 0, '');
    },
    (error: unknown) => {
      const status = error instanceof CommandError ? error.status : undefined;
      failure = status === undefined ? error : new CommandError(command.program, status, 'its log tells why');
    },
  );
  const deadline = Date.now() + launching.timeoutSeconds * 1000;
  try {
    while (!(await launching.isReady())) {
      if (failure !== undefined) throw failure;
      if (Date.now() > deadline) throw new CommandError(command.program, 1, 'it was not ready in time');
      await sleep(100);
    }
  } finally {
    isUp.abort();
    await client;
  }
}

/** Messages in English, so that they can be recognised. */
const english = {LC_ALL: 'C', LC_MESSAGES: 'C'};

/** Tells the line with the process number from what docker itself may print. */
const mark = 'pg-basebackup-action process ';

/** Constant scripts: programs and paths reach them as arguments and are never parsed. */
const scripts = {
  // The process number comes first, so that the program can be ended from outside.
  exec: `echo "${mark}$$" >&2; exec "$@"`,
  // Its number may be another process's by now, and that one a session of the service.
  kill: `name=$(tr '\\000' '\\n' < "/proc/$1/cmdline" | head -n 1)
case $name in "$2"|sh|*/sh|env) kill -9 "$1" ;; esac`,
  launch: `echo "${mark}$$" >&2; exec "$@" < /dev/null >> "$LAUNCH_LOG" 2>&1`,
} as const;

/** A constant script for the container's `sh`, and its arguments. */
export function shell(script: string, args: readonly string[]): Command {
  return {program: 'sh', args: ['-c', script, 'sh', ...args]};
}
