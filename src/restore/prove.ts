import {messageOf} from '../errors.js';
import type {Host} from '../host/host.js';
import {info, warning} from '../log.js';
import {checkPages, type PassedCheck, runChecks, timed} from './checks.js';
import type {ControlData} from './control-data.js';
import type {ProofLevel} from './proof.js';
import {awaitRecovery, type Recovery, requireBackupEnd} from './recover.js';
import type {RestoreRequest} from './request.js';
import {type Server, startServer, stopServer} from './server.js';
import {configure, readControlData} from './start.js';
import type {Target} from './target.js';
import type {Unpacked} from './unpack.js';

/** What a started backup told. */
export interface Proven {
  readonly server: Server;
  readonly recovery: Recovery;
  readonly control: ControlData;
  /** When the server had been recovered and accepted connections: `performance.now()`. */
  readonly readyAt: number;
  readonly checks: readonly PassedCheck[];
  readonly reached: ReadonlySet<ProofLevel>;
}

/** What starting works with. */
export interface Proving {
  readonly request: RestoreRequest;
  readonly host: Host;
  readonly target: Target;
}

/**
 * Starts PostgreSQL on an unpacked backup, waits for the end of recovery, runs the checks, and stops it unless it is
 * to be kept running. Throws a UserError with the cure; then the server is stopped.
 */
export async function prove(unpacked: Unpacked, {request, host, target}: Proving): Promise<Proven> {
  const server: Server = {
    host,
    target,
    programs: unpacked.programs,
    socketDirectory: await makeSocketDirectory(host, target),
    port: request.listenPort,
    user: request.user ?? unpacked.backup.metadata?.bootstrapSuperuser ?? 'postgres',
    isSuperuser: request.user === undefined,
  };
  await configure(server, request, unpacked.extracted);
  try {
    const proven = await startAndCheck(server, request, unpacked);
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
  if (Buffer.byteLength(`${path}/.s.PGSQL.65535.lock`) > 107) return host.makeTemporaryDirectory();
  await host.makeDirectory(path);
  return path;
}

/** Takes away what only a running server needs: its socket, and the password for its primary. */
async function removeAccess({host, target, socketDirectory}: Server): Promise<void> {
  await host.remove(socketDirectory);
  await host.remove(`${target.configDirectory}/primary.pgpass`);
}

async function startAndCheck(server: Server, request: RestoreRequest, unpacked: Unpacked): Promise<Proven> {
  const deadline = Date.now() + request.startTimeoutSeconds * 1000;
  // Not in a group: a failure puts the server's log into one, and GitHub does not nest them.
  info(`Start ${server.programs.version}`);
  await startServer(server, request.startTimeoutSeconds);
  const recovery = await awaitRecovery(server, request, deadline);
  requireBackupEnd(recovery, unpacked.manifest?.endLsn);
  const readyAt = performance.now();
  info(`Recovered up to ${recovery.replayedLsn}`);
  const checks = [...unpacked.checks, ...(await runChecks(server, request))];
  const wantsPages = request.checks.includes('checksums');
  if (!request.keepRunning || wantsPages) await stopServer(server, 'fast');
  const control = await readControlData(server.host, server.programs, server.target.dataDirectory);
  if (wantsPages) {
    if (control.dataChecksums) checks.push(await timed('checksums', () => checkPages(server)));
    else warning(noChecksums);
  }
  if (request.keepRunning && wantsPages) await startServer(server, request.startTimeoutSeconds);
  return {server, recovery, control, readyAt, checks, reached: reachedBy(unpacked, recovery, checks)};
}

const noChecksums =
  'checks: checksums checked nothing, because the source has no page checksums (pg_checksums --enable turns them on).';

function reachedBy(
  unpacked: Unpacked,
  {isInRecovery}: Recovery,
  checks: readonly PassedCheck[],
): ReadonlySet<ProofLevel> {
  const passed = new Set(checks.map(({name}) => name));
  const levels: readonly (readonly [ProofLevel, boolean])[] = [
    ['started', true],
    // A hot standby accepts connections only once it is consistent.
    ['consistent', true],
    ['recovered', !isInRecovery],
    ['read', passed.has('dump')],
    ['checked', passed.has('amcheck') || passed.has('checksums')],
  ];
  return new Set([...unpacked.reached, ...levels.filter(([, holds]) => holds).map(([level]) => level)]);
}
