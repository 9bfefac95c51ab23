import {expect, test} from 'vitest';
import {failuresOf, tally, type VitestReport} from '../../script/tally.ts';

/** A report of files, each a list of its tests' outcomes; a file fails as soon as one of its tests does. */
function reportOf(...files: {tests: string[]; status?: string}[]): VitestReport {
  const outcomes = files.flatMap(({tests}) => tests);
  const count = (outcome: string) => outcomes.filter((each) => each === outcome).length;
  return {
    numPassedTests: count('passed'),
    numPendingTests: count('skipped'),
    numTodoTests: count('todo'),
    testResults: files.map(({tests, status}) => ({
      status: status ?? (tests.includes('failed') ? 'failed' : 'passed'),
      name: '/somewhere/one.test.ts',
      message: status === 'failed' ? 'SyntaxError:\n  it does not load' : '',
      assertionResults: tests.map((outcome, index) => ({
        status: outcome,
        fullName: `test ${index}`,
        failureMessages: outcome === 'failed' ? ['AssertionError: expected 1\n to be 2'] : [],
      })),
    })),
  };
}

test('counts tests that passed, failed, and were skipped', () => {
  const report = reportOf(
    {tests: ['passed', 'passed', 'failed', 'failed']},
    {tests: ['passed', 'skipped', 'todo']},
  );
  expect(tally(report, 1)).toEqual({passed: 3, failed: 2, skipped: 2});
});

test('names what failed, with the beginning of why', () => {
  const report = reportOf(
    {tests: ['passed', 'failed']},
    {tests: ['passed'], status: 'failed'},
    {tests: ['passed']},
  );
  expect(failuresOf(report)).toEqual([
    'one.test.ts > test 1 > AssertionError: expected 1 to be 2',
    'one.test.ts > SyntaxError: it does not load',
  ]);
});

test('a file that fails without a failed test counts as a failure', () => {
  const report = reportOf(
    {tests: ['passed', 'failed']},
    {tests: [], status: 'failed'},
    {tests: ['skipped'], status: 'failed'},
  );
  expect(tally(report, 1)).toEqual({passed: 1, failed: 3, skipped: 1});
});

test.for([
  [
    'ends badly although every test passed',
    reportOf({tests: ['passed']}),
    1,
    {passed: 1, failed: 1, skipped: 0},
  ],
  ['has no test', reportOf(), 0, {passed: 0, failed: 1, skipped: 0}],
  ['only skips', reportOf({tests: ['skipped']}), 0, {passed: 0, failed: 1, skipped: 1}],
  ['leaves no report', undefined, 0, {passed: 0, failed: 1, skipped: 0}],
] as const)('a run that %s counts as a failure', ([, report, status, expected]) => {
  expect(tally(report, status)).toEqual(expected);
});
