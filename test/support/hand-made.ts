import {spawnSync} from 'node:child_process';
import {mkdirSync, readdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {asServer, type Cluster, postgresProgram} from './cluster.js';
import {run} from './command.js';

/** Takes a backup with pg_basebackup itself, as somebody does without this action. */
export async function takeByHand(
  cluster: Cluster,
  directory: string,
  args: readonly string[] = ['--format=tar'],
): Promise<void> {
  const {host, port, user} = cluster.connection;
  const server = [`--host=${host}`, `--port=${port}`, `--username=${user}`];
  await run(postgresProgram('pg_basebackup'), [
    `--pgdata=${directory}`,
    ...server,
    '--checkpoint=fast',
    '--no-sync',
    ...args,
  ]);
}

/** Unpacks an archive of a backup, lets `change` work on the files, and packs them again. */
export async function repack(archive: string, change: (root: string) => unknown): Promise<void> {
  const root = `${archive}.files`;
  mkdirSync(root);
  await run('tar', ['--extract', `--file=${archive}`, `--directory=${root}`]);
  await change(root);
  // As pg_basebackup does, and not as `tar .` does: without `./` before each name.
  await run('tar', [
    '--create',
    '--format=ustar',
    '--sort=name',
    `--file=${archive}`,
    `--directory=${root}`,
    ...readdirSync(root).sort(),
  ]);
  rmSync(root, {recursive: true});
}

/** What PostgreSQL's own pg_verifybackup says of a backup in plain format: its exit status and its messages. */
export function verifiedByPostgres(directory: string): {
  readonly status: number | null;
  readonly said: string;
} {
  const [program, args] = asServer(postgresProgram('pg_verifybackup'), [directory]);
  const {status, stdout, stderr} = spawnSync(program, [...args], {encoding: 'utf8', cwd: '/'});
  return {status, said: stdout + stderr};
}

/** The only file of a directory whose name fits. */
export function theOnly(directory: string, pattern: RegExp): string {
  const names = readdirSync(directory).filter((name) => pattern.test(name));
  if (names.length !== 1 || names[0] === undefined)
    throw new Error(`${directory} has ${names.length} files that fit ${pattern}: ${names.join(', ')}`);
  return join(directory, names[0]);
}
