import {readdirSync, readlinkSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';

/**
 * The names of the files of a directory that a process has open (proc(5), /proc/pid/fd). Undefined when it cannot be
 * told: the process has ended, or is somebody else's. Asked at once, without a thread: this is in memory, and looked at
 * many times a second.
 */
export function openFiles(pid: number, directory: string): ReadonlySet<string> | undefined {
  const descriptors = `/proc/${pid}/fd`;
  try {
    const paths = readdirSync(descriptors).map((name) => linkOf(join(descriptors, name)));
    return new Set(paths.filter((path) => dirname(path) === directory).map((path) => basename(path)));
  } catch {
    return undefined;
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // One that is closed meanwhile is none of them any more.
    return '';
  }
}
