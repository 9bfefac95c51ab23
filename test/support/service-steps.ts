import {setTimeout as sleep} from 'node:timers/promises';
import {expect} from 'vitest';
import {waitUntil} from './command.js';
import {checksumOfAllRows, checksumOfRows} from './rows.js';
import {type ActionResult, runAction, succeeded} from './runner.js';
import {type Service, type ServiceImage, service} from './service.js';
import type {Inputs} from './steps.js';
import type {Workspace} from './workspace.js';

/** The role that backups are taken as. */
export const replicator = {user: 'backup role', password: "it's a 'secret' 100% \\ ü"} as const;

/** Inputs of a step that prepares a service for backups. */
export function prepareInputs(of: Service, more: Inputs = {}): Inputs {
  return {mode: 'prepare', container: of.id, ...replicator, ...more};
}

/** Inputs of a backup of a service to a directory, under the name `nightly`; needs `prepareInputs` first. */
export function serviceBackupInputs(of: Service, more: Inputs = {}): Inputs {
  return {
    mode: 'backup',
    storage: 'directory',
    'backup-name': 'nightly',
    container: of.id,
    ...replicator,
    ...more,
  };
}

/** Inputs of a restore of the backup `nightly` in a service's container. */
export function serviceRestoreInputs(of: Service, more: Inputs = {}): Inputs {
  return {mode: 'restore', storage: 'directory', 'backup-name': 'nightly', container: of.id, ...more};
}

/** Prepares a service and backs it up into a workspace; throws with the log when that fails. */
export async function backUpService(of: Service, home: Workspace, more?: Inputs): Promise<ActionResult> {
  succeeded(await runAction(prepareInputs(of), {workspace: home}));
  return succeeded(await runAction(serviceBackupInputs(of, more), {workspace: home}));
}

/** Fills a service's database `shop` with rows that are worth comparing. */
export async function fillShop(of: Service): Promise<void> {
  await of.sql('create database shop');
  await of.sql(
    `create table orders (id int primary key, note text, large bytea);
     insert into orders select n, md5(n::text), convert_to(repeat(md5(n::text), 200), 'UTF8')
       from generate_series(1, 2000) n;
     create index on orders (note)`,
    'shop',
  );
}

/** Every row of every table of a service's own server. */
export function checksumOfService(of: Service): Promise<string> {
  return checksumOfRows((statements, database) => of.sql(statements, database));
}

/** Every row of every table of a restored server that is kept running, asked from the runner. */
export function checksumOfRestored({outputs}: ActionResult): Promise<string> {
  const connection = {
    host: outputs.host ?? '',
    port: Number(outputs.port),
    user: /user='([^']*)'/.exec(outputs['connection-string'] ?? '')?.[1] ?? '',
  };
  return checksumOfAllRows(connection);
}

/** What a run of the action could leave in a container: files outside of the data directory, and processes. */
export async function traces(of: Service): Promise<readonly string[]> {
  const {dataDirectory} = of.of;
  const own = new RegExp(`^${dataDirectory}/(?!pg-basebackup-action)`);
  const files = await of.files('/tmp', '/var/lib/postgresql');
  const processes = await strangers(of);
  return [
    ...files.filter((path) => !own.test(path) && !`${dataDirectory}/`.startsWith(`${path}/`)),
    ...processes.map(({args, state}) => `process ${state} ${args.join(' ')}`),
  ];
}

/** Processes that are none of the server's. One of those that just ends has no name any more: it is gone a moment later. */
async function strangers(of: Service) {
  const look = async () => (await of.processes()).filter(({args}) => !/^postgres(:| |$)/.test(args[0] ?? ''));
  const seen = await look();
  if (seen.length === 0) return seen;
  await sleep(1000);
  return (await look()).filter(({pid}) => seen.some((one) => one.pid === pid));
}

/** A session of a service's server that stays open, as another step's would. */
export interface OpenSession {
  /** Ends it and throws when the server has ended it before. */
  close(): Promise<void>;
}

/** Opens a session in a service's server that sleeps until it is closed. */
export async function openSession(of: Service): Promise<OpenSession> {
  const name = `session ${Math.random()}`;
  const statements = `set application_name = '${name}'; select pg_sleep(600)`;
  const args = ['psql', '--no-psqlrc', '--set=ON_ERROR_STOP=1', `--username=${of.superuser}`];
  const sleeping = of
    .exec([...args, '--dbname=postgres', `--command=${statements}`], {user: 'postgres'})
    .catch((error: unknown) => String(error));
  const count = () => of.sql(`select count(*) from pg_stat_activity where application_name = '${name}'`);
  while ((await count()) !== '1') await new Promise((resolve) => setTimeout(resolve, 50));
  return {
    async close() {
      const ended = await of.sql(
        `select pg_cancel_backend(pid) from pg_stat_activity where application_name = '${name}'`,
      );
      const reason = await sleeping;
      if (ended !== 't') throw new Error(`The server ended the session: ${reason}`);
    },
  };
}

/** A service with something to copy for seconds, and its backup. */
export async function largeService(of: ServiceImage, home: Workspace): Promise<Service> {
  const own = await service(of);
  await own.sql(`
    create table noise as
    select string_agg(md5(random()::text), '') from generate_series(1, 400000) n group by n % 40000`);
  await backUpService(own, home);
  return own;
}

/** Does something, and sees that the service's server and its sessions know nothing of it. */
export async function undisturbed(own: Service, work: () => Promise<void>): Promise<void> {
  const startedAt = await own.startTime();
  const session = await openSession(own);
  const before = await traces(own);
  await work();
  const left = async () => (await traces(own)).filter((trace) => !before.includes(trace));
  await waitUntil(async () => (await left()).length === 0, {
    seconds: 10,
    what: 'the container to be as before',
  }).catch(async () => expect(await left()).toEqual([]));
  // What a postmaster takes for a crash, it takes for one within a moment.
  await sleep(300);
  await session.close();
  expect(await own.startTime()).toBe(startedAt);
  expect(await own.logs()).not.toMatch(/terminating any other active server processes/);
}
