import type {Host} from '../host/host.js';
import {info} from '../log.js';
import type {Programs} from '../postgres/programs.js';
import type {RestoreResult} from './restore.js';
import {removeAccess, stopServer} from './server.js';

/** What the end of a job needs to know of a server that was kept running for its later steps. A value for JSON. */
export interface KeptServer {
  /** Id or name of the container that it runs in. */
  readonly container?: string;
  readonly programs: Programs;
  /** The server's process number where it runs, as postmaster.pid tells it. */
  readonly pid: string;
  readonly dataDirectory: string;
  readonly configDirectory: string;
  readonly socketDirectory: string;
}

/** The server that a restore leaves running for the job, or undefined; a standby is there to stay. */
export async function keptServer(result: RestoreResult): Promise<KeptServer | undefined> {
  if (result.dryRun || !result.request.keepRunning || result.request.primary) return undefined;
  const {server, request} = result;
  const {dataDirectory, configDirectory} = server.target;
  const pid = await readPid(server.host, dataDirectory);
  if (pid === undefined) return undefined;
  return {
    ...(request.container !== undefined && {container: request.container}),
    programs: server.programs,
    pid,
    dataDirectory,
    configDirectory,
    socketDirectory: server.socketDirectory,
  };
}

async function readPid(host: Host, dataDirectory: string): Promise<string | undefined> {
  return (await host.readText(`${dataDirectory}/postmaster.pid`))?.split('\n')[0]?.trim();
}

/**
 * Stops a kept server and removes its socket; its data stay. Nothing is done when a step of the job has stopped it, or
 * has handed its data on to another server.
 */
export async function endKept(kept: KeptServer, host: Host): Promise<void> {
  const {dataDirectory, configDirectory, socketDirectory, programs, pid} = kept;
  if ((await readPid(host, dataDirectory)) !== pid) return;
  const server = {host, programs, socketDirectory, target: {dataDirectory, configDirectory}};
  await stopServer(server, 'fast');
  await removeAccess(server);
  info(`The restored server on ${host.name} is stopped; its data stay in ${dataDirectory}.`);
}
