import {UserError} from '../errors.js';
import {CommandError, type Host} from '../host/host.js';
import {group, info} from '../log.js';
import {type Apt, openApt} from './apt.js';
import {aptFailure} from './apt-failures.js';
import {keepPackages, restorePackages} from './package-cache.js';

/** Gets programs that the runner lacks. */
export interface Installer {
  /** Throws a UserError with the cure where a package could not be installed, as far as one can tell beforehand. */
  check(name: string): Promise<void>;
  /** Installs a package. Throws a UserError with the cure. */
  install(name: string): Promise<void>;
}

/** The package of Debian, Ubuntu and PostgreSQL itself that has the programs of a major version. */
export function packageOf(what: 'client' | 'server', major: number): string {
  return `postgresql-${what === 'client' ? 'client-' : ''}${major}`;
}

/** The package that makes the account `postgres`. */
export const accountPackage = 'postgresql-common';

/**
 * Installs with apt-get: from GitHub's cache, if it has what this month's first run has downloaded; else from the
 * configured package sources, and where those lack it, from PostgreSQL's own.
 */
export function aptInstaller(runner: Host, temporaryDirectory: string): Installer {
  const directory = `${temporaryDirectory}/pg-basebackup-action-packages`;
  return {
    async check(name) {
      await openApt(runner, name);
    },
    install: (name) =>
      group(`Install ${name}`, async () => {
        await runner.remove(directory);
        await runner.makeDirectory(directory);
        try {
          await install({runner, directory, apt: await openApt(runner, name), name});
        } finally {
          await runner.remove(directory);
        }
      }),
  };
}

/** What an installation works with. */
interface Installation {
  readonly runner: Host;
  readonly apt: Apt;
  readonly name: string;
  /** For package files, empty; removed afterwards. */
  readonly directory: string;
}

async function install(installation: Installation): Promise<void> {
  const {apt, name, directory} = installation;
  const always = `pg-basebackup-action-${apt.platform}-${name}-`;
  // Renewed every month: programs that are never updated have bugs that are known.
  const thisMonth = `${always}${new Date().toISOString().slice(0, 7)}-`;
  if (await installFromCache(installation, [thisMonth])) return;
  const version = await download(installation).catch(async (error: unknown) => {
    if (!(error instanceof UserError)) throw error;
    if (await installFromCache(installation, [always])) return undefined;
    throw error;
  });
  if (version === undefined) return;
  await installFiles(installation).catch(failed(name));
  info(`Installed ${name} ${version}.`);
  if ((await installation.runner.list(directory)).length > 0)
    await keepPackages(directory, `${thisMonth}${version}`);
}

async function installFromCache(
  installation: Installation,
  prefixes: readonly [string, ...string[]],
): Promise<boolean> {
  const {runner, directory, name} = installation;
  const key = await restorePackages(directory, prefixes);
  if (key === undefined) return false;
  try {
    await installFiles(installation);
    info(`Installed ${name} from the cache, without a download: ${key}`);
    return true;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    info(`The packages of the cache do not fit this machine: ${error.message}`);
    await runner.remove(directory);
    await runner.makeDirectory(directory);
    return false;
  }
}

async function installFiles({apt, runner, directory}: Installation): Promise<void> {
  const files = (await runner.list(directory)).filter((file) => file.endsWith('.deb'));
  await apt.install(files.map((file) => `${directory}/${file}`));
}

/** Downloads the package and what it needs, and returns its version. Throws a UserError. */
async function download({apt, name, directory}: Installation): Promise<string> {
  const known = await apt.candidate(name);
  if (known !== undefined && (await succeeds(() => apt.download(name, directory)))) {
    info(`Downloaded ${name} ${known} from the configured package sources.`);
    return known;
  }
  // Nothing is known yet, or what is known is old.
  const complaints = await apt.update();
  const isConfigured = (await apt.candidate(name)) !== undefined;
  if (!isConfigured) await addRepository(apt, name, complaints);
  const version = await apt.candidate(name);
  if (version === undefined) throw nobodyHas(apt, name);
  await apt.download(name, directory).catch(failed(name));
  info(
    `Downloaded ${name} ${version} from ${isConfigured ? 'the configured package sources' : 'PostgreSQL’s own, which were added'}.`,
  );
  return version;
}

async function addRepository(apt: Apt, name: string, complaints: string): Promise<void> {
  if ((await apt.candidate(accountPackage)) === undefined)
    throw complaints === '' ? nobodyHas(apt, name) : failure(name, complaints);
  info(`The configured package sources lack ${name}: adding PostgreSQL's own.`);
  await apt.addRepository().catch(failed(name));
}

function nobodyHas({platform}: Apt, name: string): UserError {
  return new UserError(
    `${name} cannot be installed: neither the configured package sources nor PostgreSQL's own have it for ${platform}.`,
    'Use a runner of a newer release (runs-on: ubuntu-24.04), or one whose image has the programs.',
  );
}

async function succeeds(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof CommandError) return false;
    throw error;
  }
}

function failed(name: string) {
  return (error: unknown): never => {
    if (error instanceof CommandError) throw failure(name, error.stderr, {cause: error});
    throw error;
  };
}

/** Shows all that apt-get said, of which the error tells one line. */
function failure(name: string, output: string, options?: ErrorOptions): UserError {
  for (const line of output.trim().split('\n').slice(-40)) info(line);
  return aptFailure(name, output, options);
}
