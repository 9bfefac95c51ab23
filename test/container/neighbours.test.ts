import {setTimeout as sleep} from 'node:timers/promises';
import {expect, test} from 'vitest';
import {waitUntil} from '../support/command.js';
import {describeWithEngine, docker} from '../support/container.js';
import {runAction, startAction, succeeded} from '../support/runner.js';
import {images, type Service, service} from '../support/service.js';
import {
  backUpService,
  openSession,
  serviceBackupInputs,
  serviceRestoreInputs,
  traces,
} from '../support/service-steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

const three = [images['15-bookworm'], images['17-trixie'], images['18-forky']];

/** A service with something to copy for seconds, and its backup. */
async function large(of: (typeof three)[number], home: Workspace): Promise<Service> {
  const own = await service(of);
  await own.sql(`
    create table noise as
    select string_agg(md5(random()::text), '') from generate_series(1, 400000) n group by n % 40000`);
  await backUpService(own, home);
  return own;
}

/** Does something, and sees that the service's server and its sessions know nothing of it. */
async function undisturbed(own: Service, work: () => Promise<void>): Promise<void> {
  const startedAt = await own.startTime();
  const session = await openSession(own);
  const before = await traces(own);
  await work();
  const left = async () => (await traces(own)).filter((trace) => !before.includes(trace));
  await waitUntil(async () => (await left()).length === 0, {
    seconds: 10,
    what: 'the container to be as before',
  }).catch(async () => expect(await left()).toEqual([]));
  // What a postmaster takes for a crash, it takes for one within a moment.
  await sleep(300);
  await session.close();
  expect(await own.startTime()).toBe(startedAt);
  expect(await own.logs()).not.toMatch(/terminating any other active server processes/);
}

describeWithEngine('the server of a container does not notice', () => {
  test.for(three)('that the restored server beside it is killed, $name', async (of) => {
    const home = workspace();
    const own = await large(of, home);
    await undisturbed(own, async () => {
      succeeded(await runAction(serviceRestoreInputs(own, {'keep-running': 'true'}), {workspace: home}));
      const kill = 'kill -9 "$(head -1 /var/lib/postgresql/restored/postmaster.pid)"';
      await own.exec(['sh', '-c', kill]);
      await waitUntil(
        async () => !(await own.processes()).some(({args}) => args.join(' ').includes('restored_config')),
        {seconds: 10, what: 'the restored server to be gone'},
      );
      await own.exec(['sh', '-c', 'rm -r /var/lib/postgresql/restored /var/lib/postgresql/restored_config']);
    });
  });

  test.for(three)('that a restore is cancelled while it unpacks, $name', async (of) => {
    const home = workspace();
    const own = await large(of, home);
    await undisturbed(own, async () => {
      const action = startAction(serviceRestoreInputs(own), {workspace: home});
      await action.until(
        async () => (await own.files('/var/lib/postgresql/restored/base')).length > 0,
        'files to be unpacked',
      );
      action.child.kill('SIGINT');
      expect((await action.result).status).toBe(1);
    });
  });

  test.for(three)('that a restore is cancelled while the copy is checked, $name', async (of) => {
    const home = workspace();
    const own = await large(of, home);
    await undisturbed(own, async () => {
      const inputs = {'check-sql': 'select true from pg_sleep(60)'};
      const action = startAction(serviceRestoreInputs(own, inputs), {workspace: home});
      await action.until(() => /Recovered up to/.test(action.log()), 'the copy to run');
      action.child.kill('SIGINT');
      expect((await action.result).status).toBe(1);
    });
  });

  test.for(three.slice(1))('that a backup by its own client is cancelled, $name', async (of) => {
    const home = workspace();
    const own = await large(of, home);
    await undisturbed(own, async () => {
      const inputs = serviceBackupInputs(own, {'max-rate': '1M', 'backup-name': 'cancelled'});
      const action = startAction(inputs, {workspace: home});
      await action.until(() => /background WAL receiver/.test(action.log()), 'pg_basebackup to stream');
      action.child.kill('SIGINT');
      expect((await action.result).status).toBe(1);
    });
    await waitUntil(async () => (await own.sql('select slot_name from pg_replication_slots')) === '', {
      seconds: 10,
      what: 'the slot to go',
    });
    const label = `--filter=label=pg-basebackup-action.beside=${own.id}`;
    expect(await docker(['ps', '--all', '--quiet', label])).toBe('');
  });
});
