import {setTimeout as sleep} from 'node:timers/promises';
import {UserError} from '../errors.js';
import {type Command, CommandError, type Host} from '../host/host.js';
import {group, info} from '../log.js';
import {placedFiles} from '../postgres/placed-conninfo.js';
import {type Programs, pathOf} from '../postgres/programs.js';
import {bareOptions} from '../postgres/psql.js';
import {parsePidFile} from './pid-file.js';
import {askedFileName} from './recovery/fetch-wal.js';
import {awaitedFile, tellEarlyEnd} from './recovery/recovery-failure.js';
import type {RecoveryRequest} from './request.js';
import {cureOf, lastWord, reasonOf} from './start-cures.js';
import type {Target} from './target.js';

/** A restored server that is about to run or runs. */
export interface Server {
  readonly host: Host;
  readonly programs: Programs;
  readonly target: Target;
  readonly socketDirectory: string;
  readonly port: number;
  /** The role that we connect as. */
  readonly user: string;
  /** Whether that role is known to be a superuser, who may turn off what hinders a check. */
  readonly isSuperuser: boolean;
  /** What its recovery was asked for, by which its failures are told. */
  readonly recovery: RecoveryRequest;
}

/**
 * Starts the server, with `pg_ctl` unless the host has a way of its own, and waits until it accepts connections. Throws a UserError with the log's last
 * lines when it does not within the time.
 */
export async function startServer(server: Server, timeoutSeconds: number): Promise<void> {
  const startedAt = performance.now();
  try {
    await runServer(server, timeoutSeconds);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const seconds = (performance.now() - startedAt) / 1000;
    const late = seconds >= timeoutSeconds ? ` within start-timeout (${timeoutSeconds} s)` : '';
    throw await startFailure(server, `The restored server did not start${late}`, error);
  }
}

async function runServer({host, programs, target}: Server, timeoutSeconds: number): Promise<void> {
  const {configDirectory} = target;
  const log = logPath(target);
  if (host.launch) {
    const path = `${target.dataDirectory}/postmaster.pid`;
    const isReady = async () => parsePidFile((await host.readText(path)) ?? '').isReady;
    const command = {program: pathOf(programs, 'postgres'), args: ['-D', configDirectory]};
    return host.launch(command, {logPath: log, timeoutSeconds, isReady});
  }
  const options = ['--wait', `--timeout=${timeoutSeconds}`, '--silent'];
  const args = ['start', `--pgdata=${configDirectory}`, `--log=${log}`, ...options];
  await host.run({program: pathOf(programs, 'pg_ctl'), args});
}

/** The failure of a server, told by the last line of its log that says why; the log's end goes into a group. */
export async function startFailure(server: Server, what: string, cause?: unknown): Promise<UserError> {
  const {host, target, programs, recovery} = server;
  const log = await readLog(server);
  const asked = (await host.readText(`${target.configDirectory}/${askedFileName}`)) ?? '';
  // What is wrong with the configuration is told to pg_ctl, before there is a log.
  const printed = cause instanceof CommandError ? cause.stderr : '';
  const lines = `${printed}${log}`.trimEnd().split('\n').slice(-40);
  await group('Log of the restored server', async () => {
    for (const line of lines) info(line);
  });
  const last = lastWord(lines);
  // What fetched a file tells more, ahead of that line.
  const isAboutArchive = last?.includes('could not restore file') ?? false;
  const why = reasonOf(lines);
  const early = tellEarlyEnd({recovery, log, asked});
  if (early) return new UserError(early.message, early.cure);
  const awaited = why ? undefined : awaitedFile({log, asked});
  if (awaited !== undefined) return waitsForArchive(what, awaited, recovery);
  return new UserError(
    `${what}${why ? `: ${why}` : '.'}`,
    cureOf(isAboutArchive ? lines : [last ?? ''], programs.major) ??
      cureOf(lines, programs.major) ??
      'The log of the restored server is in the group above; postgresql-conf overrides a setting, start-timeout gives more time.',
    {cause},
  );
}

function waitsForArchive(what: string, name: string, {restoreCommand}: RecoveryRequest): UserError {
  const source = restoreCommand === undefined ? 'wal-directory' : 'restore-command';
  return new UserError(
    `${what}. The file that it asked ${source} for last is ${name}.`,
    restoreCommand === undefined
      ? 'Recovery was still going on: give it more time with start-timeout.'
      : 'Have restore-command end by itself, with a time limit of its own (timeout 60 …), or give recovery more time with start-timeout.',
  );
}

/** What of a server stopping it takes. */
export type Stoppable = Pick<Server, 'host' | 'programs' | 'socketDirectory'> & {
  readonly target: Pick<Target, 'dataDirectory' | 'configDirectory'>;
};

/** Takes away what only a running server needs: its socket, and the secrets for its primary. */
export async function removeAccess({host, target, socketDirectory}: Stoppable): Promise<void> {
  await host.remove(socketDirectory, ...placedFiles.map((name) => `${target.configDirectory}/${name}`));
}

/** Stops the server if it runs, also after a cancellation: politely first, for its parent may be another server. */
export async function stopServer(
  {host, programs, target}: Stoppable,
  mode: 'fast' | 'immediate',
): Promise<void> {
  if (!(await appears(host, `${target.dataDirectory}/postmaster.pid`, mode === 'immediate' ? 500 : 0)))
    return;
  const stop = (how: string, seconds: number): Command => ({
    program: pathOf(programs, 'pg_ctl'),
    args: [
      'stop',
      `--pgdata=${target.dataDirectory}`,
      `--mode=${how}`,
      '--wait',
      `--timeout=${seconds}`,
      '--silent',
    ],
  });
  try {
    await host.run(stop(mode, mode === 'fast' ? 60 : 3), {cleanup: true});
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if ((await host.look(`${target.dataDirectory}/postmaster.pid`)) === 'absent') return;
    await host.run(stop('immediate', 10), {cleanup: true});
  }
}

/** A server that was just forked has not written its file yet. */
async function appears(host: Host, path: string, patienceMilliseconds: number): Promise<boolean> {
  for (let waited = 0; ; waited += 50) {
    if ((await host.look(path)) !== 'absent') return true;
    if (waited >= patienceMilliseconds) return false;
    await sleep(50);
  }
}

/** Whether the postmaster has gone, after it had started. */
export async function hasEnded({host, target}: Server): Promise<boolean> {
  return (await host.look(`${target.dataDirectory}/postmaster.pid`)) === 'absent';
}

/** All that the server has logged. */
export async function readLog({host, target}: Server): Promise<string> {
  return (await host.readText(logPath(target))) ?? '';
}

/** Where the server logs to. */
export function logPath(target: Target): string {
  return `${target.configDirectory}/server.log`;
}

/** How long a check waits for a lock. */
export const lockTimeoutSeconds = 30;

/** What a role or a database may have been given (ALTER ROLE, ALTER DATABASE … SET), and would get in our way. */
const ownSettings = [
  '-c statement_timeout=0',
  // Nobody else works here: what is locked stays so, by a transaction that recovery has stopped inside of.
  `-c lock_timeout=${lockTimeoutSeconds}s`,
  '-c idle_in_transaction_session_timeout=0',
  '-c default_transaction_read_only=off',
  // A hot standby refuses serializable transactions.
  '-c default_transaction_isolation=read\\ committed',
  '-c local_preload_libraries=',
];

/** The environment in which libpq programs reach the server; names with `=` in them are safe only here. */
export function serverEnvironment(server: Server, database: string): Readonly<Record<string, string>> {
  const unhindered = server.isSuperuser
    ? ['-c session_preload_libraries=', ...(server.programs.major >= 17 ? ['-c event_triggers=off'] : [])]
    : [];
  return {
    PGHOST: server.socketDirectory,
    PGPORT: String(server.port),
    PGUSER: server.user,
    PGDATABASE: database,
    PGCONNECT_TIMEOUT: '10',
    PGOPTIONS: [...ownSettings, ...unhindered].join(' '),
  };
}

const [rowEnd, columnEnd] = ['\u001e', '\u001f'];

/** Runs one statement in the restored server; rows of columns, as text. Throws a CommandError with psql's message. */
export async function query(
  server: Server,
  statement: string,
  database = 'template1',
): Promise<readonly (readonly string[])[]> {
  const args = [
    ...bareOptions,
    `--field-separator=${columnEnd}`,
    `--record-separator=${rowEnd}`,
    `--command=${statement}`,
  ];
  const command = {program: pathOf(server.programs, 'psql'), args, env: serverEnvironment(server, database)};
  const {stdout} = await server.host.run(command);
  const text = stdout.replace(/\n$/, '');
  return text === '' ? [] : text.split(rowEnd).map((row) => row.split(columnEnd));
}
