import {UserError} from './errors.js';
import {group, info, warning} from './log.js';

/** Something that was found before a backup or a restore. */
export interface Finding {
  /** An `error` stops the step, a `warning` is an annotation of the run, a `note` is good to know. */
  readonly level: 'error' | 'warning' | 'note';
  /** In a word or two: `WAL senders`. */
  readonly subject: string;
  readonly observed: string;
  /** What to do, as text to paste; empty where there is nothing to do. */
  readonly cure: string;
  /** What was thrown, where that is how it was found. */
  readonly cause?: UserError;
}

/** The findings of a backup or a restore that cannot start. */
export class HinderedError extends UserError {
  readonly findings: readonly Finding[];

  constructor(message: string, cure: string, findings: readonly Finding[]) {
    super(message, cure);
    this.name = 'HinderedError';
    this.findings = findings;
  }
}

/** An error as a finding. */
export function findingOf(subject: string, cause: UserError): Finding {
  return {level: 'error', subject, observed: cause.message, cure: cause.cure, cause};
}

/** Shows all findings in a group of the log, and warnings as annotations too. */
export async function showFindings(findings: readonly Finding[]): Promise<void> {
  const counted = (level: Finding['level']) => {
    const count = findings.filter((one) => one.level === level).length;
    return `${count} ${level}${count === 1 ? '' : 's'}`;
  };
  const title = `Preflight: ${counted('error')}, ${counted('warning')}, ${counted('note')}`;
  const width = Math.max(0, ...findings.map(({subject}) => subject.length));
  await group(title, async () => {
    for (const {level, subject, observed, cure} of findings) {
      info(`${level.padEnd(7)}  ${subject.padEnd(width)}  ${observed}`);
      if (cure !== '') info(`${' '.repeat(width + 11)}${cure}`);
    }
  });
  for (const {level, subject, observed, cure} of findings)
    if (level === 'warning') warning(`${subject}: ${observed}${cure === '' ? '' : `\n${cure}`}`);
}

/** What came of a part of a preflight: a value, or why there is none. */
export type Attempt<T> = {readonly value: T} | {readonly finding: Finding};

/** Goes on after a UserError, so that everything is told at once. Throws whatever else is thrown. */
export async function attempt<T>(subject: string, work: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return {value: await work()};
  } catch (error) {
    if (error instanceof UserError) return {finding: findingOf(subject, error)};
    throw error;
  }
}

/** The findings of those attempts that failed; undefined stands for one that was not made. */
export function failuresOf(attempts: readonly (Attempt<unknown> | undefined)[]): readonly Finding[] {
  return attempts.flatMap((one) => (one && 'finding' in one ? [one.finding] : []));
}

/**
 * Throws a HinderedError when a finding is an error: the one that was thrown as it is, several together in one message.
 */
export function refuseErrors(findings: readonly Finding[], story: 'backup' | 'restore'): void {
  // When the step's time is over, whatever it still asks fails by one and the same error.
  const errors = findings.filter(
    ({level, cause}, index) =>
      level === 'error' &&
      (cause === undefined || findings.findIndex((other) => other.cause === cause) === index),
  );
  const [first, second] = errors;
  if (first === undefined) return;
  if (second === undefined) {
    const message = first.cause ? first.observed : `${first.subject}: ${first.observed}`;
    throw new HinderedError(message, first.cure, findings);
  }
  const list = errors.map(({subject, observed, cure}) => `${subject}: ${observed}\n${cure}`);
  throw new HinderedError(
    `${errors.length} things stand in the way of the ${story}.\n\n${list.join('\n\n')}\n`,
    'Then check again with dry-run: true, which changes nothing.',
    findings,
  );
}
