import {messageOf} from '../errors.js';
import type {Host} from '../host/host.js';
import {info, phase, warning} from '../log.js';
import type {Achieved} from './achieved.js';
import {warnOfCatalogs} from './checks/catalog.js';
import {checkPages, runChecks} from './checks/checks.js';
import {disableSubscriptions} from './in-place/subscriptions.js';
import {type ControlData, readControlData} from './recovery/control-data.js';
import {awaitRecovery, type Recovery, requireArchiveEnd, requireBackupEnd} from './recovery/recover.js';
import {parseRecoveryLog, type RecoveryStop} from './recovery/recovery-log.js';
import {requireStop} from './recovery/recovery-target.js';
import type {RestoreRequest} from './request.js';
import {readLog, removeAccess, type Server, startServer, stopServer} from './server.js';
import type {Primary} from './standby/primary.js';
import {
  askPosition,
  awaitStreaming,
  type Following,
  openFollowing,
  type Streaming,
  warnOfSlot,
  whileStill,
} from './standby/standby.js';
import {configure} from './start.js';
import type {Target} from './target.js';
import type {Unpacked} from './unpack/unpack.js';

/** What a started backup told. */
export interface Proven {
  readonly server: Server;
  readonly recovery: Recovery;
  /** Where and why recovery stopped; undefined without a target. */
  readonly stop: RecoveryStop | undefined;
  readonly control: ControlData;
  /** When the server had been recovered and accepted connections: `performance.now()`. */
  readonly readyAt: number;
  /** What a standby has shown. */
  readonly streaming: Streaming | undefined;
}

/** What starting works with. */
export interface Proving {
  readonly request: RestoreRequest;
  readonly host: Host;
  readonly target: Target;
  /** The server that the restored one follows, if it shall be a standby. */
  readonly primary?: Primary | undefined;
  /** Where it is noted what is proven. */
  readonly achieved: Achieved;
}

/**
 * Starts PostgreSQL on an unpacked backup, waits for the end of recovery, runs the checks, and stops it unless it is
 * to be kept running. Throws a UserError with the cure; then the server is stopped.
 */
export async function prove(
  unpacked: Unpacked,
  {request, host, target, primary, achieved}: Proving,
): Promise<Proven> {
  const server: Server = {
    host,
    target,
    programs: unpacked.programs,
    socketDirectory: await makeSocketDirectory(host, target),
    port: request.listenPort,
    user:
      request.user ??
      unpacked.backup.metadata?.bootstrapSuperuser ??
      primary?.bootstrapSuperuser ??
      'postgres',
    isSuperuser: request.user === undefined,
    recovery: request.recovery,
  };
  try {
    const following = primary && (await openFollowing(primary, server));
    await configure(server, request, {...unpacked, following});
    const proven = await startAndCheck(server, request, {...unpacked, following, achieved});
    if (!request.keepRunning) await removeAccess(server);
    return proven;
  } catch (error) {
    await stopServer(server, 'immediate').catch((failure: unknown) => warning(messageOf(failure)));
    await removeAccess(server);
    throw error;
  }
}

/** The path of a socket may have 107 bytes at most (sun_path in unix(7)). */
async function makeSocketDirectory(host: Host, {configDirectory}: Target): Promise<string> {
  const path = `${configDirectory}/socket`;
  if (Buffer.byteLength(`${path}/.s.PGSQL.65535.lock`) > 107) return host.makeTemporaryDirectory('/tmp');
  await host.makeDirectory(path);
  return path;
}

interface Startable extends Unpacked {
  readonly following: Following | undefined;
  readonly achieved: Achieved;
}

async function startAndCheck(server: Server, request: RestoreRequest, unpacked: Startable): Promise<Proven> {
  const {following, achieved} = unpacked;
  const streaming = following && {
    name: following.primary.name,
    passedLsn: await askPosition(following, server),
  };
  // Not in a group: a failure puts the server's log into one, and GitHub does not nest them.
  info(`Start ${server.programs.version}`);
  const recovery = await phase('Start and recover', () =>
    startAndRecover(server, request, {streaming, achieved}),
  );
  requireBackupEnd(recovery, (unpacked.manifest ?? unpacked.backup.metadata)?.endLsn);
  const readyAt = performance.now();
  if (streaming) info(`Streams from ${streaming.name}, and has replayed up to ${recovery.replayedLsn}`);
  const stop = streaming ? undefined : await requireEnd(server, recovery, unpacked);
  await warnOfCatalogs(server);
  if (!recovery.isInRecovery) achieved.reach('recovered');
  const control = await check(server, request, {recovery, streaming, achieved});
  if (streaming) warnOfSlot(request, streaming);
  return {server, recovery, stop, control, readyAt, streaming};
}

/** Runs the checks of the running server, stops it where that is due, and runs those of a stopped one. */
async function check(
  server: Server,
  request: RestoreRequest,
  {recovery, streaming, achieved}: Pick<Proven, 'recovery' | 'streaming'> & Pick<Proving, 'achieved'>,
): Promise<ControlData> {
  const {programs, target, host} = server;
  const read = () => readControlData(host, programs, target.dataDirectory);
  const runAll = () => runChecks(server, request, {recovery, achieved});
  await (streaming ? whileStill(server, runAll) : runAll());
  if (request.inPlace && request.isolate) await disableSubscriptions(server);
  const asked = request.checks.includes('checksums');
  const hasChecksums = asked && (await read()).dataChecksums;
  if (!request.keepRunning || hasChecksums) await stopServer(server, 'fast');
  const control = await read();
  if (hasChecksums) await achieved.check('checksums', () => checkPages(server));
  if (request.keepRunning && hasChecksums) await startAndRecover(server, request, {streaming, achieved});
  return control;
}

async function startAndRecover(
  server: Server,
  request: RestoreRequest,
  {streaming, achieved}: {readonly streaming: Streaming | undefined; readonly achieved: Achieved},
): Promise<Recovery> {
  const deadline = Date.now() + request.startTimeoutSeconds * 1000;
  await startServer(server, request.startTimeoutSeconds);
  achieved.reach('started');
  const recovery = await (streaming
    ? awaitStreaming(server, {streaming, request, deadline})
    : awaitRecovery(server, request, deadline));
  // A hot standby accepts connections only once it is consistent.
  achieved.reach('consistent');
  return recovery;
}

/** Makes sure that recovery ended where it was to end, and tells where that is. */
async function requireEnd(
  server: Server,
  recovery: Recovery,
  {lastSegment}: Unpacked,
): Promise<RecoveryStop | undefined> {
  const log = parseRecoveryLog(await readLog(server));
  const {target, restoreCommand} = server.recovery;
  const stop = requireStop(server.recovery, log);
  if (target === undefined) requireArchiveEnd(recovery, lastSegment, log);
  if (restoreCommand !== undefined && log.restoredFiles.size === 0)
    warning('restore-command brought no WAL segment: all that was recovered is in the backup itself.');
  if (stop) info(`Recovery stopped ${stop.text}`);
  const {replayedLsn, lastCommitTime} = recovery;
  const commit = lastCommitTime === undefined ? '' : `, the last commit of ${lastCommitTime}`;
  info(`Recovered up to ${replayedLsn}${commit}${recovery.isPaused ? '; recovery is paused' : ''}`);
  return stop;
}
