import {readdirSync, readFileSync, readlinkSync} from 'node:fs';
import {basename} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';

/** A process as /proc shows it. */
export interface SeenProcess {
  readonly pid: number;
  readonly parent: number;
  readonly args: readonly string[];
}

/**
 * Processes that belong to a directory: they work in it, name it in an argument, or inherited it in their
 * environment. Every process that the action starts does one of the three.
 */
export function processesOf(directory: string): readonly SeenProcess[] {
  return processes().filter(
    ({pid, args}) => pid !== process.pid && (mentions(args, directory) || isIn(pid, directory)),
  );
}

/** Whether a process is there and has not ended. */
export function isRunning(pid: number): boolean {
  return seenProcess(pid) !== undefined;
}

/** Whether a process was stopped by SIGSTOP (proc(5), /proc/pid/stat). */
export function isStopped(pid: number): boolean {
  return /^.*\) T/.test(readProc(pid, 'stat'));
}

/** Remembers every process below `root` (a process id) until it is stopped. */
export interface ProcessWatch {
  /** Ends the watch and returns each distinct argument list that was seen. */
  stop(): Promise<readonly (readonly string[])[]>;
}

/** Looks at /proc many times a second for descendants of a process and processes of a directory. */
export function watchProcesses(rootPid: number, directory: string): ProcessWatch {
  const seen = new Map<string, readonly string[]>();
  const state = {isStopped: false};
  const watching = (async () => {
    while (!state.isStopped) {
      for (const {args} of [...descendantsOf(rootPid), ...processesOf(directory)])
        seen.set(args.join('\0'), args);
      await sleep(10);
    }
  })();
  return {
    async stop() {
      state.isStopped = true;
      await watching;
      return [...seen.values()];
    },
  };
}

/** Remembers every TCP address that processes of a directory listen on, until it is stopped. */
export interface ListenerWatch {
  /** Ends the watch and returns the addresses as /proc writes them, in hexadecimal: `0100007F:1539`. */
  stop(): Promise<readonly string[]>;
}

/** Looks many times a second for sockets that processes of a directory listen on. */
export function watchListeners(directory: string): ListenerWatch {
  const seen = new Set<string>();
  const state = {isStopped: false};
  const watching = (async () => {
    while (!state.isStopped) {
      for (const address of listenersOf(directory)) seen.add(address);
      await sleep(25);
    }
  })();
  return {
    async stop() {
      state.isStopped = true;
      await watching;
      return [...seen];
    },
  };
}

function listenersOf(directory: string): readonly string[] {
  const inodes = new Set(processesOf(directory).flatMap(({pid}) => socketsOf(pid)));
  if (inodes.size === 0) return [];
  const lines = ['tcp', 'tcp6'].flatMap((name) => readFileSync(`/proc/net/${name}`, 'latin1').split('\n'));
  return lines.flatMap((line) => {
    // The columns of proc(5): sl, local_address, rem_address, st (0A is LISTEN), …, inode.
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    return state === '0A' && inodes.has(inode) ? [local] : [];
  });
}

function socketsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(linkAt(`/proc/${pid}/fd/${fd}`)) ?? [];
      return inode === undefined ? [] : [inode];
    });
  } catch {
    return []; // It has ended.
  }
}

/** Whether an argument list is that of a server that was started, not of `postgres --version` and the like. */
export function isServer(args: readonly string[]): boolean {
  const [program = '', ...rest] = args;
  const asksOnly = ['-C', '-V', '--version', '--describe-config'];
  return basename(program) === 'postgres' && !rest.some((arg) => asksOnly.includes(arg));
}

function descendantsOf(rootPid: number): readonly SeenProcess[] {
  const all = processes();
  const family = new Set([rootPid]);
  // A child can be listed ahead of its parent, so look until nothing is added.
  for (let before = 0; before !== family.size; ) {
    before = family.size;
    for (const {pid, parent} of all) if (family.has(parent)) family.add(pid);
  }
  return all.filter(({pid}) => family.has(pid));
}

function processes(): readonly SeenProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => seenProcess(Number(name)) ?? []);
}

/** Undefined when the process has ended meanwhile, or is a zombie. */
function seenProcess(pid: number): SeenProcess | undefined {
  const stat = readProc(pid, 'stat');
  // The program's name is in brackets and can hold blanks and brackets itself.
  const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (state === undefined || parent === undefined || state === 'Z') return undefined;
  return {pid, parent: Number(parent), args: readProc(pid, 'cmdline').split('\0').slice(0, -1)};
}

function mentions(args: readonly string[], directory: string): boolean {
  return args.some((arg) => arg.includes(directory));
}

function isIn(pid: number, directory: string): boolean {
  return workingDirectory(pid).startsWith(directory) || readProc(pid, 'environ').includes(directory);
}

function workingDirectory(pid: number): string {
  return linkAt(`/proc/${pid}/cwd`);
}

function linkAt(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // It has ended, or belongs to somebody else.
  }
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return ''; // It has ended, or belongs to somebody else.
  }
}
