import {readdir, readlink} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';

/**
 * The names of the files of a directory that a process has open (proc(5), /proc/pid/fd). Undefined when it cannot be
 * told: the process has ended, or is somebody else's.
 */
export async function openFiles(pid: number, directory: string): Promise<ReadonlySet<string> | undefined> {
  const descriptors = `/proc/${pid}/fd`;
  try {
    const names = await readdir(descriptors);
    // One that is closed meanwhile is none of them any more.
    const paths = await Promise.all(names.map((name) => readlink(join(descriptors, name)).catch(() => '')));
    return new Set(paths.filter((path) => dirname(path) === directory).map((path) => basename(path)));
  } catch {
    return undefined;
  }
}
