import {UserError} from '../errors.js';
import {endOrphansIn} from './container-orphans.js';
import {type Container, type ContainerFacts, LostProgramError} from './container-program.js';
import {type ExecOptions, exec} from './exec.js';
import {extraction} from './extraction.js';
import {type Command, CommandError, type Host, type Outbox, type Output, shell, tooLong} from './host.js';
import {launch} from './launch.js';
import {sendTar} from './send.js';
import {openSidecar} from './sidecar.js';

/**
 * A container as a host: programs run in it by `docker exec`, as PostgreSQL's account; files are looked after by its
 * own `sh`, `tar` and the like, GNU's or busybox's.
 */
export function containerHost(container: Container): Host {
  const {facts} = container;
  // Files are looked after to the end, as the runner's are: what a cancelled run wrote has to go.
  const sh = async (script: string, ...args: readonly string[]) =>
    (await execAgain(container, shell(script, args))).stdout;
  const shAsRoot = async (script: string, ...args: readonly string[]) =>
    (await execAgain(container, shell(script, args), {asRoot: true})).stdout;
  return {
    ...facts,
    name: `container ${facts.name}`,
    scratchDirectory: '/tmp',
    adviseInstall: (_, major) =>
      `Give the service an image of that version: image: postgres:${major} (it has ${facts.image})`,
    adviseAsRoot: (command) => `docker exec --user root ${facts.name} ${command}`,
    run: (command, options) => exec(container, command, options),
    findOnPath: async (program) => (await sh(scripts.find, program)).trim() || undefined,
    launch: (command, launching) => launch(container, command, launching),
    endOrphans: (owner) => endOrphansIn(container, owner),
    async extract(stream, directory, options = {}) {
      await exec(container, extraction(directory, options), {stdin: stream});
    },
    async checkReadable(directory) {
      await container.runner.run({program: 'ls', args: [directory]});
    },
    receive: (directory, path) => receive(container, directory, path),
    openOutbox: (runnerDirectory) => openOutbox(container, runnerDirectory),
    look: async (path) => (await shAsRoot(scripts.look, path)).trim() as Awaited<ReturnType<Host['look']>>,
    list: async (directory) => (await sh(scripts.list, directory)).split('\n').filter(Boolean).sort(),
    makeDirectory: async (path) => {
      await shAsRoot(scripts.makeDirectory, path, facts.user).catch(notMade(path, facts));
    },
    makeTemporaryDirectory: async (parent) => (await sh(scripts.temporary, parent)).trim(),
    readText: (path, limitBytes) => readText(container, path, limitBytes),
    async writeText(path, text, {executable = false} = {}) {
      const command = shell(scripts.write, [path, executable ? '700' : '600']);
      await execAgain(container, command, {stdin: text});
    },
    remove: async (...paths) => {
      await shAsRoot('rm -rf "$@"', ...paths);
    },
    freeBytes: async (path) => freeBytes(await sh(scripts.free, path)),
  };
}

/** For what may be done twice: again, when the engine loses sight of it. */
async function execAgain(container: Container, command: Command, options: ExecOptions = {}): Promise<Output> {
  const whole = {...options, cleanup: true};
  try {
    return await exec(container, command, whole);
  } catch (error) {
    if (!(error instanceof LostProgramError)) throw error;
    return exec(container, command, whole);
  }
}

/** Constant scripts of what every `sh` can do; paths and names reach them as arguments and are never parsed. */
const scripts = {
  find: 'found=$(command -v "$1") && [ -x "$found" ] && readlink -f "$found" || true',
  look: `if [ -f "$1" ]; then echo file
elif [ ! -d "$1" ]; then if [ -e "$1" ] || [ -L "$1" ]; then echo other; else echo absent; fi
elif [ -n "$(ls -A "$1")" ]; then echo directory; else echo empty-directory; fi`,
  list: 'if [ -d "$1" ]; then ls -A "$1"; fi',
  // Only what was made here changes hands, and the directory itself.
  makeDirectory: `set -e
umask 077
top=$1
parent=$1
while [ ! -d "$parent" ]; do top=$parent; parent=$(dirname "$parent"); done
mkdir -p "$1"
chown -R "$2" "$top"
chmod 700 "$1"`,
  temporary: 'mktemp -d "$1/pg-XXXXXX"',
  read: '[ -e "$1" ] || exit 3; if [ -z "$2" ]; then cat "$1"; else head -c "$2" "$1"; fi',
  write: 'umask 077; cat > "$1" && chmod "$2" "$1"',
  free: 'path=$1; while [ ! -e "$path" ]; do path=$(dirname "$path"); done; df -P -k "$path"',
} as const;

/** Writes a directory as a tar stream, in what GNU's tar and busybox's both know. */
const tarOf = (directory: string): Command => ({
  program: 'tar',
  args: ['-c', '-f', '-', '-C', directory, '.'],
});

async function receive(container: Container, runnerDirectory: string, path: string): Promise<string> {
  await exec(container, shell('umask 077; mkdir -p "$1"', [path]));
  const to = {host: containerHost(container), directory: path};
  await sendTar(container.runner, tarOf(runnerDirectory), to);
  return path;
}

async function openOutbox(container: Container, runnerDirectory: string): Promise<Outbox> {
  const {container: beside, close} = await openSidecar(container);
  const host = containerHost(beside);
  const path = '/tmp/backup';
  const to = {host: container.runner, directory: runnerDirectory};
  return {host, path, deliver: () => sendTar(host, tarOf(path), to), close};
}

async function readText(
  container: Container,
  path: string,
  limitBytes?: number,
): Promise<string | undefined> {
  try {
    const wanted = limitBytes === undefined ? '' : String(limitBytes + 1);
    const {stdout} = await execAgain(container, shell(scripts.read, [path, wanted]));
    if (limitBytes !== undefined && Buffer.byteLength(stdout) > limitBytes) throw tooLong(path, limitBytes);
    return stdout;
  } catch (error) {
    if (error instanceof CommandError && error.status === 3) return undefined;
    throw error;
  }
}

function notMade(path: string, {name}: ContainerFacts) {
  return (cause: unknown): never => {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      `The directory ${path} cannot be made in container ${name}: ${cause.stderr.trim() || cause.message}`,
      'Set data-directory to a path that can be written there, such as one below /var/lib/postgresql.',
      {cause},
    );
  };
}

/** The fourth column of df's last line: kilobytes available (POSIX, df -P -k). */
function freeBytes(text: string): number {
  const columns = text.trim().split('\n').at(-1)?.split(/\s+/) ?? [];
  return Number(columns.at(-3)) * 1024;
}
