import {AsyncLocalStorage} from 'node:async_hooks';

/** A stretch of a step's work. */
export interface Phase {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly seconds: number;
  /** Whether it ended by an error. */
  readonly failed: boolean;
  /** Whether it is a part of another phase. */
  readonly isStage?: boolean;
}

/** How much of the cluster had arrived at a time. */
export interface Sample {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly doneBytes: number;
}

/** The backup that a step is about, as far as it is known. */
export interface Subject {
  readonly name: string;
  /** For people; undefined while it is being made. */
  readonly location?: string;
  /** Undefined where nothing tells when it was finished, ISO 8601 in UTC. */
  readonly metadata?: {readonly finishedAt: string};
}

/** A backup that the step has found damaged. */
export interface Damage {
  readonly name: string;
  /** What is wrong with it, for people. */
  readonly reason: string;
  /** What comes of that. */
  readonly note: string;
}

/** What a step did when: for its report. One process is one step, and has one journal. */
export interface Journal {
  /** In the order of their beginnings. */
  readonly phases: readonly Phase[];
  readonly samples: readonly Sample[];
  /** Undefined until one is found, or begun. */
  readonly backup?: Subject;
  readonly damages?: readonly Damage[];
}

/** A backup of a day has a sample a second: every other one goes as often as there are more. */
const mostSamples = 512;

const phases: Phase[] = [];
const warnings = new Set<string>();
const damages: Damage[] = [];
let isLost = false;
let samples: Sample[] = [];
let backup: Subject | undefined;
let stage: {readonly name: string; readonly startedAt: number} | undefined;
const within = new AsyncLocalStorage<true>();

/** Takes the time of some work; of work within other work that is timed, the outer one's alone. */
export async function timePhase<T>(name: string, work: () => Promise<T>): Promise<T> {
  if (within.getStore()) return work();
  const startedAt = Date.now();
  const begin = performance.now();
  let failed = true;
  try {
    const value = await within.run(true, work);
    failed = false;
    return value;
  } finally {
    endStage(failed);
    phases.push({name, startedAt, seconds: (performance.now() - begin) / 1000, failed});
  }
}

/** Notes that the phase that is going on comes to another stage of it. */
export function beginStage(name: string): void {
  endStage(false);
  stage = {name, startedAt: Date.now()};
}

function endStage(failed: boolean): void {
  if (stage === undefined) return;
  phases.push({...stage, seconds: (Date.now() - stage.startedAt) / 1000, failed, isStage: true});
  stage = undefined;
}

/** Notes which backup the step is about, so that a failure can tell it. */
export function noteBackup(subject: Subject): void {
  backup = subject;
}

/** Notes that a backup is damaged. */
export function noteDamage(damage: Damage): void {
  damages.push(damage);
}

/** Notes that the step's work has failed: it does no more than tidy up and tell. */
export function noteFailure(): void {
  isLost = true;
}

/** Whether that was noted. */
export function hasFailed(): boolean {
  return isLost;
}

/** Notes how much has arrived. Less than before: it began anew. */
export function noteProgress(doneBytes: number, at: number = Date.now()): void {
  if (doneBytes < (samples.at(-1)?.doneBytes ?? 0)) samples = [];
  samples.push({at, doneBytes});
  if (samples.length > mostSamples) samples = samples.filter((_, index) => index % 2 === 0);
}

/** Notes a warning; false: it was noted before. */
export function noteWarning(message: string): boolean {
  const isNew = !warnings.has(message);
  warnings.add(message);
  return isNew;
}

/** What was noted so far. */
export function readJournal(): Journal {
  return {
    phases: phases.toSorted(
      (a, b) => a.startedAt - b.startedAt || Number(a.isStage ?? false) - Number(b.isStage ?? false),
    ),
    samples,
    damages,
    ...(backup && {backup}),
  };
}
