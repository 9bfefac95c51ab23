import {messageOf, UserError} from '../../errors.js';
import {CommandError, shell} from '../../host/host.js';
import type {Owner} from '../../host/owner.js';
import {type Reachable, reachableNow, type ServiceContainer, stagingName} from '../../host/service.js';
import {info, warning} from '../../log.js';
import {occupationOf, occupy, removeAbandoned} from '../occupation.js';
import type {RestoreRequest} from '../request.js';
import type {Server} from '../server.js';
import {removeTarget, type Target} from '../target.js';
import {awaitStart, SwappedBackError, stagingOf, swapBack, swapData} from './swap.js';

/**
 * The request for a restore in place: into a directory beside the service's data, on the same volume. Throws a
 * UserError when the service's data cannot be replaced.
 */
export async function placeInService(
  request: RestoreRequest,
  service: ServiceContainer,
): Promise<RestoreRequest> {
  if (!request.dryRun && (await isBeforeExchange(service)))
    await removeAbandoned(occupationOf(stagingOf(service)), service.host);
  await requireReplaceable(service);
  return {
    ...request,
    dataDirectory: `${stagingOf(service)}/new`,
    // Links lead there, so that it has to stay where it is; a second restore gets another.
    tablespacesDirectory: `${service.dataDirectory}_tablespaces_${Date.now()}`,
  };
}

async function requireReplaceable(service: ServiceContainer): Promise<void> {
  const {docker, id, name, dataDirectory, host} = service;
  const {HostConfig: config, Mounts: mounts} = await docker.inspect(id);
  const places = [
    ...mounts,
    ...Object.keys(config.Tmpfs ?? {}).map((path) => ({Type: 'tmpfs', Destination: path})),
  ];
  const mount = places
    .filter(({Destination: path}) => `${dataDirectory}/`.startsWith(`${path}/`))
    .sort((a, b) => b.Destination.length - a.Destination.length)[0];
  if (mount === undefined || !['volume', 'bind'].includes(mount.Type)) {
    throw new UserError(
      `in-place stops container ${name}, and its data directory ${dataDirectory} is ${mount ? `on a ${mount.Type}, which would be lost` : 'not on a volume, where nothing can change it then'}.`,
      "Leave PGDATA as the image has it and set no --tmpfs for it, or restore beside the service's server (in-place: false).",
    );
  }
  const below = places.find(({Destination: path}) => path.startsWith(`${dataDirectory}/`));
  if (below !== undefined) {
    throw new UserError(
      `in-place replaces all of ${dataDirectory}, and container ${name} has ${below.Destination} in it mounted from elsewhere, which cannot be moved.`,
      "Mount it outside of the data directory, or restore beside the service's server (in-place: false).",
    );
  }
  if (config.AutoRemove) {
    throw new UserError(
      `in-place stops container ${name}, and it was started with --rm: Docker would remove it.`,
      'Start it without --rm.',
    );
  }
  if ((await host.look(`${dataDirectory}/postmaster.pid`)) === 'absent') {
    throw new UserError(
      `The server of container ${name} does not run on ${dataDirectory}, which PGDATA names: replacing that would change nothing.`,
      "Set PGDATA of the service to its server's data directory, or restore beside the server (in-place: false).",
    );
  }
  if ((await host.look(stagingOf(service))) !== 'absent') throw taken(service);
}

/** Whether nothing of the service's data can have been moved: what was killed then may be removed without a look. */
async function isBeforeExchange(service: ServiceContainer): Promise<boolean> {
  return (await service.host.look(`${stagingOf(service)}/old`)) === 'absent';
}

/** Takes the service for one restore in place. Throws a UserError when another one was faster. */
export async function claimService(
  service: ServiceContainer,
  {target, owner}: {readonly target: Target; readonly owner: Owner},
): Promise<void> {
  const staging = stagingOf(service);
  try {
    await service.host.run({program: 'mkdir', args: ['-m', '700', staging]});
    const made = [...target.all.filter((one) => !one.startsWith(`${staging}/`)), staging];
    await occupy(occupationOf(staging), {owner, made, filled: []}, service.host);
  } catch (error) {
    if (error instanceof CommandError) throw taken(service, error);
    throw error;
  }
}

function taken(service: ServiceContainer, cause?: unknown): UserError {
  const staging = stagingOf(service);
  return new UserError(
    `${staging} exists in container ${service.name}: another restore in place runs, or one was killed.`,
    `Look there for data that it had set aside (${staging}/old); when nothing of it is needed: docker exec ${service.name} rm -r ${staging}`,
    {cause},
  );
}

/** What replacing works with. */
export interface Replacing {
  readonly service: ServiceContainer;
  readonly request: RestoreRequest;
}

/**
 * Puts a restored cluster, stopped, in the place of the service's data: stops the container, swaps the data, starts
 * the container, waits until it accepts connections. The old data are removed last. Throws a UserError; then the
 * service runs on its old data.
 */
export async function replaceData(server: Server, replacing: Replacing): Promise<Reachable | undefined> {
  const {service, request} = replacing;
  await carryConfiguration(server, replacing);
  info(`Stop container ${service.name}, and start it on the restored data`);
  const since = Date.now();
  let runsOnRestored = false;
  try {
    await swapData(service);
    runsOnRestored = true;
    await awaitStart(service, {since, timeoutSeconds: request.startTimeoutSeconds});
  } catch (error) {
    throw await putBack(error, {...replacing, since, runsOnRestored});
  }
  // The service runs on the restored data: nothing that fails now may undo a part of it.
  await removeOld(service).catch((error: unknown) => {
    warning(`The old data in ${stagingOf(service)} could not be removed: ${messageOf(error)}`);
  });
  return tellPort(service);
}

async function tellPort(service: ServiceContainer): Promise<Reachable | undefined> {
  const before = service.reachableAt;
  const after = await reachableNow(service).catch(() => before);
  if (before && after && after.port !== before.port) {
    warning(
      `The service's port was ${before.port} and is ${after.port} now: Docker chooses a new one at each start, unless ports: names one (5432:5432). Use the output port.`,
    );
  }
  return after;
}

/** Renamed first: a half that a killed run leaves must not pass for data that were set aside. */
async function removeOld(service: ServiceContainer): Promise<void> {
  const done = `${stagingOf(service)}.done`;
  await service.host.run({program: 'mv', args: [stagingOf(service), done]}, {cleanup: true});
  await service.host.remove(done);
}

/**
 * Removes what a restore in place that failed has left beside the service's data. Where the old data may still be
 * aside, nothing is touched. What cannot be removed is a warning, so that the failure itself is told.
 */
export async function removeStaging(service: ServiceContainer, target: Target): Promise<void> {
  const staging = stagingOf(service);
  try {
    const {State: state} = await service.docker.inspect(service.id, {cleanup: true});
    if (!state.Running || (await service.host.look(`${staging}/old`)) !== 'absent') return;
    await removeTarget(target, service.host);
    await service.host.remove(staging);
  } catch (error) {
    warning(`${staging} in container ${service.name} could not be removed: ${messageOf(error)}`);
  }
}

/** Everything in a data directory that is not PostgreSQL's own state is configuration. Paths reach it as arguments. */
const carry = `set -e
cd "$1"
for entry in .[!.]* *; do
  [ -e "$entry" ] || continue
  case $entry in
    pg_hba.conf|pg_ident.conf) ;;
    pg_*|base|global|log|PG_VERSION|postmaster.*|current_logfiles|backup_*|tablespace_map*|*.signal|lost+found|${stagingName}*) continue ;;
  esac
  if [ "$3" = no ] && [ -e "$2/$entry" ]; then continue; fi
  rm -rf "$2/$entry"
  cp -a "$entry" "$2/"
done`;

/**
 * The service keeps its own configuration, certificates and rules, which fit the container; without isolation those
 * that came with the backup count, where it brought them.
 */
async function carryConfiguration({host, target}: Server, {service, request}: Replacing): Promise<void> {
  const {dataDirectory, configDirectory} = target;
  const automatic = `${dataDirectory}/postgresql.auto.conf`;
  if (!request.isolate) {
    await host.writeText(
      automatic,
      (await host.readText(`${configDirectory}/postgresql.auto.conf.restored`)) ?? '',
    );
  }
  const overwrite = request.isolate ? 'yes' : 'no';
  await host.run(shell(carry, [service.dataDirectory, dataDirectory, overwrite]));
  if (request.postgresqlConf.length === 0) return;
  const text = [(await host.readText(automatic)) ?? '', ...request.postgresqlConf, ''].join('\n');
  await host.writeText(automatic, text);
}

/** Brings the old data back, unless that is done, and returns the failure, which then says so. */
async function putBack(
  failure: unknown,
  {service, request, since, runsOnRestored}: Replacing & {since: number; runsOnRestored: boolean},
): Promise<UserError> {
  try {
    if (!(failure instanceof SwappedBackError)) await swapBack(service, {runsOnRestored});
    await awaitStart(service, {since, timeoutSeconds: request.startTimeoutSeconds, cleanup: true});
  } catch (error) {
    return new UserError(
      `${messageOf(failure)}\nThe service's old data could not be brought back either: ${messageOf(error)}`,
      `They are on the volume of container ${service.name}: in ${stagingOf(service)}/old, or already in their place. See docs/service-containers.md, "After a failure".`,
      {cause: failure},
    );
  }
  return new UserError(
    `${messageOf(failure)}\nThe service runs on its old data again.`,
    failure instanceof UserError ? failure.cure : cureOf(messageOf(failure)),
    {cause: failure},
  );
}

/** What Docker's own words ask for. */
function cureOf(message: string): string {
  if (/port is already allocated|address already in use/.test(message))
    return 'Something else took the port that the service publishes, while it was stopped: end that, or publish another one.';
  if (/No space left on device/.test(message))
    return 'Free space on the disk that Docker keeps its volumes on, in an earlier step.';
  return 'Run the step again; where it fails again, restore beside the service (in-place: false).';
}
