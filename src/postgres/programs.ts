import {dirname} from 'node:path';
import {UserError} from '../errors.js';
import type {Host} from '../host/host.js';
import {majorInVersionText} from './version.js';

/** A directory of PostgreSQL's programs of one version. */
export interface Programs {
  readonly directory: string;
  readonly major: number;
  /** What the program printed for `--version`. */
  readonly version: string;
}

/** The full path of one of the programs. */
export function pathOf(programs: Programs, name: string): string {
  return `${programs.directory}/${name}`;
}

/**
 * Finds a `pg_basebackup` that can back up a server of a major version: of the same major where there is one, else
 * the next newer (an older client refuses a newer server). Throws a UserError that says how to install one.
 */
export async function findClientPrograms(
  host: Host,
  serverMajor: number,
  wanted: number | 'auto',
): Promise<Programs> {
  const found = await listPrograms(host, ['pg_basebackup']);
  const fitting = found
    .filter(({major}) => (wanted === 'auto' ? major >= serverMajor : major === wanted))
    .sort((a, b) => a.major - b.major);
  const best = fitting[0];
  if (best && best.major >= serverMajor) return best;
  if (wanted !== 'auto' && wanted < serverMajor) {
    throw new UserError(
      `pg-version: ${wanted} is older than the server (${serverMajor}), which its pg_basebackup refuses.`,
      `Set pg-version to auto or to ${serverMajor}.`,
    );
  }
  const target = wanted === 'auto' ? serverMajor : wanted;
  throw new UserError(
    `The server is PostgreSQL ${serverMajor}; ${host.name} has ${nameAll(found, 'pg_basebackup')}.`,
    `Install a client of ${target}${wanted === 'auto' ? ' or newer' : ''} in an earlier step: sudo apt-get install --yes postgresql-client-${target}`,
  );
}

/**
 * Finds the server programs of exactly a major version: data files of one major can be read by no other.
 * Throws a UserError that says how to install them.
 */
export async function findServerPrograms(
  host: Host,
  major: number,
  wanted: number | 'auto',
): Promise<Programs> {
  if (wanted !== 'auto' && wanted !== major) {
    throw new UserError(
      `pg-version is ${wanted}, and the backup is of PostgreSQL ${major}, which only a server of ${major} can start.`,
      'Set pg-version: auto, or restore another backup.',
    );
  }
  const found = await listPrograms(host, ['postgres', ...serverPrograms]);
  const best = found.find((programs) => programs.major === major);
  if (best) return best;
  throw new UserError(
    `The backup is of PostgreSQL ${major} and only a server of ${major} can start it; ${host.name} has ${nameAll(found, 'postgres')}.`,
    `Install it in an earlier step: sudo apt-get install --yes postgresql-${major}`,
  );
}

function nameAll(found: readonly Programs[], program: string): string {
  if (found.length === 0) return `no ${program} on PATH or in /usr/lib/postgresql`;
  return found.map(({version, directory}) => `${version} in ${directory}`).join(', ');
}

/** What a restore runs besides postgres; psql is in Debian's client package, in the same directory. */
const serverPrograms = ['pg_ctl', 'pg_controldata', 'pg_verifybackup', 'pg_waldump', 'psql'];

async function listPrograms(
  host: Host,
  programs: readonly [string, ...string[]],
): Promise<readonly Programs[]> {
  const onPath = await host.findOnPath(programs[0]);
  const installed = (await host.list('/usr/lib/postgresql')).map(
    (major) => `/usr/lib/postgresql/${major}/bin`,
  );
  // Links are resolved by the host: Debian's /usr/bin/pg_basebackup is one to a wrapper with rules of its own.
  const directories = new Set([...(onPath ? [dirname(onPath)] : []), ...installed.reverse()]);
  const probes = await Promise.all([...directories].map((directory) => probe(host, directory, programs)));
  return probes.filter((found) => found !== undefined);
}

async function probe(
  host: Host,
  directory: string,
  names: readonly [string, ...string[]],
): Promise<Programs | undefined> {
  const kinds = await Promise.all(names.map((name) => host.look(`${directory}/${name}`)));
  if (kinds.some((kind) => kind !== 'file')) return undefined;
  const version = (await host.run({program: `${directory}/${names[0]}`, args: ['--version']})).stdout.trim();
  const major = majorInVersionText(version);
  return major === undefined ? undefined : {directory, major, version};
}
