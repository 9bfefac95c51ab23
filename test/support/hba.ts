import {readFileSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Cluster} from './cluster.js';
import {waitUntil} from './command.js';

/** The path of a cluster's pg_hba.conf. */
export function hbaFile(cluster: Cluster): string {
  return join(cluster.dataDirectory, 'pg_hba.conf');
}

/** Gives a cluster a pg_hba.conf, and waits until its server has loaded it. */
export async function loadHba(cluster: Cluster, lines: readonly string[]): Promise<void> {
  const loadTime = 'select pg_conf_load_time()';
  const before = await cluster.sql(loadTime);
  writeFileSync(hbaFile(cluster), `${lines.join('\n')}\n`);
  await cluster.sql('select pg_reload_conf()');
  await waitUntil(async () => (await cluster.sql(loadTime)) !== before, {
    seconds: 10,
    what: 'pg_hba.conf to be loaded',
  });
}

/** Roles, memberships and pg_hba.conf with the time of its last change: equal only when nothing was changed. */
export async function accessState(cluster: Cluster): Promise<readonly unknown[]> {
  const roles = await cluster.sql('select xmin, ctid, * from pg_authid order by oid');
  const members = await cluster.sql('select xmin, ctid, * from pg_auth_members order by 4, 5');
  const {mtimeMs, ctimeMs, ino, mode, uid} = statSync(hbaFile(cluster));
  return [roles, members, readFileSync(hbaFile(cluster), 'utf8'), mtimeMs, ctimeMs, ino, mode, uid];
}
