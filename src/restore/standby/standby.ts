import {setTimeout as sleep} from 'node:timers/promises';
import {lsnPosition} from '../../backup-set/manifest.js';
import {info, warning} from '../../log.js';
import type {Conninfo} from '../../postgres/conninfo.js';
import {placeConninfo} from '../../postgres/placed-conninfo.js';
import {readControlData} from '../recovery/control-data.js';
import {type Recovery, readRecovery} from '../recovery/recover.js';
import type {RestoreRequest} from '../request.js';
import {hasEnded, logPath, query, type Server, startFailure} from '../server.js';
import {type Primary, positionOf, requireSameSystem} from './primary.js';
import {isFinal} from './standby-cures.js';

/** A restored server's tie to its primary. */
export interface Following {
  readonly primary: Primary;
  /** What `primary_conninfo` is: the files that it names lie in the configuration's directory. */
  readonly conninfo: Conninfo;
}

/** What a standby has shown. */
export interface Streaming {
  /** Whom it follows, for people. */
  readonly name: string;
  /** The primary's position when the standby was started, which it has passed. */
  readonly passedLsn: string;
}

/**
 * Lays out what the restored server needs to follow its primary. Throws a UserError when its files say that it is a
 * copy of another system, which nothing told before where a backup has neither metadata nor a manifest of version 2.
 */
export async function openFollowing(primary: Primary, {host, programs, target}: Server): Promise<Following> {
  const control = await readControlData(host, programs, target.dataDirectory);
  requireSameSystem(primary, control.systemIdentifier);
  await host.makeDirectory(target.configDirectory);
  const place = {host, directory: target.configDirectory, major: programs.major};
  return {primary, conninfo: await placeConninfo(primary.connection, place)};
}

/** The primary's position now, asked in the way that the standby will go. Throws a UserError. */
export async function askPosition({primary, conninfo}: Following, server: Server): Promise<string> {
  const {host, programs} = server;
  const lsn = await positionOf(primary, {host, programs, conninfo});
  info(`${primary.name} is at ${lsn}`);
  return lsn;
}

/** What a standby is waited for with. */
export interface Awaited {
  readonly streaming: Streaming;
  readonly request: RestoreRequest;
  /** Milliseconds since 1970. */
  readonly deadline: number;
}

/**
 * Waits until the standby streams and has replayed past where its primary was. Throws a UserError with the cure when
 * it does not in time, or at once when its log tells that it never will.
 */
export async function awaitStreaming(
  server: Server,
  {streaming, request, deadline}: Awaited,
): Promise<Recovery> {
  const {name, passedLsn} = streaming;
  for (let turn = 0; ; turn += 1) {
    const recovery = await readRecovery(server);
    if (recovery?.isStreaming && lsnPosition(recovery.replayedLsn) >= lsnPosition(passedLsn)) return recovery;
    if (await hasEnded(server)) throw await startFailure(server, 'The standby ended');
    if (turn % 10 === 9 && (await cannotFollow(server, request)))
      throw await startFailure(server, `The standby cannot follow ${name}`);
    if (Date.now() > deadline) throw await startFailure(server, tooLate(recovery, streaming, request));
    await sleep(100);
  }
}

function tooLate(
  recovery: Recovery | undefined,
  {name, passedLsn}: Streaming,
  {startTimeoutSeconds}: RestoreRequest,
): string {
  const where = `replayed up to ${recovery?.replayedLsn ?? 'nothing'}, while ${name} was at ${passedLsn} before`;
  return recovery?.isStreaming
    ? `The standby streams, but after start-timeout (${startTimeoutSeconds} s) it has ${where}`
    : `The standby does not stream from ${name} after start-timeout (${startTimeoutSeconds} s); it has ${where}`;
}

/** With an archive, WAL that the primary has no more may still come from there. */
async function cannotFollow({host, target}: Server, {recovery}: RestoreRequest): Promise<boolean> {
  const lines = ((await host.readText(logPath(target))) ?? '').split('\n');
  const hasArchive = recovery.walDirectory !== undefined || recovery.restoreCommand !== undefined;
  // Once can be chance: the primary may have been in the middle of a restart, or a slot about to be free.
  return lines.filter((line) => isFinal(line, hasArchive)).length >= 2;
}

/** Does something while the standby stands still: what it replays would cancel queries that are in its way. */
export async function whileStill<T>(server: Server, work: () => Promise<T>): Promise<T> {
  await query(server, 'select pg_wal_replay_pause()');
  const result = await work();
  await query(server, 'select pg_wal_replay_resume()');
  return result;
}

/** A slot holds WAL on its primary for a standby that is gone. */
export function warnOfSlot({slot, keepRunning}: RestoreRequest, {name}: Streaming): void {
  if (slot === undefined || keepRunning) return;
  warning(
    `Replication slot "${slot}" of ${name} keeps WAL there for the standby, which is stopped now. If it is not started again: SELECT pg_drop_replication_slot('${slot}');`,
  );
}
