import {UserError} from '../errors.js';
import type {ContainerShells} from './container-shell.js';
import type {Docker} from './docker.js';
import {type Command, CommandError, type Host, type Network} from './host.js';

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

/** Tells the line with the process number from what docker itself may print. */
export const mark = 'pg-basebackup-action process ';

/** A constant script, for a program and its arguments: the process number comes first, so that it can be ended. */
export const tellingScript = `echo "${mark}$$" >&2; exec "$@"`;

/** The same for a command, whose own shell tells the number where it has one: most run for less time than a shell starts. */
export function telling({program, args}: Command): Command {
  const [option, script, ...rest] = args;
  if (program === 'sh' && option === '-c' && script !== undefined)
    return {program, args: ['-c', `echo "${mark}$$" >&2\n${script}`, ...rest]};
  return {program: 'sh', args: ['-c', tellingScript, 'sh', program, ...args]};
}

/** Its number may be another process's by now, and that one a session of the service. */
const killScript = `name=$(tr '\\000' '\\n' < "/proc/$1/cmdline" | head -n 1)
case $name in "$2"|sh|*/sh|env|tar) kill -9 "$1" ;; esac`;

/** The engine lost sight of a program: what it did is not known. */
export class LostProgramError extends UserError {}

const watchSeconds = 20;

/** Tells, by its signal, that a program is gone and the engine does not say how. */
export interface Watch {
  readonly signal: AbortSignal;
  stop(): void;
}

/**
 * Engines have been seen to miss the end of a program in a container, and `docker exec` then waits for ever. Looks
 * now and then whether the program is still there; the signal is aborted when it is not, twice in a row.
 */
export function watchForLoss(
  {docker, facts}: Container,
  program: string,
  pid: () => string | undefined,
): Watch {
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

/** Ends a program, and none that has its number by now. */
export function kill({docker, facts}: Container, program: string, pid: string | undefined): void {
  if (pid === undefined) return;
  const args = ['exec', '--user=0', facts.id, 'sh', '-c', killScript, 'sh', pid, program];
  docker.run(args, {cleanup: true}).catch(() => undefined);
}

/** Throws why a program could not be run when the container itself is the reason. */
export async function requireRunning({docker, facts}: Container, cause: CommandError): Promise<void> {
  const {State: state} = await docker.inspect(facts.id);
  if (state.Running) return;
  throw new UserError(
    `Container ${facts.name} ended${state.OOMKilled ? ', because it ran out of memory' : ''} (exit code ${state.ExitCode}).`,
    `What it wrote last: docker logs --tail 50 ${facts.name}`,
    {cause},
  );
}
