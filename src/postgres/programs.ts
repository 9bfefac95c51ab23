import {UserError} from '../errors.js';
import type {Host} from '../host/host.js';
import type {Connection} from './connection.js';
import {type Installer, packageOf} from './install.js';
import {chooseClient, clientPrograms, listPrograms, type Programs, serverPrograms} from './search.js';

export {type Programs, pathOf} from './search.js';

/** A place where client programs may run, and the server as it is reached from there. */
export interface Vantage {
  readonly host: Host;
  readonly connection: Connection;
}

/** Client programs that fit, and where they are. */
export interface Client extends Vantage {
  readonly programs: Programs;
}

/** Which programs are wanted, and how far one may go to get them. */
export interface Acquisition {
  /** `pg-version` */
  readonly wanted: number | 'auto';
  /** Undefined where nothing may be installed. */
  readonly installer?: Installer;
  /** Whether to say only what would be installed: the programs are then marked `isToBeInstalled`. */
  readonly dryRun: boolean;
}

/** The client programs of a place, for whoever does not know yet which version is needed. */
export function listClients({host}: Vantage): Promise<readonly Programs[]> {
  return listPrograms(host, clientPrograms);
}

/**
 * Finds a `pg_basebackup` that can back up a server of a major version, in the first place that has one: of the same
 * major, else the next newer (an older client refuses a newer server); else has it installed in the first place,
 * which is the runner. `listing` is what that place has, where it was begun to look before. Throws a UserError that says
 * how to get one.
 */
export async function findClient(
  vantages: readonly [Vantage, ...Vantage[]],
  serverMajor: number,
  acquisition: Acquisition & {readonly listing?: Promise<readonly Programs[]>},
): Promise<Client> {
  const {wanted, listing} = acquisition;
  const seen: string[] = [];
  for (const vantage of vantages) {
    const found = await (vantage === vantages[0] && listing ? listing : listClients(vantage));
    const programs = chooseClient(found, serverMajor, wanted);
    if (programs) return {...vantage, programs};
    seen.push(`${vantage.host.name} has ${nameAll(found, 'pg_basebackup')}`);
  }
  if (wanted !== 'auto' && wanted < serverMajor) {
    throw new UserError(
      `pg-version: ${wanted} is older than the server (${serverMajor}), which its pg_basebackup refuses.`,
      `Set pg-version to auto or to ${serverMajor}.`,
    );
  }
  const [here] = vantages;
  const target = wanted === 'auto' ? serverMajor : wanted;
  const lack = `The server is PostgreSQL ${serverMajor}; ${seen.join('; ')}.`;
  const hint = vantages.length === 1 ? containerHint : '';
  const programs = await acquire({what: 'client', major: target, lack, hint, ...acquisition}, async () =>
    chooseClient(await listClients(here), serverMajor, wanted),
  );
  if (programs) return {...here, programs};
  throw new UserError(
    lack,
    `A client of ${target}${wanted === 'auto' ? ' or newer' : ''} is needed. ${here.host.adviseInstall('client', target)}${hint}`,
  );
}

/**
 * Finds the server programs of exactly a major version, which alone can read data files of that major; else has them
 * installed. Throws a UserError that says how to get them.
 */
export async function findServerPrograms(
  host: Host,
  major: number,
  acquisition: Acquisition,
): Promise<Programs> {
  const {wanted} = acquisition;
  if (wanted !== 'auto' && wanted !== major) {
    throw new UserError(
      `pg-version is ${wanted}, and the backup is of PostgreSQL ${major}, which only a server of ${major} can start.`,
      'Set pg-version: auto, or restore another backup.',
    );
  }
  const choose = (found: readonly Programs[]) => found.find((programs) => programs.major === major);
  const found = await listPrograms(host, serverPrograms);
  const best = choose(found);
  if (best) return best;
  const lack = `The backup is of PostgreSQL ${major} and only a server of ${major} can start it; ${host.name} has ${nameAll(found, 'postgres')}.`;
  const installed = await acquire({what: 'server', major, lack, hint: '', ...acquisition}, async () =>
    choose(await listPrograms(host, serverPrograms)),
  );
  if (installed) return installed;
  throw new UserError(lack, host.adviseInstall('server', major));
}

/** What is missing, and in which words. */
interface Lack extends Acquisition {
  readonly what: 'client' | 'server';
  readonly major: number;
  /** What was found instead, for the message of a failure. */
  readonly lack: string;
  /** Another cure. */
  readonly hint: string;
}

/** Has programs installed, if that is allowed, and looks for them again. Throws a UserError when that fails. */
async function acquire(
  {what, major, installer, dryRun, lack, hint}: Lack,
  search: () => Promise<Programs | undefined>,
): Promise<Programs | undefined> {
  if (installer === undefined) return undefined;
  const name = packageOf(what, major);
  try {
    if (!dryRun) {
      await installer.install(name);
      return await search();
    }
    await installer.check(name);
    const directory = `/usr/lib/postgresql/${major}/bin`;
    return {directory, major, version: `${name}, to be installed,`, isToBeInstalled: true};
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${lack}\n${error.message}`, `${error.cure}${hint}`, {cause: error});
  }
}

/**
 * Finds the newest psql of a host, for a server whose major version nobody knows yet. Throws a UserError that says how
 * to install one.
 */
export async function findPsql(host: Host): Promise<Programs> {
  const [best] = [...(await listPrograms(host, ['psql']))].sort((a, b) => b.major - a.major);
  if (best) return best;
  throw new UserError(
    `${host.name} has no psql on PATH or in /usr/lib/postgresql.`,
    "Install PostgreSQL's programs of the backup's major version there.",
  );
}

const containerHint =
  '\nWhere the server is a service container, its own client serves as well: container: ${{ job.services.postgres.id }}';

function nameAll(found: readonly Programs[], program: string): string {
  if (found.length === 0) return `no ${program} on PATH or where packages put it`;
  return found.map(({version, directory}) => `${version} in ${directory}`).join(', ');
}
