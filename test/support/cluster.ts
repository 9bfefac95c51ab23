import {spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {describe, onTestFinished} from 'vitest';
import {run} from './command.js';
import {type DataDirectoryOptions, fillDataDirectory, makeRoot} from './data-directory.js';
import {freePort} from './free-port.js';
import {
  asServer,
  binDirectory,
  giveToServer,
  missing,
  postgresProgram,
  runAsServer,
} from './postgres-programs.js';
import {type Connection, psql, rowsOf} from './rows.js';
import {flipByte} from './workspace.js';

export {freePort} from './free-port.js';
export {asServer, binDirectory, postgresProgram, runAsServer} from './postgres-programs.js';

/** How a cluster of a test differs from a plain one. */
export interface ClusterOptions extends DataDirectoryOptions {
  /** Lines of postgresql.conf. */
  readonly settings?: readonly string[];
}

/** A PostgreSQL server that runs in a temporary directory. */
export interface Cluster {
  /** Holds the data directory, the sockets, the log and the tablespaces. */
  readonly root: string;
  readonly dataDirectory: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly superuser: string;
  /** Through the socket: trusted, whoever logs in. */
  readonly connection: Connection;
  /** Inputs of the action that reach the server over TCP as the superuser. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Runs statements as superuser and returns the rows, `|` between columns. */
  sql(statements: string, database?: string): Promise<string>;
  /** Makes a tablespace beside the data directory and returns its path. */
  tablespace(name: string): Promise<string>;
  /** Fills a database, made if need be, with pgbench's tables. */
  pgbench(database: string, scale?: number, args?: readonly string[]): Promise<void>;
  /** Flips a byte of a file in the data directory. */
  damage(path: string, offset: number): void;
  log(): string;
  /** Stops the server at once and removes the directory. */
  remove(): Promise<void>;
}

/** `describe` for tests that need PostgreSQL: without it they fail in CI, and are skipped loudly elsewhere. */
export function describeWithPostgres(subject: string, tests: () => void): void {
  if (binDirectory() !== undefined) {
    describe(subject, tests);
    return;
  }
  if (process.env.CI !== undefined) throw new Error(missing);
  process.stderr.write(`\n\n### SKIPPED: ${subject}. ${missing}\n\n`);
  describe.skip(subject, tests);
}

/** Makes and starts a cluster that is removed after the test that asks for it. */
export async function cluster(options?: ClusterOptions): Promise<Cluster> {
  const made = await createCluster(options);
  onTestFinished(() => made.remove());
  return made;
}

/**
 * Makes and starts a cluster for more than one test; the caller removes it. Plain ones are copies of one template where
 * there is one, so that they have the same system identifier; `initdbArgs`, even none, makes one of its own.
 */
export async function createCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const {superuser = 'postgres', password, settings = []} = options;
  const root = makeRoot();
  try {
    await fillDataDirectory(root, options);
    const method = password === undefined ? 'trust' : 'scram-sha-256';
    return await start(root, {superuser, settings, method});
  } catch (error) {
    rmSync(root, {recursive: true, force: true});
    throw error;
  }
}

/** Makes and starts a standby that streams from a primary, and removes it after the test. */
export async function standbyOf(primary: Cluster, settings: readonly string[] = []): Promise<Cluster> {
  const root = makeRoot();
  const {host, port, user} = primary.connection;
  const mappings = (
    await primary.sql('select pg_tablespace_location(oid) from pg_tablespace where oid > 16383')
  )
    .split('\n')
    .filter((path) => path !== '')
    .map((path, index) => `--tablespace-mapping=${path}=${join(root, 'tablespaces', `${index}`)}`);
  await runAsServer('pg_basebackup', [
    `--pgdata=${join(root, 'data')}`,
    `--dbname=host=${host} port=${port} user=${user} application_name=standby`,
    '--write-recovery-conf',
    '--checkpoint=fast',
    '--no-sync',
    ...mappings,
  ]);
  const standby = await start(root, {superuser: primary.superuser, settings, method: 'trust'});
  onTestFinished(() => standby.remove());
  return standby;
}

interface Start {
  readonly superuser: string;
  readonly settings: readonly string[];
  /** How connections over TCP log in. */
  readonly method: string;
}

async function start(root: string, {superuser, settings, method}: Start): Promise<Cluster> {
  const dataDirectory = join(root, 'data');
  const socketDirectory = join(root, 'socket');
  const port = await freePort();
  const conf = join(dataDirectory, 'postgresql.conf');
  const lines = [
    ...plainSettings,
    `port = ${port}`,
    `unix_socket_directories = '${socketDirectory}'`,
    ...settings,
  ];
  writeFileSync(conf, `${readFileSync(conf, 'utf8')}\n${lines.join('\n')}\n`);
  writeFileSync(join(dataDirectory, 'pg_hba.conf'), hba(method));
  running.add(dataDirectory);
  const logFile = join(root, 'server.log');
  try {
    await runAsServer('pg_ctl', ['start', '--wait', `--pgdata=${dataDirectory}`, `--log=${logFile}`]);
  } catch (cause) {
    throw new Error(`The server of ${root} did not start.\n${readFileSync(logFile, 'utf8')}`, {cause});
  }
  const connection = {host: socketDirectory, port, user: superuser};
  const sql = (statements: string, database?: string) => rowsOf(connection, statements, database);
  return {
    root,
    dataDirectory,
    socketDirectory,
    port,
    superuser,
    connection,
    inputs: {host: '127.0.0.1', port: String(port), user: superuser},
    sql,
    tablespace: (name) => makeTablespace(root, name, sql),
    pgbench: (database, scale = 1, args = []) => fill(connection, {database, scale, args}),
    damage: (path, offset) => flipByte(join(dataDirectory, path), offset),
    log: () => readFileSync(logFile, 'utf8'),
    async remove() {
      stopNow(dataDirectory);
      rmSync(root, {recursive: true, force: true});
    },
  };
}

/** Small, quick, and as quiet as a server can be, so that a test sees only what it does itself. */
const plainSettings = [
  "listen_addresses = '127.0.0.1'",
  'fsync = off',
  'shared_buffers = 32MB',
  'max_connections = 40',
  'autovacuum = off',
  'logging_collector = off',
  "lc_messages = 'C'",
  // A backup of a test that takes some side by side must not lose its WAL to a checkpoint of another.
  'wal_keep_size = 256MB',
];

function hba(method: string): string {
  return [
    'local all all trust',
    'local replication all trust',
    `host all all 127.0.0.1/32 ${method}`,
    `host replication all 127.0.0.1/32 ${method}`,
    '',
  ].join('\n');
}

async function makeTablespace(root: string, name: string, sql: Cluster['sql']): Promise<string> {
  const path = join(root, 'tablespaces', name);
  mkdirSync(path);
  giveToServer(path);
  await sql(`create tablespace ${quoteName(name)} location ${quoteText(path)}`);
  return path;
}

async function fill(
  connection: Connection,
  {database, scale, args}: {database: string; scale: number; args: readonly string[]},
): Promise<void> {
  const name = quoteText(database);
  const create = `select format('create database %I', ${name}) where not exists (select from pg_database where datname = ${name}) \\gexec`;
  await psql(connection, create);
  await run(postgresProgram('pgbench'), ['--initialize', '--quiet', `--scale=${scale}`, ...args], {
    env: {
      PGHOST: connection.host,
      PGPORT: String(connection.port),
      PGUSER: connection.user,
      PGDATABASE: database,
    },
  });
}

/** An SQL identifier in quotes. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** An SQL string constant. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const running = new Set<string>();

// Even when a worker ends early, no server outlives it; its directory is the cluster's own.
process.once('exit', () => {
  for (const dataDirectory of running) {
    stopNow(dataDirectory);
    rmSync(dirname(dataDirectory), {recursive: true, force: true});
  }
});

/** Synchronous, so that it also works while the process ends. */
function stopNow(dataDirectory: string): void {
  const args = ['stop', '--mode=immediate', '--wait', `--pgdata=${dataDirectory}`];
  const [program, rest] = asServer(postgresProgram('pg_ctl'), args);
  if (existsSync(join(dataDirectory, 'postmaster.pid'))) spawnSync(program, [...rest], {cwd: tmpdir()});
  running.delete(dataDirectory);
}
