import {dirname} from 'node:path';
import {Client, DatabaseError} from 'pg';
import {onTestFinished} from 'vitest';
import {freePort} from './cluster.js';
import {waitUntil} from './command.js';
import {type Container, type ContainerOptions, createContainer, imageName} from './container.js';

/** An image that script/images builds, and what it has in common with the official one. */
export interface ServiceImage {
  /** Such as `17-trixie`. */
  readonly name: string;
  readonly image: string;
  readonly major: number;
  /** Of the account `postgres`, and of its group. */
  readonly uid: number;
  readonly dataDirectory: string;
  /** The directory that is a volume of each container. */
  readonly volume: string;
  /** The same image with a cluster in it, which makes a plain service faster to start. */
  readonly initialised?: string;
}

function before18(name: string, major: number, uid = 999): ServiceImage {
  const dataDirectory = '/var/lib/postgresql/data';
  return {name, image: imageName(name), major, uid, dataDirectory, volume: dataDirectory};
}

function debian(name: string, major: number): ServiceImage {
  return {...before18(name, major), initialised: imageName(`${name}-initialised`)};
}

/** Every image with PostgreSQL by its name. */
export const images = {
  /** The oldest version that Debian still has: no codecs but the client's gzip, a manifest without a system. */
  '13-bullseye': before18('13-bullseye', 13),
  '15-bookworm': debian('15-bookworm', 15),
  '17-trixie': debian('17-trixie', 17),
  /** As Alpine's: another account, busybox in place of GNU's programs, no compressor besides busybox's. */
  '17-busybox': before18('17-busybox', 17, 70),
  '18-forky': {
    name: '18-forky',
    image: imageName('18-forky'),
    initialised: imageName('18-forky-initialised'),
    major: 18,
    uid: 999,
    dataDirectory: '/var/lib/postgresql/18/docker',
    volume: '/var/lib/postgresql',
  },
} as const satisfies Record<string, ServiceImage>;

/** Every image with PostgreSQL. */
export const services: readonly ServiceImage[] = Object.values(images);

/** How a service differs from a plain one. */
export interface ServiceOptions extends ContainerOptions {
  /**
   * How the server's port is published: as `5432:5432` (on a free port here), as `5432`, which gives another port
   * after each start, or not at all.
   */
  readonly publish?: 'fixed' | 'ephemeral' | 'none';
  readonly password?: string;
  readonly superuser?: string;
  /** A tar archive of the volume of another one that has ended. */
  readonly volume?: string;
}

/** A service container of a job that runs on the runner itself. */
export interface Service extends Container {
  readonly of: ServiceImage;
  /** Where the runner reaches the server: the published port, or the container's own address without one. */
  readonly host: string;
  readonly port: number;
  readonly superuser: string;
  readonly password: string;
  /** Inputs of the action that name the service. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Runs statements as superuser through the socket and returns the rows, `|` between columns. */
  sql(statements: string, database?: string): Promise<string>;
  /** When the server that runs now was started. */
  startTime(): Promise<string>;
  /** Waits until the server answers over TCP, as after a restart. */
  ready(): Promise<void>;
}

/** Starts a service that is removed after the test that asks for it. */
export async function service(of: ServiceImage, options?: ServiceOptions): Promise<Service> {
  const made = await createService(of, options);
  onTestFinished(() => made.remove());
  return made;
}

/** Starts a service for more than one test as GitHub's runner does; the caller removes it. */
export async function createService(of: ServiceImage, options: ServiceOptions = {}): Promise<Service> {
  const {superuser = 'postgres', password = 'service password', publish = 'fixed', volume} = options;
  const container = await createContainer(imageFor(of, options), {
    ...options,
    ...(volume !== undefined && {content: {archive: volume, directory: dirname(of.volume)}}),
    options: [...(await publishing(publish)), ...(options.options ?? [])],
    env: {
      POSTGRES_PASSWORD: password,
      // No test asks what a crash of this machine would leave.
      POSTGRES_INITDB_ARGS: '--no-sync',
      ...(superuser === 'postgres' ? {} : {POSTGRES_USER: superuser}),
      ...options.env,
      // The runner sets these in every container.
      GITHUB_ACTIONS: 'true',
      CI: 'true',
    },
  });
  try {
    await answering(container);
    return await serviceOf(container, {of, superuser, password});
  } catch (error) {
    await container.remove();
    throw error;
  }
}

/** What differs from the cluster in the image has to be initialised, or comes into an empty volume. */
function imageFor(
  {image, initialised}: ServiceImage,
  {superuser, password, env, volume}: ServiceOptions,
): string {
  const isPlain = [superuser, password, env, volume].every((option) => option === undefined);
  return isPlain ? (initialised ?? image) : image;
}

async function publishing(publish: ServiceOptions['publish']): Promise<readonly string[]> {
  if (publish === 'none') return [];
  return [`--publish=127.0.0.1:${publish === 'ephemeral' ? '' : await freePort()}:5432`];
}

async function serviceOf(
  container: Container,
  {of, superuser, password}: Pick<Service, 'of' | 'superuser' | 'password'>,
): Promise<Service> {
  const [published] = (await container.inspect()).NetworkSettings.Ports['5432/tcp'] ?? [];
  const host = published === undefined ? (await container.ip()) || '127.0.0.1' : '127.0.0.1';
  const port = Number(published?.HostPort ?? 5432);
  const sql = async (statements: string, database = 'postgres'): Promise<string> => {
    const options = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1'];
    const args = ['psql', ...options, '--no-password', `--username=${superuser}`, `--dbname=${database}`];
    return (await container.execInShell(args, statements)).trimEnd();
  };
  return {
    ...container,
    of,
    host,
    port,
    superuser,
    password,
    inputs: {container: container.id, host, port: String(port)},
    sql,
    startTime: () => sql('select pg_postmaster_start_time()'),
    ready: () => answering(container),
  };
}

/** The entrypoint's first server listens on the socket only, so that it is not taken for the one that stays. */
async function answering(container: Container): Promise<void> {
  const address = await container.ip();
  let lookedAt = performance.now();
  const isThere = async () => {
    const answers = await isAnswering(container, address);
    if (!answers && performance.now() - lookedAt < 1000) return false;
    lookedAt = performance.now();
    // One that has ended leaves its address to others.
    if (!(await container.inspect()).State.Running) throw new Error('Its container has ended.');
    return answers;
  };
  try {
    await waitUntil(isThere, {seconds: 60, what: 'the server to answer'});
  } catch (cause) {
    throw new Error(`The server of ${container.image} did not start.\n${await container.logs()}`, {cause});
  }
}

/** Asks from here where the container has an address: a program in it costs many times as much. */
async function isAnswering(container: Container, address: string): Promise<boolean> {
  if (address === '') {
    return container.exec(['pg_isready', '--quiet', '--host=127.0.0.1']).then(
      () => true,
      () => false,
    );
  }
  const client = new Client({host: address, user: 'nobody', password: 'none'});
  client.on('error', () => undefined);
  try {
    await client.connect();
    return true;
  } catch (error) {
    // Whoever refuses us is there; 57P03: not yet.
    return error instanceof DatabaseError && error.code !== '57P03';
  } finally {
    await client.end().catch(() => undefined);
  }
}
