import {chownSync, existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {run} from './command.js';

/** PostgreSQL's programs: PG_BINDIR, or the newest version under /usr/lib/postgresql. */
export function binDirectory(): string | undefined {
  const installed = '/usr/lib/postgresql';
  const versions = existsSync(installed)
    ? readdirSync(installed)
        .map(Number)
        .sort((a, b) => b - a)
    : [];
  const candidates = [process.env.PG_BINDIR, ...versions.map((version) => `${installed}/${version}/bin`)];
  return candidates.find((path) => path !== undefined && existsSync(join(path, 'initdb')));
}

/** The full path of one of PostgreSQL's programs. */
export function postgresProgram(name: string): string {
  const directory = binDirectory();
  if (directory === undefined) throw new Error(missing);
  return join(directory, name);
}

/** What to do where they are absent. */
export const missing = 'PostgreSQL is not installed: apt-get install postgresql, or set PG_BINDIR.';

/** Runs one of PostgreSQL's programs as the account that servers run as: `postgres` when we are root. */
export function runAsServer(program: string, args: readonly string[]): Promise<string> {
  const [first, rest] = asServer(postgresProgram(program), args);
  return run(first, rest, {env: {LC_ALL: 'C.UTF-8'}});
}

const isRoot = process.getuid?.() === 0;

/** A command line of one of PostgreSQL's programs as the account that servers run as. */
export function asServer(program: string, args: readonly string[]): [string, readonly string[]] {
  return isRoot ? ['runuser', ['--user', 'postgres', '--', program, ...args]] : [program, args];
}

/** Gives a path to the account that servers run as. */
export function giveToServer(path: string): void {
  if (!isRoot) return;
  const [, , uid, gid] =
    readFileSync('/etc/passwd', 'utf8')
      .match(/^postgres:.*$/m)?.[0]
      .split(':') ?? [];
  chownSync(path, Number(uid), Number(gid));
}
