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
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
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
