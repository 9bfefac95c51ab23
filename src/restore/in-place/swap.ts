import {setTimeout as sleep} from 'node:timers/promises';
import {UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import {exchangeOf, ownerVariable} from '../../host/owner.js';
import {type ServiceContainer, stagingName} from '../../host/service.js';
import {group, info} from '../../log.js';
import {parsePidFile} from '../pid-file.js';

/** Where a restore in place prepares the new data, and sets the old ones aside. */
export const stagingOf = ({dataDirectory}: ServiceContainer) => `${dataDirectory}/${stagingName}`;

/** Moves all that is in the working directory but what is ours. */
const move = `move() { for entry in .[!.]* *; do
  if [ -e "$entry" ] || [ -L "$entry" ]; then case $entry in ${stagingName}|lost+found) ;; *) mv "$entry" "$1/" ;; esac; fi
done; }`;

/** How long a server has to end whose data are kept, and one whose data are thrown away: then it is killed. */
const [keptPatienceSeconds, discardedPatienceSeconds] = [120, 10];

/** Constant scripts; paths reach them as arguments. */
const scripts = {
  replace: `set -e
cd "$1"
mkdir ${stagingName}/old
${move}
move ${stagingName}/old
touch ${stagingName}/moved
cd ${stagingName}/new
move ../..`,
  putBack: `set -e
cd "$1"
[ -e ${stagingName}/old ] || exit 0
${move}
if [ -e ${stagingName}/moved ]; then
  mkdir -p ${stagingName}/failed
  move ${stagingName}/failed
  rm ${stagingName}/moved
fi
cd ${stagingName}/old
move ../..
rm -rf ../../${stagingName}`,
  /**
   * On the runner, in one process: where it is told to stop half-way, or a part of it fails, it brings all back. A
   * container that was just started does not hear a signal before its server listens for it, since nothing ends a
   * container's first process by default: whoever waits for that waits to the end of its patience.
   */
  swap: `trap '' PIPE
cancelled=
trap cancelled=yes TERM INT
in_volumes() { docker run --rm --network=none --user=0 "--volumes-from=$id" --entrypoint=sh "$image" -c "$1" sh "$data"; }
id=$1 image=$2 data=$3 replace=$4 back=$5 patience=$6
if [ -n "$replace" ]; then
  docker stop -t "$patience" "$id" >/dev/null &&
  [ -z "$cancelled" ] && in_volumes "$replace" && patience=${discardedPatienceSeconds} &&
  [ -z "$cancelled" ] && docker start "$id" >/dev/null &&
  [ -z "$cancelled" ] && exit 0
fi
docker stop -t "$patience" "$id" >/dev/null && in_volumes "$back" && docker start "$id" >/dev/null || exit 2
[ -z "$replace" ] || exit 3`,
} as const;

/** The swap failed, and the service runs on its old data again. */
export class SwappedBackError extends Error {}

/**
 * Stops the container (by SIGINT or whatever its image asks for: official ones stop PostgreSQL by a fast shutdown),
 * puts the restored data in the place of the service's, which are set aside, and starts it again.
 * Nothing can be run in a container that is stopped: another one of the same image gets its volumes for a moment.
 * Throws a SwappedBackError when that failed or was cancelled half-way and all is as it was, and a CommandError when
 * not even that could be had.
 */
export async function swapData(service: ServiceContainer): Promise<void> {
  try {
    await runSwap(service, {replace: scripts.replace, patienceSeconds: keptPatienceSeconds});
  } catch (error) {
    if (!(error instanceof CommandError) || error.status !== 3) throw error;
    // Nothing failed: the run was cancelled half-way.
    throw new SwappedBackError(error.stderr.trim() || 'The step was cancelled.');
  }
}

/**
 * Stops the container, brings the data that were set aside back, and starts it; nothing is done where none were.
 * `runsOnRestored` tells for certain that its server runs on data that are thrown away then.
 */
export async function swapBack(
  service: ServiceContainer,
  {runsOnRestored}: {readonly runsOnRestored: boolean},
): Promise<void> {
  await runSwap(service, {
    replace: '',
    patienceSeconds: runsOnRestored ? discardedPatienceSeconds : keptPatienceSeconds,
  });
}

/** A process that goes on when a cancelled run has to end before it, and that GitHub's runner does not take for an orphan. */
async function runSwap(
  {runner, id, imageId, dataDirectory}: ServiceContainer,
  {replace, patienceSeconds}: {readonly replace: string; readonly patienceSeconds: number},
): Promise<void> {
  const paths = [id, imageId, dataDirectory, replace, scripts.putBack];
  const args = ['-c', scripts.swap, 'sh', ...paths, String(patienceSeconds)];
  const owner = exchangeOf({id: process.env[ownerVariable] ?? ''}).id;
  const command = {program: 'sh', args, env: {RUNNER_TRACKING_ID: '0', [ownerVariable]: owner}};
  await runner.run(command, {cleanup: true, tellsCancellation: replace !== ''});
}

/** What waiting for a service needs to know. */
export interface Starting {
  /** When the container was started, in milliseconds since 1970: what it wrote before is old. */
  readonly since: number;
  readonly timeoutSeconds: number;
  /** To the end, although the run is cancelled. */
  readonly cleanup?: boolean;
}

/** Waits until the container's server accepts connections. Throws a UserError with the reason of its log. */
export async function awaitStart(service: ServiceContainer, starting: Starting): Promise<void> {
  const {docker, id, name} = service;
  const {timeoutSeconds, since} = starting;
  const deadline = Date.now() + timeoutSeconds * 1000;
  for (;;) {
    const {State: state} = await docker.inspect(id, starting);
    if (state.Running && (await isServing(service, since))) return;
    if (!state.Running || Date.now() > deadline) {
      const how = state.Running
        ? `did not accept connections within start-timeout (${timeoutSeconds} s)`
        : `ended with exit code ${state.ExitCode}`;
      throw new UserError(
        `Container ${name} ${how}${await showLog(service, since)}`,
        'Its log is in the group above. Its own configuration must fit the backup: postgresql-conf overrides a setting.',
      );
    }
    await sleep(200);
  }
}

/** Whether a server that was started since then runs on the service's data: postmaster.pid is in them. */
async function isServing({host, dataDirectory}: ServiceContainer, since: number): Promise<boolean> {
  const text = await host.readText(`${dataDirectory}/postmaster.pid`).catch((error: unknown) => {
    // A container that ends at this moment is told by its state.
    if (error instanceof UserError || error instanceof CommandError) return undefined;
    throw error;
  });
  const {isReady, startedAt} = parsePidFile(text ?? '');
  return isReady && startedAt >= Math.floor(since / 1000);
}

/** Shows what the container wrote, and returns the line that tells why it failed. */
async function showLog({docker, id, name}: ServiceContainer, since: number): Promise<string> {
  const args = ['logs', '--since', new Date(since).toISOString(), '--tail', '40', id];
  const {stdout, stderr} = await docker.run(args, {cleanup: true});
  const lines = `${stdout}${stderr}`.trimEnd().split('\n');
  await group(`Log of container ${name}`, async () => {
    for (const line of lines) info(line);
  });
  // A health check that names no role logs in as root, again and again.
  const why = lines.findLast((line) => /(FATAL|PANIC):/.test(line) && !/role "root"/.test(line));
  return why ? `: ${why.replace(/^.*?(FATAL|PANIC):/, '$1:')}` : '.';
}
