import {execFileSync, spawnSync} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, onTestFinished, test} from 'vitest';
import {parse} from 'yaml';

interface Step {
  readonly name?: string;
  readonly run?: string;
}

/** The script of a step of a workflow of this repository. */
function scriptOf(workflow: string, job: string, name: string): string {
  const path = join(import.meta.dirname, '../../.github/workflows', workflow);
  const {jobs} = parse(readFileSync(path, 'utf8')) as {jobs: Record<string, {steps: readonly Step[]}>};
  const script = jobs[job]?.steps.find((step) => step.name === name)?.run;
  if (script === undefined) throw new Error(`${workflow} has no step ${name} with a script.`);
  return script;
}

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  /** How gh was called, one line for each time. */
  readonly calls: readonly string[];
}

/** Runs a script as the runner does, with a gh that notes how it is called and answers as told. */
function runScript(script: string, env: Record<string, string>, answers = ':', at = temporary()): Ran {
  const programs = temporary();
  const calls = join(programs, 'calls');
  const lines = ['#!/bin/bash', `printf '%s\\n' "$*" >> '${calls}'`, answers];
  writeFileSync(join(programs, 'gh'), `${lines.join('\n')}\n`, {mode: 0o755});
  const {status, stdout} = spawnSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', script], {
    cwd: at,
    env: {PATH: `${programs}:${process.env.PATH}`, GH_REPO: 'o/r', ...env},
    encoding: 'utf8',
  });
  const noted = existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('\n') : [];
  return {status, stdout, calls: noted};
}

function temporary(): string {
  const path = mkdtempSync(join(tmpdir(), 'own-workflows-'));
  onTestFinished(() => rmSync(path, {recursive: true}));
  return path;
}

describe('a tag', () => {
  const script = scriptOf(
    'release.yml',
    'check',
    'The tag is the version of package.json and package-lock.json, and on main',
  );

  test.each([
    {tag: 'v1.2.3', version: '1.2.3', locked: '1.2.3', isOnMain: true, status: 0},
    {tag: 'v1.2.4', version: '1.2.3', locked: '1.2.3', isOnMain: true, status: 1},
    {tag: 'v1.2.3', version: '1.2.3', locked: '1.2.2', isOnMain: true, status: 1},
    {tag: 'v1.2.3', version: '1.2.3', locked: '1.2.3', isOnMain: false, status: 1},
  ])('is looked at before anything is made of it: %o', ({tag, version, locked, isOnMain, status}) => {
    const at = temporary();
    const git = (...args: readonly string[]) =>
      execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@example.com', ...args], {
        cwd: at,
        encoding: 'utf8',
      }).trim();
    writeFileSync(join(at, 'package.json'), JSON.stringify({version}));
    writeFileSync(join(at, 'package-lock.json'), JSON.stringify({version: locked}));
    git('init', '--quiet');
    git('commit', '--quiet', '--allow-empty', '--message=main');
    git('update-ref', 'refs/remotes/origin/main', 'HEAD');
    if (!isOnMain) git('commit', '--quiet', '--allow-empty', '--message=beside');
    const env = {GITHUB_REF_NAME: tag, GITHUB_SHA: git('rev-parse', 'HEAD')};
    expect(runScript(script, env, ':', at).status).toBe(status);
  });
});

describe('a release', () => {
  const make = scriptOf('release.yml', 'release', 'Make the release');
  const move = scriptOf('release.yml', 'release', 'Move the tag of the major version');
  /** What GitHub's API answers: every ref that begins as asked, behind the filter of --jq. */
  const answers = (tags: string, majors: string) =>
    `case "$*" in *matching-refs/tags/v1.\\ *) printf 'refs/tags/%s\\n' ${tags} ;; *matching-refs/tags/v1\\ *) echo "${majors}" ;; esac`;
  const env = {GITHUB_REF_NAME: 'v1.10.0', GITHUB_SHA: 'c0ffee'};

  test('is made of a tag that is there', () => {
    expect(runScript(make, env).calls).toEqual([
      'release create v1.10.0 --verify-tag --title v1.10.0 --generate-notes',
    ]);
    expect(runScript(make, {...env, GITHUB_REF_NAME: 'v1.10.0-rc.1'}).calls).toEqual([
      'release create v1.10.0-rc.1 --verify-tag --title v1.10.0-rc.1 --generate-notes --prerelease',
    ]);
  });

  test('moves the tag of its major version, or makes it', () => {
    const moved = runScript(move, env, answers('v1.9.0 v1.10.0 v1.11.0-rc.1', 'refs/tags/v1'));
    expect(moved.status).toBe(0);
    expect(moved.calls.at(-1)).toBe(
      'api --method PATCH repos/o/r/git/refs/tags/v1 --raw-field sha=c0ffee --field force=true --silent',
    );
    const made = runScript(move, env, answers('v1.10.0', ''));
    expect(made.status).toBe(0);
    expect(made.calls.at(-1)).toBe(
      'api --method POST repos/o/r/git/refs --raw-field ref=refs/tags/v1 --raw-field sha=c0ffee --silent',
    );
  });

  test('of an older version leaves it alone', () => {
    const ran = runScript(move, env, answers('v1.10.0 v1.11.0', 'refs/tags/v1'));
    expect(ran).toMatchObject({status: 0, stdout: 'v1 stays at v1.11.0.\n'});
    expect(ran.calls).toHaveLength(1);
  });
});

describe('the drill', () => {
  const script = scriptOf('drill.yml', 'tell', 'Keep an issue');

  test.each([
    ['success', 'success', '', ['issue list']],
    ['success', 'success', '7', ['issue list', 'issue close 7']],
    ['skipped', 'success', '', ['issue list']],
    ['skipped', 'failure', '', ['issue list', 'label create', 'issue create']],
    ['failure', 'success', '', ['issue list', 'label create', 'issue create']],
    ['failure', 'success', '7', ['issue list', 'issue comment 7']],
    ['cancelled', 'skipped', '7', ['issue list', 'issue comment 7']],
  ])(
    'with a restore of %s and a backup of %s and issue "%s" open calls %o',
    (restored, backedUp, open, calls) => {
      const env = {RESTORED: restored, BACKED_UP: backedUp, RUN_URL: 'https://github.com/o/r/actions/runs/1'};
      const ran = runScript(script, env, `[ "$1 $2" != 'issue list' ] || echo '${open}'`);
      expect(ran.status).toBe(0);
      expect(ran.calls.map((call) => call.match(/^\w+ \w+( \d+)?/)?.[0])).toEqual(calls);
    },
  );
});
