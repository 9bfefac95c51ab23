import {execFileSync} from 'node:child_process';

/** What goes ahead of a command that needs root: nothing for root itself. */
export const sudo: readonly string[] = process.getuid?.() === 0 ? [] : ['sudo', '--non-interactive'];

/** Runs a command as root to its end, also while the process ends, and returns what it wrote. Throws when it fails. */
export function asRoot(...command: readonly string[]): string {
  const [program = '', ...args] = [...sudo, ...command];
  return execFileSync(program, args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
}
