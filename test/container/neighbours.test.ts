import {expect, test} from 'vitest';
import {waitUntil} from '../support/command.js';
import {describeWithEngine, docker} from '../support/container.js';
import {runAction, startAction, succeeded} from '../support/runner.js';
import {images} from '../support/service.js';
import {
  largeService,
  serviceBackupInputs,
  serviceRestoreInputs,
  undisturbed,
} from '../support/service-steps.js';
import {workspace} from '../support/workspace.js';

describeWithEngine('the server of a container does not notice', () => {
  // Of what ends a program, the oldest and the newest image; of a cancellation each is met once.
  test.for([images['15-bookworm'], images['18-forky']])(
    'that the restored server beside it is killed, $name',
    async (of) => {
      const home = workspace();
      const own = await largeService(of, home);
      await undisturbed(own, async () => {
        succeeded(await runAction(serviceRestoreInputs(own, {'keep-running': 'true'}), {workspace: home}));
        const kill = 'kill -9 "$(head -1 /var/lib/postgresql/restored/postmaster.pid)"';
        await own.exec(['sh', '-c', kill]);
        await waitUntil(
          async () => !(await own.processes()).some(({args}) => args.join(' ').includes('restored_config')),
          {seconds: 10, what: 'the restored server to be gone'},
        );
        await own.exec([
          'sh',
          '-c',
          'rm -r /var/lib/postgresql/restored /var/lib/postgresql/restored_config',
        ]);
      });
    },
  );

  test('that a restore is cancelled while it unpacks', async () => {
    const home = workspace();
    const own = await largeService(images['17-trixie'], home);
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

  test('that a restore is cancelled while the copy is checked', async () => {
    const home = workspace();
    const own = await largeService(images['18-forky'], home);
    await undisturbed(own, async () => {
      const inputs = {'check-sql': 'select true from pg_sleep(60)'};
      const action = startAction(serviceRestoreInputs(own, inputs), {workspace: home});
      await action.until(() => /Recovered up to/.test(action.log()), 'the copy to run');
      action.child.kill('SIGINT');
      expect((await action.result).status).toBe(1);
    });
  });

  test('that a backup by its own client is cancelled', async () => {
    const home = workspace();
    const own = await largeService(images['17-trixie'], home);
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
