import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {expect, onTestFinished, test} from 'vitest';
import {parse} from 'yaml';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/many-clusters.md'), 'utf8');
const workflow = readFileSync(join(root, '.github/workflows/many-clusters.yml'), 'utf8');

interface Step {
  readonly name?: string;
  readonly uses?: string;
  readonly run?: string;
}

const {jobs} = parse(workflow) as {jobs: Record<string, {steps: Step[]}>};
const clusters = JSON.stringify(['shop', 'crm', 'never'].map((name) => ({name, secret: 'A_SECRET'})));

/** Runs the script of a step as the runner does, in a directory of its own. */
function runStep(job: string, name: string, env: Record<string, string>, directory: string): string {
  const script = jobs[job]?.steps.find((step) => step.name === name)?.run;
  if (script === undefined) throw new Error(`${job} has no step ${name} with a script.`);
  const file = join(directory, 'step.sh');
  writeFileSync(file, script);
  return execFileSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', file], {
    cwd: directory,
    env: {
      PATH: process.env.PATH,
      RUNNER_TEMP: directory,
      GITHUB_STEP_SUMMARY: join(directory, 'summary'),
      ...env,
    },
    encoding: 'utf8',
  });
}

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'many-clusters-'));
  onTestFinished(() => rmSync(path, {recursive: true}));
  return path;
}

const summaryOf = (mode: string, at: string) =>
  runStep('summary', 'One table of all', {MODE: mode, CLUSTERS: clusters}, at);

test('the page has the workflow as it is here, but for how it gets the action', () => {
  const block = /```yaml\n(name: Many clusters\n.*?)```/s.exec(page)?.[1];
  const pasted = parse((block ?? '').replaceAll('<owner>/pg-basebackup-action@v1', './')) as object;
  const own = parse(workflow) as {jobs: Record<string, {steps: Step[]}>};
  for (const job of Object.values(own.jobs))
    job.steps = job.steps.filter(({uses}) => uses?.startsWith('actions/checkout@') !== true);
  expect(pasted).toEqual(own);
});

test('the table has a row for each cluster, also for one that failed and for one that never ran', () => {
  const at = directory();
  const backup = {
    ...{CLUSTER: 'shop', RESULT: 'success', BACKUP: 'shop-20261122-021700', SERVER: '17.2'},
    ...{BYTES: '1234567890', SECONDS_TAKEN: '61.234', AGE_SECONDS: '', PROOF: ''},
  };
  const nothing = Object.fromEntries(Object.keys(backup).map((name) => [name, '']));
  const failed = {...nothing, CLUSTER: 'crm', RESULT: 'failure'};
  for (const env of [backup, failed]) runStep('cluster', "Write the cluster's row", env, at);
  expect(readdirSync(join(at, 'row')).sort()).toEqual(['crm.json', 'shop.json']);

  mkdirSync(join(at, 'rows'));
  for (const file of readdirSync(join(at, 'row')))
    writeFileSync(join(at, 'rows', file), readFileSync(join(at, 'row', file)));
  summaryOf('backup', at);
  expect(readFileSync(join(at, 'summary'), 'utf8').split('\n')).toEqual([
    '### backup: 1 of 3 clusters succeeded',
    '',
    '| | Cluster | Backup | PostgreSQL | Size (MB) | Seconds | Age (hours) | Proven |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    '| ✅ | shop | shop-20261122-021700 | 17.2 | 1234.6 | 61.2 |  |  |',
    '| ❌ failure | crm |  |  |  |  |  |  |',
    '| ❌ did not run | never |  |  |  |  |  |  |',
    '',
  ]);
});

test('the table of restores says how old and how far proven each backup is', () => {
  const at = directory();
  const env = {
    ...{CLUSTER: 'shop', RESULT: 'success', BACKUP: 'shop-20261122-021700', SERVER: '17.2'},
    ...{BYTES: '', SECONDS_TAKEN: '4.5', AGE_SECONDS: '37800', PROOF: 'read'},
  };
  runStep('cluster', "Write the cluster's row", env, at);
  mkdirSync(join(at, 'rows'));
  writeFileSync(join(at, 'rows', 'shop.json'), readFileSync(join(at, 'row', 'shop.json')));
  expect(summaryOf('restore', at)).toContain(
    '| ✅ | shop | shop-20261122-021700 | 17.2 |  | 4.5 | 10.5 | read |',
  );
});

test('there is a table, of failures alone, when no job left a row', () => {
  expect(summaryOf('verify', directory())).toMatch(/^### verify: 0 of 3 clusters succeeded\n/);
});
