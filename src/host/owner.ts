import {randomUUID} from 'node:crypto';
import {readdir, readFile, readlink} from 'node:fs/promises';
import {basename} from 'node:path';

/** A run of this action, told apart from every other, also from a later process of the same number. */
export interface Owner {
  /** A UUID; every program that the run starts has it in its environment. */
  readonly id: string;
  /** For people: `run 4242, attempt 1`. */
  readonly run: string;
  readonly pid: number;
  /** When the process started, in clock ticks since the machine did (field 22 of /proc/<pid>/stat in proc(5)). */
  readonly startTicks: string;
  /** /proc/sys/kernel/random/boot_id: this start of this machine. Empty where the system tells none. */
  readonly bootId: string;
  /** Where `pid` means something: a job's container has numbers of its own (pid_namespaces(7)). */
  readonly pidNamespace: string;
}

/** A program that a run left behind. */
export interface Orphan {
  readonly pid: number;
  /** Its name without the path: `pg_basebackup`. */
  readonly program: string;
}

/** The variable that carries `Owner.id` to the programs of a run. */
export const ownerVariable = 'BASEBACKUP_ACTION_OWNER';

/** The variable and its value, where an environment has it. */
export function ownerOf({[ownerVariable]: id}: NodeJS.ProcessEnv): Readonly<Record<string, string>> {
  return id === undefined ? {} : {[ownerVariable]: id};
}

/** The owner of the one program that goes on to its end when its run was killed: the exchange of a service's data. */
export const exchangeOf = ({id}: Pick<Owner, 'id'>) => ({id: `${id}-exchange`});

/** This process as an owner. `run` is for people. */
export async function thisOwner(run: string): Promise<Owner> {
  const {pid} = process;
  return {id: randomUUID(), run, pid, startTicks: (await ticksOf(pid)) ?? '', ...(await surroundings())};
}

async function surroundings(): Promise<Pick<Owner, 'bootId' | 'pidNamespace'>> {
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
  return {bootId, pidNamespace: await readlink('/proc/self/ns/pid').catch(() => '')};
}

/**
 * Whether a run still goes on. `unknown` where this process cannot see it: on another machine that shares a
 * directory, in another container, before the machine was started anew, or where there is no /proc.
 */
export async function stateOf({
  pid,
  startTicks,
  bootId,
  pidNamespace,
}: Owner): Promise<'alive' | 'dead' | 'unknown'> {
  const here = await surroundings();
  if (bootId === '' || bootId !== here.bootId || pidNamespace !== here.pidNamespace) return 'unknown';
  return (await ticksOf(pid)) === startTicks ? 'alive' : 'dead';
}

/** Undefined when there is no such process, or nothing of it but its status, which its parent has not asked for. */
async function ticksOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  // The program's name is in brackets, and can hold blanks and brackets itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? undefined : fields[19];
}

/** The programs of a run that still go on, without this process itself. */
export async function orphansOf({id}: Pick<Owner, 'id'>): Promise<readonly Orphan[]> {
  const {pidNamespace: here} = await surroundings();
  const names = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      // Of another account's processes it cannot be read: those are none of ours.
      const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
      if (!environment.split('\0').includes(`${ownerVariable}=${id}`)) return [];
      // Those in a container are ended there, in a way that its first process does not take for a crash.
      if ((await readlink(`/proc/${name}/ns/pid`).catch(() => here)) !== here) return [];
      const [program = ''] = (await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '')).split('\0');
      return [{pid: Number(name), program: basename(program)}];
    }),
  );
  return found.flat().filter(({pid}) => pid !== process.pid);
}
