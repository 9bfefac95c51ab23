import {type Command, CommandError, type Host, type Output} from '../host/host.js';
import {aptFailure} from './apt-failures.js';

/** apt-get on the runner, with the rights to install. */
export interface Apt {
  /** Distribution, release and architecture: `debian-trixie-amd64`. */
  readonly platform: string;
  /** The version that would be installed; undefined where no package source has the package, as far as is known. */
  candidate(name: string): Promise<string | undefined>;
  /** Asks all package sources what they have; returns what went wrong, which need not matter. */
  update(): Promise<string>;
  /** Adds PostgreSQL's own package sources, for good. Throws a CommandError; then they are not added. */
  addRepository(): Promise<void>;
  /** Downloads a package, and what it needs and is missing, into a directory. Throws a CommandError. */
  download(name: string, directory: string): Promise<void>;
  /** Installs package files, downloading only what they need besides and is missing. Throws a CommandError. */
  install(files: readonly string[]): Promise<void>;
}

const variables = [
  'LC_ALL=C',
  'DEBIAN_FRONTEND=noninteractive',
  // Ubuntu's needrestart would restart what uses a library that is replaced.
  'NEEDRESTART_SUSPEND=1',
  'NEEDRESTART_MODE=l',
];

const options = [
  '--yes',
  '--quiet=2',
  '--no-install-recommends',
  ...[
    'DPkg::Lock::Timeout=120',
    'Acquire::Retries=2',
    'Acquire::http::Timeout=20',
    'Acquire::https::Timeout=20',
    // Files that the user changed stay, without a question.
    'Dpkg::Options::=--force-confdef',
    'Dpkg::Options::=--force-confold',
  ].map((option) => `--option=${option}`),
];

/**
 * Runs apt-get so that no cluster is made, and nothing that runs is restarted (createcluster.conf of postgresql-common;
 * invoke-rc.d). Its output goes through a file, and its end is not ours: a package half installed is worse than a run
 * that is cancelled late.
 */
const guarded = `set -eu
directory=/etc/postgresql-common/createcluster.d
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
[ -d "$directory" ] && newDirectory= || newDirectory=yes
[ -e "$policy" ] && newPolicy= || newPolicy=yes
undo() {
  status=$?
  rm -f "$directory/pg-basebackup-action.conf" "$log"
  [ -z "$newPolicy" ] || rm -f "$policy"
  [ -z "$newDirectory" ] || [ "$status" = 0 ] || rmdir -p "$directory" 2>/dev/null || :
  exit "$status"
}
trap undo EXIT
mkdir -p "$directory"
echo 'create_main_cluster = false' >"$directory/pg-basebackup-action.conf"
if [ -n "$newPolicy" ]; then
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod 755 "$policy"
fi
apt-get install "$@" >"$log" 2>&1 || { status=$?; cat "$log" >&2; exit "$status"; }`;

const repositoryScript = '/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh';
const certificates = '/etc/ssl/certs/ca-certificates.crt';

/**
 * The script also fails because of other sources, which does not matter where the package can be had now. A source
 * that was added and cannot be used would be in the way of every later apt-get update.
 */
const addSources = `set -eu
cd /etc/apt/sources.list.d
there=" $(echo *) "
if "$1" -y >&2; then exit 0; fi
if apt-cache policy "$2" | grep -q 'Candidate: [0-9]'; then exit 0; fi
for file in pgdg.*; do
  case $there in *" $file "*) ;; *) rm -f "$file" ;; esac
done
exit 1`;

/** Opens apt-get on the runner. Throws a UserError where there is none, or where we may not install the package. */
export async function openApt(runner: Host, wanted: string): Promise<Apt> {
  if ((await runner.findOnPath('apt-get')) === undefined)
    throw aptFailure(wanted, 'the runner has no apt-get');
  const become = await findPrivilege(runner, wanted);
  const asRoot = (...args: readonly string[]): Command => {
    const [program = '', ...before] = [...become, 'env', ...variables];
    return {program, args: [...before, ...args]};
  };
  const install = (...args: readonly string[]) =>
    runner.run(asRoot('sh', '-c', guarded, 'sh', ...options, ...args), {cleanup: true});
  return {
    platform: await platformOf(runner),
    candidate: (name) => candidateOf(runner, name),
    update: () => update(runner, asRoot('apt-get', 'update', ...options)),
    async addRepository() {
      const needs = [repositoryScript, certificates];
      const there = await Promise.all(needs.map((path) => runner.look(path)));
      if (there.includes('absent')) await install('--no-upgrade', 'postgresql-common', 'ca-certificates');
      await runner.run(asRoot('sh', '-c', addSources, 'sh', repositoryScript, wanted));
    },
    async download(name, directory) {
      await runner.makeDirectory(`${directory}/partial`);
      // Not as root, so that the files are ours; which needs no locks.
      const own = ['Debug::NoLocking=1', `Dir::Cache::archives=${directory}`];
      const args = ['install', ...options, '--download-only', ...own.map((one) => `--option=${one}`), name];
      await runner.run({program: 'apt-get', args});
      await runner.remove(`${directory}/partial`);
    },
    async install(files) {
      await install(...files);
    },
  };
}

/** What a command has to begin with to run as root. */
async function findPrivilege(runner: Host, wanted: string): Promise<readonly string[]> {
  const {stdout: uid} = await runner.run({program: 'id', args: ['-u']});
  if (uid.trim() === '0') return [];
  const refused = (why: string) =>
    aptFailure(wanted, `the runner's account ${runner.user} is not root, and ${why}`);
  if ((await runner.findOnPath('sudo')) === undefined) throw refused('there is no sudo');
  try {
    await runner.run({program: 'sudo', args: ['-n', 'true']});
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw refused('sudo asks for a password');
  }
  return ['sudo', '-n'];
}

/** By os-release(5), which Debian and all that are made of it have. */
async function platformOf(runner: Host): Promise<string> {
  const text = (await runner.readText('/etc/os-release')) ?? '';
  const field = (name: string) => new RegExp(`^${name}="?([^"\\n]*)`, 'm').exec(text)?.[1];
  const {stdout: architecture} = await runner.run({program: 'dpkg', args: ['--print-architecture']});
  const release = field('VERSION_CODENAME') ?? field('VERSION_ID') ?? 'unknown';
  return `${field('ID') ?? 'linux'}-${release}-${architecture.trim()}`;
}

async function candidateOf(runner: Host, name: string): Promise<string | undefined> {
  const {stdout} = await runner.run({program: 'apt-cache', args: ['policy', name]});
  return parseCandidate(stdout);
}

/** What `apt-cache policy` tells of one package: the version that apt-get would install. */
export function parseCandidate(policy: string): string | undefined {
  const version = /^ {2}Candidate: (\S+)$/m.exec(policy)?.[1];
  return version === '(none)' ? undefined : version;
}

/** apt waits for the lock of dpkg as long as it is told, but not for that of the lists (apt 2.6). */
async function update(runner: Host, command: Command): Promise<string> {
  for (let attemptsLeft = 24; ; attemptsLeft -= 1) {
    const {stderr} = await runner.run(command).catch(asOutput);
    if (attemptsLeft === 0 || !/Could not get lock/.test(stderr)) return stderr.trim();
    await runner.run({program: 'sleep', args: ['5']});
  }
}

/** A source that fails need not be the one that is needed. */
function asOutput(error: unknown): Output {
  if (error instanceof CommandError) return {stdout: '', stderr: error.stderr};
  throw error;
}
