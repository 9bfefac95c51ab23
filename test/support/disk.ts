import {spawnSync} from 'node:child_process';
import {mkdirSync, rmSync, statfsSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {onTestFinished} from 'vitest';
import {asRoot, sudo} from './as-root.js';

/** A small file system in memory. */
export interface Disk {
  readonly directory: string;
  /** Fills it up, but for so many bytes. */
  fill(exceptBytes: number): void;
  makeReadOnly(): void;
  /** Unmounts it, with all that is in it. */
  remove(): void;
}

/** Whether this machine lets us mount: for root, and where sudo asks for no password. */
export const canMount =
  process.platform === 'linux' &&
  (sudo.length === 0 || spawnSync('sudo', ['--non-interactive', 'true']).status === 0);

/** Mounts a disk of so many MiB at a path, until the end of the test. */
export function disk(directory: string, mebibytes: number): Disk {
  const made = mountDisk(directory, mebibytes);
  onTestFinished(made.remove);
  return made;
}

/** Mounts a disk of so many MiB at a path; the caller removes it. */
export function mountDisk(directory: string, mebibytes: number): Disk {
  mkdirSync(directory, {recursive: true});
  asRoot('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=1777`, 'tmpfs', directory);
  mounted.add(directory);
  const filler = join(directory, 'filler');
  return {
    directory,
    fill(exceptBytes) {
      rmSync(filler, {force: true});
      const {bavail, bsize} = statfsSync(directory);
      try {
        writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - exceptBytes)));
      } catch (error) {
        // Somebody else writes to it, too.
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    },
    makeReadOnly: () => void asRoot('mount', '-o', 'remount,ro', directory),
    remove() {
      mounted.delete(directory);
      // Lazily, for a program that a killed run left may still hold it.
      asRoot('umount', '--lazy', directory);
    },
  };
}

const mounted = new Set<string>();

// Even when a worker ends early, no disk outlives it.
process.once('exit', () => {
  for (const directory of mounted) asRoot('umount', '--lazy', directory);
});
