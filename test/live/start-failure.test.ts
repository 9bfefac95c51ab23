import {readdirSync} from 'node:fs';
import {expect, onTestFinished, test} from 'vitest';
import {createCluster, describeWithPostgres} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction} from '../support/runner.js';
import {backUp, restoreInputs} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

describeWithPostgres('a restored server that does not start', () => {
  test('is told by its own last word, with its log in one collapsed group, and leaves nothing', async () => {
    const source = await createCluster();
    onTestFinished(() => source.remove());
    const home = workspace();
    await backUp(source, home);
    const inputs = restoreInputs({'postgresql-conf': "shared_preload_libraries = 'no_such_library'"});
    const result = await runAction(inputs, {workspace: home});
    expect(failure(result)).toContain('FATAL: could not access file "no_such_library"');
    const groups = result.stdout.split('\n').filter((line) => /^::(end)?group::/.test(line));
    expect(groups.slice(-2)).toEqual(['::group::Log of the restored server', '::endgroup::']);
    // GitHub does not nest groups.
    expect(groups.filter((_, index) => index % 2 === 0).every((line) => line.startsWith('::group::'))).toBe(
      true,
    );
    expect(readdirSync(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
  });
});
