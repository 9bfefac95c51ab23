import {chmodSync, mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {waitUntil} from '../support/command.js';
import {describeWithEngine} from '../support/container.js';
import {runAction, succeeded} from '../support/runner.js';
import {images, service, services} from '../support/service.js';
import {backUpService, checksumOfRestored, serviceRestoreInputs} from '../support/service-steps.js';
import {workspace} from '../support/workspace.js';

describeWithEngine('archived WAL on the runner', () => {
  test.for(services.filter(({major}) => major > 15))(
    'takes a restore in the container of $name to a restore point after the backup',
    async (of) => {
      const home = workspace();
      const archive = join(home.directory, 'archive');
      mkdirSync(archive);
      // The container's postgres has another number than any account here.
      chmodSync(archive, 0o777);
      const source = await service(of, {
        options: [`--volume=${archive}:/archive`],
        command: ['postgres', '-c', 'archive_mode=on', '-c', 'archive_command=cp %p /archive/%f'],
      });
      await source.sql('create table log as select 1 as entry');
      await backUpService(source, home);
      await source.sql(`insert into log values (2); select pg_create_restore_point('here');`);
      await source.sql('insert into log values (3)');
      const last = await source.sql('select pg_walfile_name(pg_switch_wal())');
      await waitUntil(async () => (await source.files('/archive')).includes(`/archive/${last}`), {
        seconds: 30,
        what: 'the last segment to be archived',
      });

      const target = await service(images[of.name === '18-forky' ? '18-forky' : '17-trixie']);
      const restored = succeeded(
        await runAction(
          serviceRestoreInputs(target, {
            'wal-directory': 'archive',
            'recovery-target-name': 'here',
            'keep-running': 'true',
            'check-sql': 'select array_agg(entry) = array[1, 2] from log',
          }),
          {workspace: home},
        ),
      );
      expect(restored.outputs.proof).toBe('recovered');
      expect(await checksumOfRestored(restored)).toMatch(/^log\|2\|/m);
    },
  );
});
