import {UserError} from '../errors.js';
import {type Command, CommandError, type Output, type RunOptions} from './host.js';
import {endGroup, runProcess} from './process.js';

/** What of `docker inspect` is used; every other field is left alone. */
export interface ContainerState {
  readonly Id: string;
  readonly Name: string;
  /** The image's id. */
  readonly Image: string;
  readonly State: {
    readonly Running: boolean;
    readonly Paused: boolean;
    readonly ExitCode: number;
    readonly OOMKilled: boolean;
  };
  readonly Config: {
    /** As the user named it: `postgres:17`. */
    readonly Image: string;
    readonly User: string;
    readonly Env: readonly string[] | null;
  };
  readonly HostConfig: {
    readonly AutoRemove: boolean;
    /** `bridge`, `host`, `none`, `container:<id>`, or a network's name. */
    readonly NetworkMode: string;
    readonly NanoCpus: number;
    /** Bytes; 0 means no limit. */
    readonly Memory: number;
    /** By path; those of `--tmpfs` are no `Mounts`. */
    readonly Tmpfs?: Readonly<Record<string, string>> | null;
  };
  readonly Mounts: readonly {readonly Type: string; readonly Destination: string}[];
  readonly NetworkSettings: {
    readonly Ports: Readonly<Record<string, readonly PublishedPort[] | null>> | null;
    readonly Networks: Readonly<Record<string, NetworkState>>;
  };
}

/** A container's place in a network. */
export interface NetworkState {
  readonly IPAddress: string;
  readonly IPPrefixLen: number;
  /** The machine's own address in it. */
  readonly Gateway: string;
}

/** An address of the machine that leads to a container's port. */
export interface PublishedPort {
  readonly HostIp: string;
  readonly HostPort: string;
}

/** The `docker` program of the runner. */
export interface Docker {
  /** Runs `docker` with arguments. Throws a CommandError, and a UserError where there is no Docker. */
  run(args: readonly string[], options?: RunOptions): Promise<Output>;
  /** What the engine says of a container. Throws a UserError when there is none of that id or name. */
  inspect(container: string, options?: RunOptions): Promise<ContainerState>;
}

/** The Docker engine that the runner's `docker` program talks to (`DOCKER_HOST`, else the local one). */
export function docker(signal: AbortSignal): Docker {
  const run = async (args: readonly string[], options: RunOptions = {}) => {
    const command: Command = {program: 'docker', args};
    try {
      return await runProcess(command, options, {signal, end: ({pid}) => endGroup(pid)});
    } catch (error) {
      throw engineFailure(error);
    }
  };
  return {
    run,
    async inspect(container, options) {
      try {
        const {stdout} = await run(['container', 'inspect', container], options);
        const [state] = JSON.parse(stdout) as [ContainerState];
        return state;
      } catch (error) {
        if (!(error instanceof CommandError) || !/No such/i.test(error.stderr)) throw error;
        throw await noSuchContainer(container, run);
      }
    },
  };
}

/** A program that is not there, or an engine that does not answer, concerns every command alike. */
function engineFailure(error: unknown): unknown {
  if (error instanceof UserError) {
    return new UserError(
      'container is set, and the runner has no program named docker.',
      'Run the job on a runner with Docker (ubuntu-24.04 has it); in a job that has a container of its own, install its docker client.',
      {cause: error},
    );
  }
  if (
    error instanceof CommandError &&
    /Cannot connect to the Docker daemon|permission denied while trying to connect/i.test(error.stderr)
  ) {
    return new UserError(
      `container is set, and the Docker engine does not answer: ${error.message}`,
      'Check that the engine runs, and that the runner’s account may use it: docker info',
      {cause: error},
    );
  }
  return error;
}

async function noSuchContainer(container: string, run: Docker['run']): Promise<UserError> {
  const {stdout} = await run(['container', 'ls', '--format', '{{.ID}}  {{.Image}}  {{.Names}}']);
  const running = stdout.trim();
  return new UserError(
    `There is no container ${container}. ${running === '' ? 'None runs on this engine.' : `Running are:\n${running}`}`,
    'Set container: ${{ job.services.postgres.id }}, with the name of the service in place of postgres.',
  );
}
