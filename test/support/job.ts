import {chmodSync} from 'node:fs';
import {userInfo} from 'node:os';
import {type Container, createContainer} from './container.js';
import {type ActionResult, jobMounts, type RunningAction, startAction} from './runner.js';
import type {Service} from './service.js';
import type {Inputs} from './steps.js';
import type {Workspace} from './workspace.js';

/** Where a job's container is. */
export interface JobOptions {
  readonly workspace: Workspace;
  /** As Docker names it: `host` reaches what this machine does, `none` nothing. */
  readonly network: string;
  /** The service whose server's socket is in the container. */
  readonly beside: Service;
  /** The account that the action runs as; root without it. */
  readonly user?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A container that a job runs in: the action sees its files and programs in place of the runner's. */
export interface Job extends Container {
  /** Runs the action in it, with whatever it has to install. */
  run(inputs: Inputs): Promise<ActionResult>;
  /** The same, for a test that interrupts it. */
  start(inputs: Inputs): RunningAction;
  /** Sends SIGINT to the action alone, as GitHub does when a run is cancelled. */
  interrupt(): Promise<void>;
  /** What is installed, and what an installation could leave. */
  state(): Promise<string>;
}

/** Starts a job's container; the caller removes it, ahead of the workspace. */
export async function createJob(image: string, options: JobOptions): Promise<Job> {
  const {workspace, network, beside, user = 'root', env = {}} = options;
  for (const path of [workspace.directory, workspace.temp]) chmodSync(path, 0o777);
  const container = await createContainer(image, {
    // An image may have a server of its own.
    options: [
      `--network=${network}`,
      `--volumes-from=${beside.id}`,
      '--entrypoint=sleep',
      ...jobMounts(workspace),
    ],
    command: ['infinity'],
  });
  const start = (inputs: Inputs) =>
    startAction({install: 'auto', ...inputs}, {workspace, env, within: {container: container.id, user}});
  return {
    ...container,
    start,
    run: (inputs) => start(inputs).result,
    async interrupt() {
      const action = (await container.processes()).find(({args}) => args[1]?.endsWith('/dist/index.js'));
      await container.exec(['sh', '-c', 'kill -INT "$1"', 'sh', String(action?.pid)]);
    },
    state: () => container.exec(['sh', '-c', tellState]),
    async remove() {
      // So that we may remove what the container's root has written.
      const {uid, gid} = userInfo();
      await container.exec(['chown', '--recursive', `${uid}:${gid}`, workspace.directory, workspace.temp]);
      await container.remove();
    },
  };
}

const tellState = `dpkg-query --show --showformat '\${Package} \${Version} \${Status}\\n'
  for path in /usr/sbin/policy-rc.d /etc/postgresql-common /etc/apt/sources.list.d; do
    if [ -e "$path" ]; then find "$path"; fi
  done
  getent passwd`;

/** Inputs of a backup of the service beside a job to a directory, under the name `nightly`. */
export function jobBackupInputs(more: Inputs = {}): Inputs {
  return {
    mode: 'backup',
    storage: 'directory',
    'backup-name': 'nightly',
    host: socketDirectory,
    user: 'postgres',
    compress: 'gzip',
    ...more,
  };
}

/** A volume of a service that its job shares; see `JobOptions.beside`. */
export const socketDirectory = '/var/run/postgresql';
