import {expect, test} from 'vitest';
import {backedUpService} from '../support/backed-up.js';
import {waitUntil} from '../support/command.js';
import {describeWithEngine} from '../support/container.js';
import {isRunning} from '../support/processes.js';
import {failure, type RunningAction, runAction, startAction, succeeded} from '../support/runner.js';
import {images, type Service} from '../support/service.js';
import {
  checksumOfService,
  largeService,
  serviceRestoreInputs,
  traces,
  undisturbed,
} from '../support/service-steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

const tidied = /^Tidied up after run 4242, attempt 1, which was killed: .* on container .*$/gm;
const staging = (of: Service) => `${of.of.dataDirectory}/pg-basebackup-action`;

async function kill(action: RunningAction): Promise<void> {
  action.child.kill('SIGKILL');
  await waitUntil(() => !isRunning(action.pid), {seconds: 10, what: 'the action to end'});
}

/** Kills a restore while the restored server runs and is asked something that takes long. */
async function killAsItChecks(own: Service, home: Workspace, more = {}): Promise<void> {
  const inputs = serviceRestoreInputs(own, {'check-sql': 'select pg_sleep(600) is not null', ...more});
  const action = startAction(inputs, {workspace: home});
  await action.until(() => /Recovered up to/.test(action.log()), 'the copy to run');
  await kill(action);
  expect((await own.processes()).filter(({args}) => args.join(' ').includes('_config'))).not.toEqual([]);
}

describeWithEngine('a restore in a container whose action is killed', () => {
  // By what busybox has, which is less.
  test('while the copy is checked is tidied up after by the next one', async () => {
    const home = workspace();
    const own = await backedUpService(home, images['17-busybox']);
    await undisturbed(own, async () => {
      await killAsItChecks(own, home);
      const next = succeeded(await runAction(serviceRestoreInputs(own), {workspace: home}));
      expect(next.stdout.match(tidied)).toEqual([
        expect.stringMatching(/ended .*postgres.*; removed \/var\/lib\/postgresql\/restored/),
      ]);
      // What a restore leaves that succeeds, and no server.
      await own.exec(['sh', '-c', 'rm -r /var/lib/postgresql/restored*']);
    });
  });

  test('while it unpacks is tidied up after, and what was there before stays', async () => {
    const home = workspace();
    const own = await largeService(images['15-bookworm'], home);
    await own.exec(['mkdir', '-p', '/srv/own/data'], {user: 'root'});
    await own.exec(['chown', 'postgres', '/srv/own/data'], {user: 'root'});
    await undisturbed(own, async () => {
      const inputs = serviceRestoreInputs(own, {'data-directory': '/srv/own/data'});
      const action = startAction(inputs, {workspace: home});
      await action.until(
        async () => (await own.files('/srv/own/data/base')).length > 0,
        'files to be unpacked',
      );
      await kill(action);
      // A dry run changes nothing, and says what is in the way.
      const dry = await runAction({...inputs, 'dry-run': 'true'}, {workspace: home});
      expect(failure(dry)).toContain('/srv/own/data exists already and is not empty');
      const next = succeeded(await runAction(inputs, {workspace: home}));
      expect(next.stdout.match(tidied)).toHaveLength(1);
      await own.exec(['sh', '-c', 'rm -r /srv/own']);
    });
  });

  test('leaves alone what another restore made that goes on, or is over', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const other = workspace();
    const going = startAction(
      serviceRestoreInputs(own, {'keep-running': 'true', 'check-sql': 'select true from pg_sleep(15)'}),
      {workspace: home},
    );
    await going.until(() => /Recovered up to/.test(going.log()), 'the copy to run');
    const refused = /restored_config exists already|Another step restores into/;
    const again = serviceRestoreInputs(own, {directory: `${home.directory}/backups`});
    expect(failure(await runAction(again, {workspace: other}))).toMatch(refused);
    succeeded(await going.result);
    // Its run is over, its server is there to stay for the rest of the job.
    const late = await runAction(again, {workspace: other});
    expect(failure(late)).toMatch(refused);
    expect(late.stdout).not.toMatch(tidied);
    expect(await own.files('/var/lib/postgresql/restored')).toContain(
      '/var/lib/postgresql/restored/PG_VERSION',
    );
  });

  test('in place, before the data are exchanged, is tidied up after by the next one', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const rows = await checksumOfService(own);
    await undisturbed(own, async () => {
      await killAsItChecks(own, home, {'in-place': 'true'});
      await tidyBeside(own, home);
    });
    const next = succeeded(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}),
    );
    expect(next.stdout).not.toMatch(tidied);
    expect(await checksumOfService(own)).toBe(rows);
    expect(await traces(own)).toEqual([]);
  });

  /** A restore in place whose own check fails: it tidies up first, and leaves nothing itself. */
  async function tidyBeside(own: Service, home: Workspace): Promise<void> {
    const failing = serviceRestoreInputs(own, {'in-place': 'true', 'check-sql': 'select false'});
    const next = await runAction(failing, {workspace: home});
    expect(failure(next)).toMatch(/check-sql failed/);
    expect(next.stdout.match(tidied)).toEqual([expect.stringContaining(staging(own))]);
    expect(await own.files(staging(own))).toEqual([]);
  }

  test('in place, after the data were set aside, is not touched: they are for a person to look at', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    await killAsItChecks(own, home, {'in-place': 'true'});
    await own.exec(['mkdir', `${staging(own)}/old`], {user: 'postgres'});
    const next = await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home});
    expect(failure(next)).toMatch(/pg-basebackup-action exists in container/);
    expect(next.stdout).not.toMatch(tidied);
    expect((await own.files(`${staging(own)}/new`)).length).toBeGreaterThan(0);
  });
});
