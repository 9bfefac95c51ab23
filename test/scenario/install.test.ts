import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from 'vitest';
import {formatMetadata} from '../../src/backup-set/metadata.js';
import {madeUpMetadata} from '../support/made-up-metadata.js';
import {failure, runAction} from '../support/runner.js';
import {restoreInputs, writeScript} from '../support/steps.js';
import {listAll, type Workspace, workspace} from '../support/workspace.js';

/** A workspace with the metadata of a backup, and programs in the place of the system's, by name. */
function runnerWith(programs: Readonly<Record<string, readonly string[]>>): {
  home: Workspace;
  programs: string;
} {
  const home = workspace();
  const directory = join(home.root, 'programs');
  mkdirSync(join(home.directory, 'backups', 'nightly'), {recursive: true});
  writeFileSync(join(home.directory, 'backups', 'nightly.json'), formatMetadata(madeUpMetadata));
  mkdirSync(directory);
  for (const [name, lines] of Object.entries(programs)) writeScript(join(directory, name), lines);
  return {home, programs: directory};
}

/** Never root, so that nothing of this machine is changed: sudo is none that does anything. */
const harmless = {id: ['echo 1001'], sleep: ['exit 0'], dpkg: ['echo amd64'], 'apt-cache': ['exit 0']};

const restore = ({home, programs}: ReturnType<typeof runnerWith>, env = {}) =>
  runAction(restoreInputs({install: 'auto'}), {workspace: home, programs, env});

describe('an installation', () => {
  test('that waits in vain for another one says so, and leaves nothing', async () => {
    const lock = 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)';
    const runner = runnerWith({
      ...harmless,
      'apt-get': ['exit 0'],
      sudo: ['[ "$2" = true ] && exit 0', 'echo "$@" >>"$0.log"', `echo '${lock}' >&2`, 'exit 100'],
    });
    const result = await restore(runner);
    expect(failure(result)).toMatch(/The backup is of PostgreSQL 99 and only a server of 99 can start it/);
    expect(failure(result)).toMatch(
      /postgresql-99 cannot be installed: another program is installing packages/,
    );
    expect(failure(result)).toContain('sudo systemctl stop apt-daily.service');
    expect(listAll(runner.home.temp)).toEqual([]);
  });

  test('of a version that nobody has says so', async () => {
    const runner = runnerWith({...harmless, 'apt-get': ['exit 0'], sudo: ['exit 0']});
    expect(failure(await restore(runner))).toMatch(
      /postgresql-99 cannot be installed: neither the configured package sources nor PostgreSQL's own have it for /,
    );
  });

  test('is not tried where the account may not use sudo', async () => {
    const runner = runnerWith({...harmless, 'apt-get': ['exit 1'], sudo: ['exit 1']});
    expect(failure(await restore(runner))).toMatch(/is not root, and sudo asks for a password/);
  });

  test('is not tried with install: never', async () => {
    const runner = runnerWith({...harmless, 'apt-get': ['echo ran >"$0.log"'], sudo: ['echo ran >"$0.log"']});
    const result = await runAction(restoreInputs({install: 'never'}), {workspace: runner.home, ...runner});
    expect(failure(result)).toMatch(/only a server of 99 can start it; the runner has .*\n.*postgresql-99$/);
    expect(listAll(runner.programs).filter((name) => name.endsWith('.log'))).toEqual([]);
  });
});

describe('a runner without Linux', () => {
  test.for([
    ['macOS', 'mode: restore'],
    ['Windows', 'this action'],
  ] as const)('is refused at once: %s', async ([RUNNER_OS, refused]) => {
    const result = await restore(runnerWith({}), {RUNNER_OS});
    expect(failure(result)).toContain(`The runner is ${RUNNER_OS}, and ${refused} needs one with Linux.`);
    expect(failure(result)).toContain('runs-on: ubuntu-24.04');
  });
});
