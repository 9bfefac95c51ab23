import {existsSync, readFileSync} from 'node:fs';
import {basename} from 'node:path';

/** How many tests of a run passed, failed, and were skipped. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What vitest's JSON reporter writes, as far as it is read here. */
export interface VitestReport {
  readonly numPassedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  /** One for each file of tests. */
  readonly testResults: readonly {
    /** The path of the file. */
    readonly name: string;
    readonly status: string;
    /** Why the file itself failed. */
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[] | null;
    }[];
  }[];
}

/**
 * Counts a run of vitest. A file that failed without a failed test (it does not load, or a hook threw) counts as
 * one failure; so does a run that ended badly without a failed file, or in which no test ran at all.
 */
export function tally(report: VitestReport | undefined, exitStatus: number): Tally {
  if (report === undefined) return {passed: 0, failed: 1, skipped: 0};
  const {numPassedTests: passed, numPendingTests, numTodoTests} = report;
  const failures = report.testResults.map(({status, assertionResults}) => {
    const failedTests = assertionResults.filter((test) => test.status === 'failed').length;
    return status === 'failed' ? Math.max(failedTests, 1) : failedTests;
  });
  const failed = failures.reduce((sum, count) => sum + count, 0);
  const isSilentFailure = failed === 0 && (exitStatus !== 0 || passed === 0);
  return {passed, failed: isSilentFailure ? 1 : failed, skipped: numPendingTests + numTodoTests};
}

/** A line for each failure: its file, its name, and how its message begins. For the end of a long log. */
export function failuresOf({testResults}: VitestReport): readonly string[] {
  const line = (...parts: readonly string[]) => parts.join(' > ').replaceAll(/\s+/g, ' ').slice(0, 2000);
  return testResults.flatMap(({name, status, message = '', assertionResults}) => {
    const file = basename(name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    if (failed.length === 0 && status === 'failed') return [line(file, message)];
    return failed.map(({fullName, failureMessages}) => line(file, fullName, failureMessages?.[0] ?? ''));
  });
}

if (import.meta.main) {
  const [file = '', exitStatus = '1'] = process.argv.slice(2);
  const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as VitestReport) : undefined;
  const {passed, failed, skipped} = tally(report, Number(exitStatus));
  console.log(passed, failed, skipped);
  for (const failure of report ? failuresOf(report) : []) console.log(failure);
}
