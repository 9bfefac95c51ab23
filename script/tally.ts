import {existsSync, readFileSync} from 'node:fs';

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
    readonly status: string;
    readonly assertionResults: readonly {readonly status: string}[];
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

if (import.meta.main) {
  const [file = '', exitStatus = '1'] = process.argv.slice(2);
  const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as VitestReport) : undefined;
  const {passed, failed, skipped} = tally(report, Number(exitStatus));
  console.log(passed, failed, skipped);
}
