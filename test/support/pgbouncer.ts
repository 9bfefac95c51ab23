import {spawn} from 'node:child_process';
import {chmodSync, existsSync, readFileSync, writeFileSync} from 'node:fs';
import {connect} from 'node:net';
import {join} from 'node:path';
import {describe, onTestFinished} from 'vitest';
import {asServer, type Cluster, describeWithPostgres, freePort} from './cluster.js';
import {run, waitUntil} from './command.js';

/** Who may log in at a pooler, and how it logs in at its server. */
export interface PoolerOptions {
  /** The password of each user who may come; without it everybody may. */
  readonly users?: Readonly<Record<string, string>> | undefined;
}

/** A PgBouncer that runs. */
export interface Pooler {
  /** On the loopback interface. */
  readonly port: number;
  log(): string;
}

const program = '/usr/sbin/pgbouncer';

const missing = 'PgBouncer is not installed: script/setup';

/** `describe` for tests that need PgBouncer besides PostgreSQL; without them as `describeWithPostgres`. */
export function describeWithPooler(subject: string, tests: () => void): void {
  if (existsSync(program)) {
    describeWithPostgres(subject, tests);
    return;
  }
  if (process.env.CI !== undefined) throw new Error(missing);
  process.stderr.write(`\n\n### SKIPPED: ${subject}. ${missing}\n\n`);
  describe.skip(subject, tests);
}

/** PgBouncer's version as a number such as 118 for 1.18. */
export async function pgbouncerVersion(): Promise<number> {
  const [, major = '', minor = ''] = /PgBouncer (\d+)\.(\d+)/.exec(await run(program, ['--version'])) ?? [];
  return Number(major) * 100 + Number(minor);
}

/** Puts PgBouncer in front of a server until the end of the test. */
export async function poolerOf(cluster: Cluster, {users}: PoolerOptions = {}): Promise<Pooler> {
  const port = await freePort();
  const path = (name: string) => join(cluster.root, `${port}.${name}`);
  const lines = Object.entries(users ?? {}).map(([user, password]) => `"${user}" "${password}"\n`);
  writeFileSync(path('users'), lines.join(''));
  writeFileSync(path('ini'), configuration(cluster, {port, users, path}));
  writeFileSync(path('log'), '');
  for (const name of ['users', 'ini']) chmodSync(path(name), 0o644);
  // PgBouncer runs as another account.
  chmodSync(path('log'), 0o666);
  const [command, args] = asServer(program, ['-q', path('ini')]);
  const child = spawn(command, [...args], {stdio: 'ignore', cwd: '/'});
  const ended = new Promise((resolve) => child.once('close', resolve));
  onTestFinished(async () => {
    child.kill();
    await ended;
  });
  await waitUntil(() => answers(port), {seconds: 30, what: 'PgBouncer to listen'});
  return {port, log: () => readFileSync(path('log'), 'utf8')};
}

function configuration(
  {connection}: Cluster,
  {port, users, path}: {port: number; path: (name: string) => string} & PoolerOptions,
): string {
  const server = `host=${connection.host} port=${connection.port}`;
  return `
[databases]
* = ${server}${users ? '' : ` user=${connection.user}`}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = ${users ? 'scram-sha-256' : 'any'}
auth_file = ${path('users')}
logfile = ${path('log')}
ignore_startup_parameters = extra_float_digits
`;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
