import {expect} from 'vitest';
import type {Cluster} from './cluster.js';
import {processesOf} from './processes.js';
import {listAll, type Workspace} from './workspace.js';

/** What a backup that did not come about must not leave: files, processes, a slot or a WAL sender. */
export async function expectNothingLeft(home: Workspace, source: Cluster): Promise<void> {
  expectNoFiles(home);
  expect(processesOf(home.root)).toEqual([]);
  await expectIdle(source);
}

/** No partial backup and no password file. */
export function expectNoFiles(home: Workspace): void {
  expect(listAll(home.directory).filter((path) => path !== 'backups')).toEqual([]);
  expect(listAll(home.temp)).toEqual([]);
}

/** No slot, and no WAL sender, as soon as the server has noticed. */
export async function expectIdle(source: Cluster): Promise<void> {
  const left = `select 'slot' from pg_replication_slots union all
                select 'sender' from pg_stat_activity where backend_type = 'walsender'`;
  await expect.poll(() => source.sql(left), {timeout: 30_000}).toBe('');
}
