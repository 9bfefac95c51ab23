import {setTimeout as sleep} from 'node:timers/promises';
import {type Container, mark} from './container-program.js';
import {execArgs} from './exec.js';
import {type Command, CommandError, type Launching} from './host.js';
import {english, runProcess} from './process.js';

/**
 * Not `pg_ctl start`: a server that it starts becomes a child of the container's first process. One that is started
 * here has its parent outside of the container, so that its death, however it dies, is nobody's crash. Throws a
 * CommandError when it ends, or is not ready in time.
 */
export async function launch(container: Container, command: Command, launching: Launching): Promise<void> {
  const env = {...command.env, LAUNCH_LOG: launching.logPath};
  const execution = {script: launchScript, asRoot: false, hasInput: false};
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

/** A constant script: the program and its log reach it as arguments, and are never parsed. */
const launchScript = `echo "${mark}$$" >&2; exec "$@" < /dev/null >> "$LAUNCH_LOG" 2>&1`;
