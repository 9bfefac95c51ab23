import {spawnSync} from 'node:child_process';
import {chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, onTestFinished, test} from 'vitest';
import {parse} from 'yaml';

const page = readFileSync(join(import.meta.dirname, '../../docs/notifications.md'), 'utf8');
const blocks = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = '']) => parse(text) as unknown);

interface Step {
  readonly name?: string;
  readonly run?: string;
}

/** The scripts of a step's name: alone on the page, and in the workflow that has all of them. */
function scriptsOf(name: string): readonly string[] {
  const steps = blocks.flatMap((block) =>
    Array.isArray(block) ? (block as Step[]) : (block as {jobs: {tell: {steps: Step[]}}}).jobs.tell.steps,
  );
  return steps.filter((step) => step.name === name).map(({run = ''}) => run);
}

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  /** One line for each program that was started, its arguments behind it. */
  readonly calls: readonly string[];
}

/** Runs a script as the runner does, with programs in place of curl and gh that note how they are called. */
function runScript(script: string, env: Record<string, string>, openIssue = ''): Ran {
  const directory = mkdtempSync(join(tmpdir(), 'notifications-'));
  onTestFinished(() => rmSync(directory, {recursive: true}));
  const calls = join(directory, 'calls');
  for (const program of ['curl', 'gh']) {
    const answer = program === 'gh' ? `[ "$1 $2" != "issue list" ] || echo "${openIssue}"` : 'true';
    const lines = ['#!/bin/bash', `printf '%s|' ${program} "$@" >> "${calls}"`, `echo >> "${calls}"`, answer];
    writeFileSync(join(directory, program), `${lines.join('\n')}\n`);
    chmodSync(join(directory, program), 0o755);
  }
  const file = join(directory, 'step.sh');
  writeFileSync(file, script);
  const {status, stdout} = spawnSync('bash', ['-e', file], {
    env: {PATH: `${directory}:${process.env.PATH}`, RUN_URL: 'https://github.com/o/r/actions/runs/1', ...env},
    encoding: 'utf8',
  });
  const noted = existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('|\n') : [];
  return {status, stdout, calls: noted.map((call) => call.replace(/\|$/, ''))};
}

/** What curl was to send, and where. */
function sent({calls: [call = '', ...more]}: Ran): {readonly data: string; readonly url: string} {
  expect(more).toEqual([]);
  const [, data = '', url = ''] = /\|--data-raw\|(.*)\|([^|]*)$/s.exec(call) ?? [];
  return {data, url};
}

describe('Slack', () => {
  const [alone = '', inWorkflow = ''] = scriptsOf('Tell Slack');
  const webhook = {SLACK_WEBHOOK_URL: 'https://hooks.slack.com/services/T/B/x'};

  test('gets a text, whatever is in it', () => {
    const ran = runScript(alone, {...webhook, TEXT: `"quoted" 'and' $(so on)\nfailed`});
    expect(ran.status).toBe(0);
    const {data, url} = sent(ran);
    expect(url).toBe(webhook.SLACK_WEBHOOK_URL);
    expect(JSON.parse(data)).toEqual({text: `"quoted" 'and' $(so on)\nfailed`});
  });

  test.each([
    [
      {RESULT: 'success', BACKUP: 'shop-1', BYTES: '1234567890', SECONDS_TAKEN: '61.5'},
      '✅ shop-1: 1235 MB in 62 s',
    ],
    [{RESULT: 'cancelled', BACKUP: '', BYTES: '', SECONDS_TAKEN: ''}, '❌ The nightly backup: cancelled'],
  ])('is told of %o', (result, text) => {
    const {data} = sent(runScript(inWorkflow, {...webhook, ...result}));
    expect(JSON.parse(data)).toEqual({text: `${text} <https://github.com/o/r/actions/runs/1|run>`});
  });
});

describe.each(scriptsOf('Keep an issue').map((script, index) => [index, script] as const))(
  'an issue (script %i)',
  (_, script) => {
    test.each([
      ['success', '', ['gh|issue|list']],
      ['success', '7', ['gh|issue|list', 'gh|issue|close|7']],
      ['failure', '7', ['gh|issue|list', 'gh|issue|comment|7']],
      ['cancelled', '', ['gh|issue|list', 'gh|label|create|backup-failed', 'gh|issue|create']],
    ])('after %s, with open issue "%s"', (RESULT, openIssue, expected) => {
      const {status, calls} = runScript(script, {RESULT}, openIssue);
      expect(status).toBe(0);
      expect(calls.length).toBe(expected.length);
      for (const [index, call] of expected.entries())
        expect(calls[index]).toMatch(new RegExp(`^${call.replaceAll('|', '\\|')}`));
    });
  },
);

test('the dead man’s switch is told of success and of failure at two addresses', () => {
  const scripts = scriptsOf("Call the dead man's switch");
  expect(scripts.length).toBe(2);
  for (const script of scripts) {
    const ping = (RESULT: string) => sent(runScript(script, {RESULT, PING_URL: 'https://hc-ping.com/u'})).url;
    expect(ping('success')).toBe('https://hc-ping.com/u');
    expect(ping('failure')).toBe('https://hc-ping.com/u/fail');
  }
});

test('a limit of one’s own fails the step with an annotation', () => {
  const [script = ''] = scriptsOf('An hour was promised');
  const {status, stdout} = runScript(script, {SECONDS_TAKEN: '4000.5'});
  expect(status).toBe(1);
  expect(stdout).toContain('::error title=Too slow::The restore took 4000.5 s');
});
