import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {type Cluster, freePort, postgresProgram, runAsServer} from './cluster.js';
import {run} from './command.js';
import type {Connection} from './rows.js';
import {type ActionOptions, type ActionResult, runAction, succeeded} from './runner.js';
import type {Workspace} from './workspace.js';

/** Inputs of the action by name. */
export type Inputs = Readonly<Record<string, string>>;

/** Inputs of a backup of a cluster to a directory, under the name `nightly`. */
export function backupInputs(cluster: Cluster, more: Inputs = {}): Inputs {
  return {mode: 'backup', storage: 'directory', 'backup-name': 'nightly', ...cluster.inputs, ...more};
}

/** Inputs of a restore of the backup that `backupInputs` makes. */
export function restoreInputs(more: Inputs = {}): Inputs {
  return {mode: 'restore', storage: 'directory', 'backup-name': 'nightly', ...more};
}

/** Backs a cluster up into a workspace; throws with the log when that fails. */
export async function backUp(cluster: Cluster, home: Workspace, more?: Inputs): Promise<ActionResult> {
  return succeeded(await runAction(backupInputs(cluster, more), {workspace: home}));
}

/** Restores a workspace's backup; throws with the log when that fails. */
export async function restore(
  home: Workspace,
  more?: Inputs,
  options?: ActionOptions,
): Promise<ActionResult> {
  return succeeded(await runAction(restoreInputs(more), {...options, workspace: home}));
}

/** Restores a workspace's backup and leaves the server running, on a port that was free. */
export async function restoreAndKeepRunning(home: Workspace, more?: Inputs): Promise<ActionResult> {
  return restore(home, {'keep-running': 'true', 'listen-port': String(await freePort()), ...more});
}

/** The restored server as the outputs tell it. */
export async function restoredConnection(result: ActionResult): Promise<Connection> {
  const {host = '', port} = result.outputs;
  return {host, port: Number(port), user: await askRestored(result, 'select current_user')};
}

/** Asks the restored server through the output `connection-string`, as a later step would. */
export async function askRestored({outputs}: ActionResult, statement: string): Promise<string> {
  const target = outputs['connection-string'] ?? '';
  const options = ['--no-psqlrc', '--tuples-only', '--no-align', '--no-password'];
  return (
    await run(postgresProgram('psql'), [...options, `--dbname=${target}`, `--command=${statement}`])
  ).trimEnd();
}

/** Stops the restored server as a user's later step would. */
export async function stopRestored({outputs}: ActionResult): Promise<void> {
  await runAsServer('pg_ctl', [
    'stop',
    '--mode=fast',
    '--wait',
    `--pgdata=${outputs['data-directory'] ?? ''}`,
  ]);
}

/** Where the action restores to without `data-directory`. */
export function dataDirectory(home: Workspace): string {
  return join(home.temp, 'pgdata');
}

/** The directory of the backup `nightly`. */
export function backupDirectory(home: Workspace): string {
  return join(home.directory, 'backups', 'nightly');
}

/** Writes an executable shell script that a test puts ahead of PostgreSQL's own program. */
export function writeScript(path: string, lines: readonly string[]): void {
  writeFileSync(path, `#!/bin/sh\n${lines.join('\n')}\n`, {mode: 0o755});
}
