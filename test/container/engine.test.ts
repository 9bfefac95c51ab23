import {existsSync, mkdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {backedUpService} from '../support/backed-up.js';
import {run} from '../support/command.js';
import {describeWithEngine} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, service} from '../support/service.js';
import {
  prepareInputs,
  replicator,
  serviceBackupInputs,
  serviceRestoreInputs,
  traces,
} from '../support/service-steps.js';
import {type Inputs, writeScript} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** A directory with a docker client that never hears of the end of the first program whose line matches. */
async function deafClient(home: Workspace, pattern: string): Promise<string> {
  const directory = join(home.root, 'deaf');
  mkdirSync(directory);
  const docker = (await run('sh', ['-c', 'command -v docker'])).trim();
  writeScript(join(directory, 'docker'), [
    // The shells that stay in the container, and what they are to run.
    `case "$*" in *--interactive*' sh') ;; *) exec '${docker}' "$@" ;; esac`,
    'while IFS= read -r line; do',
    `  case $line in ${pattern})`,
    `    if mkdir '${directory}/heard' 2>/dev/null; then echo 'pg-basebackup-action process 999999' >&2; exec sleep 300; fi ;;`,
    '  esac',
    '  printf \'%s\\n\' "$line"',
    `done | '${docker}' "$@"`,
  ]);
  return directory;
}

describeWithEngine('the arguments of docker', () => {
  test('hold no password, whatever the mode', async () => {
    const home = workspace();
    const own = await service(images['18-forky']);
    const programs = join(home.root, 'telling');
    mkdirSync(programs);
    const docker = (await run('sh', ['-c', 'command -v docker'])).trim();
    const seen = join(home.root, 'arguments');
    writeScript(join(programs, 'docker'), [`printf '%s\\n' "$*" >> '${seen}'`, `exec '${docker}' "$@"`]);
    const step = async (inputs: Inputs) => succeeded(await runAction(inputs, {workspace: home, programs}));
    const admin = {'admin-user': own.superuser, 'admin-password': own.password};
    await step(prepareInputs(own, admin));
    await step(serviceBackupInputs(own));
    await step(serviceRestoreInputs(own));
    const text = readFileSync(seen, 'utf8');
    expect(text).toContain('pg_basebackup');
    expect(text).toContain('--env PGPASSFILE');
    for (const secret of [replicator.password, replicator.password.replaceAll('\\', '\\\\'), own.password])
      expect(text).not.toContain(secret);
  });
});

describeWithEngine('an engine that misses the end of a program', () => {
  test('is asked again where nothing is done twice by that', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const programs = await deafClient(home, '*exit*cat*PG_VERSION*');
    succeeded(await runAction(serviceRestoreInputs(own), {workspace: home, programs}));
    expect(existsSync(join(programs, 'heard'))).toBe(true);
  });

  test('fails the step with its reason elsewhere, and leaves nothing', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const before = await traces(own);
    const programs = await deafClient(home, '*pg_verifybackup*/restored*');
    const result = await runAction(serviceRestoreInputs(own), {workspace: home, programs});
    expect(failure(result)).toMatch(
      /The Docker engine does not tell how pg_verifybackup ended in container .*\nRun the step again/,
    );
    expect(await traces(own)).toEqual(before);
  });
});
