import {setTimeout as sleep} from 'node:timers/promises';
import {UserError} from '../errors.js';
import {type Command, CommandError, type Host} from '../host/host.js';
import {group, info} from '../log.js';
import {type Programs, pathOf} from '../postgres/programs.js';
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
}

/**
 * Starts the server with `pg_ctl` and waits until it accepts connections. Throws a UserError with the log's last
 * lines when it does not within the time.
 */
export async function startServer(server: Server, timeoutSeconds: number): Promise<void> {
  const {host, programs, target} = server;
  const args = [
    'start',
    `--pgdata=${target.configDirectory}`,
    `--log=${logPath(target)}`,
    '--wait',
    `--timeout=${timeoutSeconds}`,
    '--silent',
  ];
  const startedAt = performance.now();
  try {
    await host.run({program: pathOf(programs, 'pg_ctl'), args});
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const seconds = (performance.now() - startedAt) / 1000;
    const late = seconds >= timeoutSeconds ? ` within start-timeout (${timeoutSeconds} s)` : '';
    throw await startFailure(server, `The restored server did not start${late}`, error);
  }
}

/** The failure of a server, told by the last line of its log that says why; the log's end goes into a group. */
export async function startFailure(
  {host, target}: Server,
  what: string,
  cause?: unknown,
): Promise<UserError> {
  const lines = ((await host.readText(logPath(target))) ?? '').trimEnd().split('\n').slice(-40);
  await group('Log of the restored server', async () => {
    for (const line of lines) info(line);
  });
  const why = lines
    .findLast((line) => /(FATAL|PANIC|ERROR):/.test(line))
    ?.replace(/^.*?(FATAL|PANIC|ERROR): +/, '$1: ');
  return new UserError(
    `${what}${why ? `: ${why}` : '.'}`,
    'The log of the restored server is in the group above; postgresql-conf overrides a setting, start-timeout gives more time.',
    {cause},
  );
}

/** Stops the server if it runs, also after a cancellation: politely first, for its parent may be another server. */
export async function stopServer(
  {host, programs, target}: Server,
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

/** Where the server logs to. */
export function logPath(target: Target): string {
  return `${target.configDirectory}/server.log`;
}

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
    PGOPTIONS: ['-c statement_timeout=0', '-c lock_timeout=0', ...unhindered].join(' '),
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
    '--no-psqlrc',
    '--no-password',
    '--quiet',
    '--tuples-only',
    '--no-align',
    `--field-separator=${columnEnd}`,
    `--record-separator=${rowEnd}`,
    '--set=ON_ERROR_STOP=1',
    `--command=${statement}`,
  ];
  const command = {program: pathOf(server.programs, 'psql'), args, env: serverEnvironment(server, database)};
  const {stdout} = await server.host.run(command);
  const text = stdout.replace(/\n$/, '');
  return text === '' ? [] : text.split(rowEnd).map((row) => row.split(columnEnd));
}
