import {spawn} from 'node:child_process';
import {tmpdir} from 'node:os';
import {setTimeout as sleep} from 'node:timers/promises';

/** What a program of a test gets besides its arguments. */
export interface CommandOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** The caller's environment without PostgreSQL's, GitHub's and the action's variables. */
export function cleanEnvironment(): Record<string, string> {
  const foreign = /^(PG|INPUT_|GITHUB_|RUNNER_|ACTIONS_|STATE_|CI$|LC_|LANG|VITEST|NODE_)/;
  const entries = Object.entries(process.env).filter(
    ([name, value]) => value !== undefined && !foreign.test(name),
  );
  return {...Object.fromEntries(entries.map(([name, value]) => [name, value ?? ''])), LANG: 'C.UTF-8'};
}

/** Runs a program to its end and returns its standard output. Throws with both outputs when its status is not 0. */
export function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...args], {
      // A directory that every user may enter: programs run as postgres, too.
      cwd: options.cwd ?? tmpdir(),
      env: {...cleanEnvironment(), ...options.env},
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (status, signal) => {
      if (status === 0) resolve(stdout);
      else
        reject(new Error(`${program} ${args.join(' ')} ended with ${status ?? signal}\n${stderr}${stdout}`));
    });
    child.stdin.on('error', (error: NodeJS.ErrnoException) => {
      // A program that ends without reading its input says why by its status.
      if (error.code !== 'EPIPE') reject(error);
    });
    child.stdin.end(options.stdin ?? '');
  });
}

/** The time left for something that must happen, and how it is called when it does not. */
export interface Deadline {
  readonly seconds: number;
  /** Completes the sentence: waited N seconds for … */
  readonly what: string;
  /** Added to the message when the time is over. */
  readonly detail?: () => string;
}

/**
 * Asks again and again until the answer is neither false nor undefined; throws when the time is over. Rests as long as
 * the question took: one that starts programs would otherwise take the processor from what is waited for.
 */
export async function waitUntil<T>(
  ask: () => T | Promise<T>,
  {seconds, what, detail}: Deadline,
): Promise<Exclude<T, false | undefined>> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const asked = performance.now();
    const answer = await ask();
    const took = performance.now() - asked;
    if (answer !== false && answer !== undefined) return answer as Exclude<T, false | undefined>;
    if (performance.now() > end)
      throw new Error(`Waited ${seconds} seconds for ${what}.\n${detail?.() ?? ''}`);
    await sleep(Math.max(25, took));
  }
}
