import type {Manifest} from '../backup-set/manifest.js';
import {UserError} from '../errors.js';
import {CommandError, type Host} from '../host/host.js';
import {info, warning} from '../log.js';
import {findServerPrograms} from '../postgres/programs.js';
import {majorOf} from '../postgres/version.js';
import type {FetchedBackup, FoundBackup, Store} from '../store/store.js';
import {ageSeconds, refuseOld} from './age.js';
import {type Proven, prove} from './prove.js';
import type {RestoreRequest} from './request.js';
import {checkSpace, chooseTarget, removeTarget, type Target} from './target.js';
import {unpack} from './unpack.js';

/** What a restore works with. */
export interface RestoreSurroundings {
  /** Where the server will run. */
  readonly host: Host;
  /** Where the backup's files arrive. */
  readonly runner: Host;
  readonly store: Store;
  /** The runner's temporary folder. */
  readonly temporaryDirectory: string;
}

/** What a dry run found. */
export interface DryRestore {
  readonly mode: 'restore';
  readonly dryRun: true;
  readonly backup: FoundBackup;
  readonly target: Target;
}

/** A restored backup, and how far it is proven. */
export interface Restored extends Proven {
  readonly mode: 'restore';
  readonly dryRun: false;
  readonly request: RestoreRequest;
  readonly backup: FetchedBackup;
  readonly manifest: Manifest | undefined;
  /** From the first byte fetched until the server was recovered and accepted connections. */
  readonly restoreSeconds: number;
  /** Undefined where nothing tells when the backup was made. */
  readonly backupAgeSeconds: number | undefined;
}

/** What a restore step tells. */
export type RestoreResult = DryRestore | Restored;

/**
 * Finds a backup, unpacks it, starts PostgreSQL on it, and proves it. Throws a UserError with the cure for whatever
 * stops it; then no server runs and nothing that the restore wrote is left.
 */
export async function restore(
  request: RestoreRequest,
  surroundings: RestoreSurroundings,
): Promise<RestoreResult> {
  const {host, store} = surroundings;
  const target = await chooseTarget(request, host);
  const found = await store.find(request.backupName);
  await showAndCheck(found, target, {request, host});
  if (request.dryRun) return {mode: 'restore', dryRun: true, backup: found, target};
  try {
    const startedAt = performance.now();
    const unpacked = await unpack(found, {request, target, ...surroundings});
    const proven = await prove(unpacked, {request, host, target});
    return {
      mode: 'restore',
      dryRun: false,
      request,
      ...unpacked,
      ...proven,
      restoreSeconds: (proven.readyAt - startedAt) / 1000,
      backupAgeSeconds: ageOf(unpacked.backup, unpacked.manifest),
    };
  } catch (error) {
    await removeTarget(target, host);
    throw error;
  }
}

/** Says what will be restored, and refuses what cannot be, before anything is fetched. */
async function showAndCheck(
  {name, location, metadata}: FoundBackup,
  target: Target,
  {request, host}: {request: RestoreRequest; host: Host},
): Promise<void> {
  info(
    `Backup: ${name} in ${location}${metadata ? `, finished ${metadata.finishedAt}` : ', made without this action'}`,
  );
  info(`Into:   ${target.dataDirectory} on ${host.name}, owned by ${host.user}`);
  await requireReadable(request.recovery.walDirectory, host);
  if (!request.isolate || request.primary) {
    warning(
      'The restored server is not isolated: it starts with the configuration that came with the backup.',
    );
  }
  if (!metadata) return;
  refuseOld(metadata.finishedAt, request);
  await findServerPrograms(host, majorOf(metadata.serverVersionNumber), request.pgVersion);
  await checkSpace(target, host, metadata.dataSizeBytes);
}

/** PostgreSQL takes an archive that it cannot read for one that has ended. */
async function requireReadable(walDirectory: string | undefined, host: Host): Promise<void> {
  if (walDirectory === undefined) return;
  try {
    await host.run({program: 'ls', args: [walDirectory]});
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      `wal-directory ${walDirectory} cannot be read by ${host.user} on ${host.name}.`,
      `Check the path, and give ${host.user} the right to read it and to pass through its parents (chmod o+rx).`,
      {cause},
    );
  }
}

function ageOf({metadata}: FetchedBackup, manifest: Manifest | undefined): number | undefined {
  const finishedAt = metadata?.finishedAt ?? manifest?.takenAt;
  return finishedAt === undefined ? undefined : ageSeconds(finishedAt);
}
