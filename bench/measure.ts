import {spawn} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {setTimeout as sleep} from 'node:timers/promises';
import {type ActionResult, startAction, succeeded} from '../test/support/runner.js';
import type {Workspace} from '../test/support/workspace.js';

/** What one run took. */
export interface Sample {
  readonly seconds: number;
  /** Peak resident memory of the Node process in MiB; only for runs of the action. */
  readonly peakMebibytes?: number;
  readonly result?: ActionResult;
}

/** One of the things that are compared. */
export interface Contender {
  readonly name: string;
  /** Makes ready for a run; not measured. */
  prepare?(): Promise<void>;
  run(): Promise<Sample>;
}

/** Samples of each contender by its name, in the order in which they were taken. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/** Runs the contenders in turns, so that what the machine does meanwhile hits all of them alike. */
export async function interleave(contenders: readonly Contender[], rounds: number): Promise<Samples> {
  const samples = new Map<string, Sample[]>(contenders.map(({name}) => [name, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const contender of contenders) {
      await contender.prepare?.();
      // What earlier runs have written must not be flushed on this one's time.
      await command('sync', []);
      const sample = await contender.run();
      samples.get(contender.name)?.push(sample);
      process.stderr.write(`  round ${round}: ${contender.name} ${sample.seconds.toFixed(2)} s\n`);
    }
  }
  return samples;
}

/** Runs the action to its end, with the clock on its process and an eye on its memory. */
export async function timeAction(
  inputs: Readonly<Record<string, string>>,
  options: {workspace: Workspace; env?: Readonly<Record<string, string>>},
): Promise<Sample> {
  const begin = performance.now();
  const action = startAction(inputs, {...options, timeoutSeconds: 3600});
  const peak = {kibibytes: 0, isOver: false};
  const watching = (async () => {
    while (!peak.isOver) {
      peak.kibibytes = Math.max(peak.kibibytes, peakKibibytes(action.pid));
      await sleep(20);
    }
  })();
  const result = succeeded(await action.result);
  const seconds = (performance.now() - begin) / 1000;
  peak.isOver = true;
  await watching;
  return {seconds, peakMebibytes: peak.kibibytes / 1024, result};
}

/** A program and its arguments. */
export type CommandLine = readonly [program: string, args: readonly string[]];

/** Runs programs one after the other to their ends, with the clock on all of them. */
export async function timeCommands(...commands: readonly CommandLine[]): Promise<Sample> {
  const begin = performance.now();
  for (const [program, args] of commands) await command(program, args);
  return {seconds: (performance.now() - begin) / 1000};
}

/** Runs a program; throws when its status is not 0. */
export function command(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
      env: {...process.env, ...env},
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.once('error', reject);
    child.once('close', (status) => {
      if (status === 0) resolve();
      else reject(new Error(`${program} ${args.join(' ')} ended with status ${status}\n${said}`));
    });
  });
}

/** The median of the samples' seconds. */
export function medianSeconds(samples: readonly Sample[] | undefined): number {
  return median((samples ?? []).map(({seconds}) => seconds));
}

/** The middle of some numbers, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.slice(Math.floor((sorted.length - 1) / 2), Math.floor(sorted.length / 2) + 1);
  return middle.reduce((sum, value) => sum + value, 0) / middle.length;
}

/** The highest peak of the action's memory in MiB. */
export function highestPeak(samples: readonly Sample[] | undefined): number {
  return Math.max(...(samples ?? []).map(({peakMebibytes}) => peakMebibytes ?? 0));
}

/** The kernel keeps the peak itself, so that looking from time to time misses only the last moments. */
function peakKibibytes(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // It has ended.
  }
}
