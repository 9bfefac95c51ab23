import {createSocket} from 'node:dgram';
import {BlockList, isIPv4} from 'node:net';
import {availableParallelism, totalmem} from 'node:os';
import {UserError} from '../errors.js';
import {warning} from '../log.js';
import {containerHost} from './container.js';
import type {ContainerFacts} from './container-program.js';
import {openShells} from './container-shell.js';
import {type ContainerState, type Docker, docker} from './docker.js';
import {CommandError, type Host, type Network} from './host.js';

/** A container that runs a PostgreSQL server, such as a service of a GitHub job. */
export interface ServiceContainer {
  /** Where PostgreSQL's programs run. */
  readonly host: Host;
  readonly id: string;
  readonly name: string;
  /** As the user named it: `postgres:17`. */
  readonly image: string;
  /** `PGDATA` in it. */
  readonly dataDirectory: string;
  /** `POSTGRES_USER`, whom the image's entrypoint creates as superuser; else `postgres`. */
  readonly superuser: string;
  /** The port of its server inside of it. */
  readonly serverPort: number;
  /** The directory of its server's socket; undefined where libpq's own default has to do. */
  readonly socketDirectory?: string;
  /** Where the runner reaches its server: the published port, else the container's own address, if it has one. */
  readonly reachableAt: Reachable | undefined;
  /** The engine, for what concerns the container as a whole. */
  readonly docker: Docker;
  readonly imageId: string;
  readonly runner: Host;
  /** Ends what goes on there between one program and the next. */
  close(): Promise<void>;
}

/** A directory in a service's data directory, so that whatever is in it can change places by a rename. */
export const stagingName = 'pg-basebackup-action';

/** Where a server can be connected to from the runner. */
export interface Reachable {
  readonly host: string;
  readonly port: number;
}

/**
 * Finds a running container and what it says of itself. Throws a UserError when it is not there or does not run, or
 * when there is no account in it that PostgreSQL could run as.
 */
export async function openContainer(
  idOrName: string,
  {runner, signal}: {runner: Host; signal: AbortSignal},
): Promise<ServiceContainer> {
  const engine = docker(signal);
  const state = await engine.inspect(idOrName);
  const name = state.Name.replace(/^\//, '');
  if (!state.State.Running) {
    throw new UserError(
      `Container ${name} (${state.Config.Image}) does not run: it ended with exit code ${state.State.ExitCode}.`,
      `Look at what it wrote, then start it in an earlier step: docker logs --tail 50 ${name}; docker start ${name}`,
    );
  }
  if (state.State.Paused) {
    throw new UserError(
      `Container ${name} is paused.`,
      `Let it go on in an earlier step: docker unpause ${name}`,
    );
  }
  const variables = variablesOf(state);
  const dataDirectory = variables.get('PGDATA') ?? '/var/lib/postgresql/data';
  const traits = await traitsOf(engine, state.Id, dataDirectory);
  if (traits.hasDataAside) {
    warning(
      `Container ${name} has data that an interrupted restore in place had set aside: ${dataDirectory}/${stagingName}/old. See docs/service-containers.md, "After a failure".`,
    );
  }
  const hasServer = /^\d+$/.test(traits.port);
  const serverPort = Number(hasServer ? traits.port : variables.get('PGPORT') || 5432);
  const network = await networkOf(state);
  const facts: ContainerFacts = {
    id: state.Id,
    name,
    image: state.Config.Image,
    imageId: state.Image,
    user: accountOf(state, traits),
    cores: coresOf(state),
    memoryBytes: state.HostConfig.Memory || totalmem(),
    network,
    libpqVariables: [...variables.keys()].filter((one) => /^PG[A-Z]+$/.test(one)),
  };
  const shells = openShells(facts);
  return {
    host: containerHost({docker: engine, runner, signal, facts, shells}),
    close: shells.close,
    id: state.Id,
    name,
    image: state.Config.Image,
    dataDirectory,
    superuser: variables.get('POSTGRES_USER') || 'postgres',
    serverPort,
    ...(hasServer && traits.socketDirectory && {socketDirectory: traits.socketDirectory}),
    reachableAt: reachableAt(state, network, serverPort),
    docker: engine,
    imageId: state.Image,
    runner,
  };
}

/** Where the runner reaches a service's server now: another start may have given it another port and address. */
export async function reachableNow({
  docker: engine,
  id,
  serverPort,
}: ServiceContainer): Promise<Reachable | undefined> {
  const state = await engine.inspect(id);
  return reachableAt(state, await networkOf(state), serverPort);
}

/**
 * Where the runner reaches a port of a container: published on this machine, else at the container's own address; at
 * that also when the job itself runs in a container of that network, where this machine is another one.
 */
function reachableAt(state: ContainerState, network: Network, port: number): Reachable | undefined {
  const [published] = state.NetworkSettings.Ports?.[`${port}/tcp`] ?? [];
  if (published === undefined || isBeside(state, network)) {
    return network.isReachable ? {host: network.address, port} : undefined;
  }
  const everywhere = ['', '0.0.0.0', '::'].includes(published.HostIp);
  return {host: everywhere ? '127.0.0.1' : published.HostIp, port: Number(published.HostPort)};
}

function variablesOf({Config: {Env: lines}}: ContainerState): ReadonlyMap<string, string> {
  return new Map(
    (lines ?? []).map((line) => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
}

/** What a container's files tell. */
interface Traits {
  /** Of its server, as that wrote them down (postmaster.pid, lines 4 and 5); empty when none runs. */
  readonly port: string;
  readonly socketDirectory: string;
  /** Whether there are data that a restore in place had set aside. */
  readonly hasDataAside: boolean;
  /** Whose the data directory is, `uid:gid`; empty when it is absent. */
  readonly owner: string;
  /** The number of the account `postgres`; empty when there is none. */
  readonly postgres: string;
}

/** One program for all: each costs a `docker exec`. */
const tellTraits = `for line in 4 5; do printf '%s\\n' "$(sed -n "\${line}p" "$1/postmaster.pid" 2>/dev/null)"; done
if [ -e "$2" ]; then echo aside; else echo; fi
printf '%s\\n' "$(stat -c %u:%g "$1" 2>/dev/null)" "$(id -u postgres 2>/dev/null)"`;

async function traitsOf(engine: Docker, id: string, dataDirectory: string): Promise<Traits> {
  const args = [tellTraits, 'sh', dataDirectory, `${dataDirectory}/${stagingName}/old`];
  const {stdout} = await engine.run(['exec', '--user=0', id, 'sh', '-c', ...args]).catch((error: unknown) => {
    // The container has no shell, and so no PostgreSQL either.
    if (error instanceof CommandError && [126, 127].includes(Number(error.status))) return {stdout: ''};
    throw error;
  });
  const [port = '', socketDirectory = '', aside = '', owner = '', postgres = ''] = stdout
    .split('\n')
    .map((line) => line.trim());
  return {port, socketDirectory, hasDataAside: aside !== '', owner, postgres};
}

/** Who owns the server's data; else the account `postgres`, whatever its number. */
function accountOf(state: ContainerState, {owner, postgres}: Traits): string {
  const isOthers = owner !== '' && !owner.startsWith('0:') && !owner.startsWith(`${postgres}:`);
  if (isOthers) return owner;
  if (postgres !== '') return 'postgres';
  const {User: own, Image: image} = state.Config;
  if (own !== '' && !/^(0|root)(:|$)/.test(own)) return own;
  throw new UserError(
    `Container ${state.Name.slice(1)} (${image}) has no account postgres, so that it is none with PostgreSQL.`,
    'Set container to the id of the PostgreSQL service: ${{ job.services.postgres.id }}',
  );
}

function coresOf({HostConfig: {NanoCpus: nano}}: ContainerState): number {
  return nano > 0 ? Math.max(1, Math.floor(nano / 1e9)) : availableParallelism();
}

const loopback = '127.0.0.1';

/** Whether we are a neighbour in the container's network: in its subnet, and not its gateway. */
function isBeside(state: ContainerState, {address, clientAddress}: Network): boolean {
  const own = Object.values(state.NetworkSettings.Networks).find(({IPAddress: one}) => one === address);
  if (own === undefined || !isIPv4(address) || clientAddress === own.Gateway) return false;
  const subnet = new BlockList();
  subnet.addSubnet(address, own.IPPrefixLen, 'ipv4');
  return clientAddress !== address && subnet.check(clientAddress, 'ipv4');
}

function addressOf({NetworkSettings: {Networks: networks}}: ContainerState): string {
  const addresses = Object.values(networks).map(({IPAddress: address}) => address);
  return addresses.find((address) => address !== '') ?? loopback;
}

async function networkOf(state: ContainerState): Promise<Network> {
  const address = addressOf(state);
  // Without an address of its own, the runner's loopback would lead to another server.
  const isReachable = state.HostConfig.NetworkMode === 'host' || address !== loopback;
  return {address, clientAddress: await ownAddressTowards(address), isReachable};
}

/** The address that the kernel would send from; no packet is sent for it. */
function ownAddressTowards(address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', (cause) => {
      const message = `No network of this machine leads to the container's address ${address}: ${cause.message}`;
      reject(new UserError(message, 'Run the step on the machine that the engine runs on.', {cause}));
    });
    socket.connect(9, address, () => {
      resolve(socket.address().address);
      socket.close();
    });
  });
}
