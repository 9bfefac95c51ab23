import {spawnSync} from 'node:child_process';
import {readlinkSync} from 'node:fs';
import {describe, onTestFinished} from 'vitest';
import {type ContainerShell, openShell} from '../../src/host/container-shell.js';
import {type CommandOptions, run} from './command.js';
import {isRunning, type SeenProcess} from './processes.js';

/** What `docker create` gets besides the image. */
export interface ContainerOptions {
  /** Options of `docker create`, such as `--init`. */
  readonly options?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** In place of the image's command. */
  readonly command?: readonly string[];
  /** A tar archive that is unpacked in a directory before the container is started. */
  readonly content?: {readonly archive: string; readonly directory: string};
}

/** Who runs a program in a container, and with what. */
export interface ExecOptions {
  /** The image's user without it, which is root. */
  readonly user?: string;
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A process as the container's /proc shows it. */
export interface ContainerProcess extends SeenProcess {
  /** One letter: `Z` for one that has ended and that nobody waited for. */
  readonly state: string;
}

/** What the tests read of `docker inspect`. */
export interface Inspection {
  readonly State: {readonly Running: boolean; readonly ExitCode: number};
  readonly Config: {
    readonly StopSignal?: string;
    readonly Volumes: Readonly<Record<string, unknown>> | null;
  };
  readonly Mounts: readonly {readonly Type: string; readonly Destination: string}[];
  readonly NetworkSettings: {
    readonly Ports: Readonly<Record<string, readonly {readonly HostPort: string}[] | null>>;
    readonly Networks: Readonly<Record<string, {readonly IPAddress: string}>>;
  };
}

/** A running container of a test. */
export interface Container {
  readonly id: string;
  readonly image: string;
  inspect(): Promise<Inspection>;
  /** Its address in the engine's network; empty in the host's. */
  ip(): Promise<string>;
  /** Runs a program in it to its end and returns what it wrote; throws when its status is not 0. */
  exec(args: readonly string[], options?: ExecOptions): Promise<string>;
  /** The same as `postgres`, in a shell that stays: for what is asked often, and is soon answered. */
  execInShell(args: readonly string[], stdin?: string): Promise<string>;
  /** Both outputs of its first process. */
  logs(): Promise<string>;
  /** All processes but those that look. */
  processes(): Promise<readonly ContainerProcess[]>;
  /** The full path of everything below these directories, sorted; nothing of those that are absent. */
  files(...directories: readonly string[]): Promise<readonly string[]>;
  /** Ends it and removes it with its volumes. */
  remove(): Promise<void>;
}

/** The name of an image that script/images builds. */
export function imageName(tag: string): string {
  return `pg-basebackup-action-test:${tag}`;
}

/** Runs Docker's client to its end and returns its standard output. Throws when its status is not 0. */
export function docker(args: readonly string[], options?: CommandOptions): Promise<string> {
  return run('docker', args, options);
}

/** `describe` for tests that need an engine and images: without them they fail in CI, elsewhere are skipped loudly. */
export function describeWithEngine(subject: string, tests: () => void): void {
  obstacle ??= findObstacle();
  if (obstacle === '') {
    describe(subject, tests);
    return;
  }
  if (process.env.CI !== undefined) throw new Error(obstacle);
  process.stderr.write(`\n\n### SKIPPED: ${subject}. ${obstacle}\n\n`);
  describe.skip(subject, tests);
}

let obstacle: string | undefined;

function findObstacle(): string {
  const {stderr, status} = spawnSync(
    'docker',
    ['image', 'inspect', '--format={{.Id}}', imageName('no-postgres')],
    {encoding: 'utf8'},
  );
  if (status === 0) return '';
  if (/no such image/i.test(stderr)) return 'Images are missing: script/images builds them.';
  return `No Docker engine answers. Start one with: eval "$(script/engine)" && script/images\n${stderr}`;
}

/** Starts a container that is removed after the test that asks for it. */
export async function container(image: string, options?: ContainerOptions): Promise<Container> {
  const made = await createContainer(image, options);
  onTestFinished(() => made.remove());
  return made;
}

/** Starts a container for more than one test; the caller removes it. */
export async function createContainer(
  image: string,
  {options = [], env = {}, command = [], content}: ContainerOptions = {},
): Promise<Container> {
  leftovers ??= removeLeftovers();
  await leftovers;
  const variables = Object.entries(env).map(([name, value]) => `--env=${name}=${value}`);
  const args = ['create', `--label=${ownerLabel}=${owner}`, ...variables, ...options, image, ...command];
  const id = (await docker(args)).trim();
  running.add(id);
  const made = containerOf(id, image);
  try {
    if (content) {
      const args = [`${id}:${content.directory}`, content.archive];
      await run('sh', ['-c', 'docker cp --archive - "$1" <"$2"', 'sh', ...args]);
    }
    await docker(['start', id]);
  } catch (error) {
    await made.remove();
    throw error;
  }
  return made;
}

function containerOf(id: string, image: string): Container {
  const exec = (args: readonly string[], {user, stdin, env = {}}: ExecOptions = {}): Promise<string> => {
    const options = [
      ...(user === undefined ? [] : [`--user=${user}`]),
      ...Object.entries(env).map(([name, value]) => `--env=${name}=${value}`),
    ];
    return docker(['exec', '--interactive', ...options, id, ...args], stdin === undefined ? {} : {stdin});
  };
  let shell: ContainerShell | undefined;
  const execInShell = async (args: readonly string[], stdin?: string): Promise<string> => {
    if (shell === undefined || shell.hasEnded()) {
      const name = ['sh', '-s', shellName];
      shell = openShell({
        args: ['exec', '--interactive', '--user=postgres', id, ...name],
        env: {},
        // Ahead of Debian's wrapper, a Perl script that looks for the newest version.
        setUp: 'PATH=/usr/lib/postgresql/$PG_MAJOR/bin:$PATH',
      });
    }
    const [program = '', ...rest] = args;
    const request = {command: {program, args: rest}, ...(stdin !== undefined && {stdin})};
    const reply = await shell.run({...request, isLong: false, takeErrorLine: () => false});
    if (reply?.status === 0) return reply.stdout;
    if (reply?.status !== undefined)
      throw new Error(`${args.join(' ')} ended with ${reply.status}\n${reply.stderr}`);
    // The container was stopped, and the shell with it.
    return exec(args, {user: 'postgres', ...(stdin !== undefined && {stdin})});
  };
  const inspect = async () => {
    const [found] = JSON.parse(await docker(['container', 'inspect', id])) as [Inspection];
    return found;
  };
  return {
    id,
    image,
    inspect,
    exec,
    execInShell,
    async ip() {
      const [network] = Object.values((await inspect()).NetworkSettings.Networks);
      return network?.IPAddress ?? '';
    },
    logs: () => run('sh', ['-c', 'exec docker logs "$1" 2>&1', 'sh', id]),
    processes: async () =>
      parseProcesses(await exec(['sh', '-c', listProcesses])).filter(({args}) => !args.includes(shellName)),
    async files(...directories) {
      const find = 'for directory; do if [ -e "$directory" ]; then find "$directory" -mindepth 1; fi; done';
      const found = await exec(['sh', '-c', find, 'sh', ...directories]);
      return found.split('\n').filter(Boolean).sort();
    },
    async remove() {
      await shell?.close();
      await docker(['rm', '--force', '--volumes', id]);
      running.delete(id);
    },
  };
}

/** Tells a test's shell from what the action leaves. */
const shellName = 'of-a-test';

/** For images without `ps`: our own process id, then the stat and the arguments of each process. */
const listProcesses = `
  printf '%s\\035' $$
  for directory in /proc/[0-9]*; do
    if stat=$(cat $directory/stat 2>/dev/null); then
      printf '%s\\036%s\\035' "$stat" "$(tr '\\000' '\\037' <$directory/cmdline 2>/dev/null)"
    fi
  done`;

function parseProcesses(text: string): readonly ContainerProcess[] {
  const [own, ...records] = text.split('\x1d').slice(0, -1);
  return records
    .map((record) => {
      const [stat = '', args = ''] = record.split('\x1e');
      // The program's name is in brackets and can hold blanks and brackets itself.
      const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const pid = Number.parseInt(stat, 10);
      return {pid, parent: Number(parent), state, args: args.split('\x1f').slice(0, -1)};
    })
    .filter(({pid, parent}) => pid !== Number(own) && parent !== Number(own))
    .sort((one, other) => one.pid - other.pid);
}

/** Tells whose a container is: what a killed run left behind goes when the next run starts. */
const ownerLabel = 'pg-basebackup-action.owner';
const processNamespace = readlinkSync('/proc/self/ns/pid');
const owner = `${processNamespace}/${process.pid}`;

let leftovers: Promise<void> | undefined;

async function removeLeftovers(): Promise<void> {
  const format = `{{.ID}} {{.Label "${ownerLabel}"}}`;
  const lines = await docker([
    'ps',
    '--all',
    '--no-trunc',
    `--filter=label=${ownerLabel}`,
    `--format=${format}`,
  ]);
  const abandoned = lines.split('\n').flatMap((line) => {
    const [id = '', label = ''] = line.split(' ');
    const [namespace, pid] = label.split('/');
    return namespace === processNamespace && !isRunning(Number(pid)) ? [id] : [];
  });
  // Another worker may do the same at this moment.
  if (abandoned.length > 0) await docker(['rm', '--force', '--volumes', ...abandoned]).catch(() => undefined);
}

const running = new Set<string>();

/** Synchronous, so that it also works while the process ends. */
function removeRunning(): void {
  if (running.size > 0) spawnSync('docker', ['rm', '--force', '--volumes', ...running]);
  running.clear();
}

// Even when a worker ends early, no container outlives it. A signal ends it without the event "exit".
process.once('exit', removeRunning);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    removeRunning();
    process.kill(process.pid, signal);
  });
}
