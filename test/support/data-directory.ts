import {chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {run} from './command.js';
import {giveToServer, runAsServer} from './postgres-programs.js';

/** How the data directory of a cluster differs from a plain one. */
export interface DataDirectoryOptions {
  readonly initdbArgs?: readonly string[];
  /** The bootstrap superuser; `postgres` without it. */
  readonly superuser?: string;
  /** The superuser's password; with it, TCP connections must give it (scram-sha-256). */
  readonly password?: string;
}

/** Makes the directory of a cluster, with places for its sockets and tablespaces. */
export function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), 'cluster-'));
  chmodSync(root, 0o755);
  giveToServer(root);
  for (const name of ['socket', 'tablespaces']) {
    mkdirSync(join(root, name));
    giveToServer(join(root, name));
  }
  return root;
}

/** Makes the data directory in it: a copy of the template where it is plain and there is one, else by initdb. */
export async function fillDataDirectory(root: string, options: DataDirectoryOptions): Promise<void> {
  const template = process.env[templateVariable];
  const isPlain = [options.superuser, options.password, options.initdbArgs].every(
    (option) => option === undefined,
  );
  if (!isPlain || template === undefined) return initialise(root, options);
  await run('cp', ['--archive', template, join(root, 'data')]);
}

async function initialise(
  root: string,
  {superuser = 'postgres', password, initdbArgs = []}: DataDirectoryOptions,
): Promise<void> {
  const passwordFile = join(root, 'password');
  if (password !== undefined) writeFileSync(passwordFile, password);
  await runAsServer('initdb', [
    `--pgdata=${join(root, 'data')}`,
    `--username=${superuser}`,
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--auth=trust',
    '--no-sync',
    '--no-instructions',
    ...(password === undefined ? [] : [`--pwfile=${passwordFile}`]),
    ...initdbArgs,
  ]);
  rmSync(passwordFile, {force: true});
}

/** The environment variable that names the data directory of the template, for the workers of a run. */
export const templateVariable = 'TEST_CLUSTER_TEMPLATE';

/** Makes the data directory that plain clusters are copied from. */
export async function makeTemplate(): Promise<{readonly dataDirectory: string; remove(): void}> {
  const root = makeRoot();
  await initialise(root, {});
  return {dataDirectory: join(root, 'data'), remove: () => rmSync(root, {recursive: true, force: true})};
}
