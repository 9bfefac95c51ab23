import {dirname} from 'node:path';
import {type Host, shell} from '../host/host.js';
import {majorInVersionText} from './version.js';

/** A directory of PostgreSQL's programs of one version. */
export interface Programs {
  readonly directory: string;
  readonly major: number;
  /** What the program printed for `--version`. */
  readonly version: string;
  /** They are not there yet: a dry run only says that they would be installed. */
  readonly isToBeInstalled?: true;
}

/** The full path of one of the programs. */
export function pathOf(programs: Programs, name: string): string {
  return `${programs.directory}/${name}`;
}

/** What a backup runs. */
export const clientPrograms = ['pg_basebackup'] as const;

/** What a restore runs; psql is in Debian's client package, in the same directory. */
export const serverPrograms = [
  'postgres',
  'pg_ctl',
  'pg_controldata',
  'pg_verifybackup',
  'pg_waldump',
  'psql',
] as const;

/** Where packages put the programs of a version, `*` standing for what names it. */
export const places: readonly string[] = [
  // Debian, Ubuntu, and PostgreSQL's own packages for them.
  '/usr/lib/postgresql/*/bin',
  // PostgreSQL's own RPM packages.
  '/usr/pgsql-*/bin',
  // Homebrew, on macOS and Linux.
  '/opt/homebrew/opt/postgresql@*/bin',
  '/usr/local/opt/postgresql@*/bin',
  '/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin',
  '/Applications/Postgres.app/Contents/Versions/*/bin',
];

/**
 * Writes each directory, the first argument ahead of the places, in which all programs of the other arguments are, with
 * what the first of them prints for its version. One that cannot even tell it, such as one that lacks a library, is none.
 */
const select = `first=$1
shift
for directory in "$first" ${places.join(' ')}; do
  for program; do [ -x "$directory/$program" ] || continue 2; done
  version=$("$directory/$1" --version </dev/null 2>/dev/null) || continue
  version=$(printf '%s\\n' "$version" | grep -F '(PostgreSQL)') && printf '%s\\t%s\\n' "$directory" "$version"
done
:`;

/** Finds every directory of a host that has all of the programs: that on PATH first, then those of packages. */
export async function listPrograms(
  host: Host,
  programs: readonly [string, ...string[]],
): Promise<readonly Programs[]> {
  const onPath = await host.findOnPath(programs[0]);
  // Links are resolved by the host: Debian's /usr/bin/pg_basebackup is one to a wrapper with rules of its own.
  const first = onPath === undefined ? '/nonexistent' : dirname(onPath);
  const {stdout} = await host.run(shell(select, [first, ...programs]));
  const found = new Map<string, Programs>();
  for (const line of stdout.split('\n')) {
    const [directory = '', version = ''] = line.split('\t');
    const major = majorInVersionText(version);
    if (major !== undefined && !found.has(directory)) found.set(directory, {directory, major, version});
  }
  return [...found.values()];
}

/**
 * The client to take for a server: of the version wanted, else of the server's own, else the next newer; never an
 * older one, which the server refuses. Undefined where none fits. Of equals the first.
 */
export function chooseClient(
  found: readonly Programs[],
  serverMajor: number,
  wanted: number | 'auto',
): Programs | undefined {
  const [best] = found
    .filter(({major}) => major >= serverMajor && (wanted === 'auto' || major === wanted))
    .sort((a, b) => a.major - b.major);
  return best;
}
