import {expect, test} from 'vitest';
import {describeWithEngine, docker} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, service, services} from '../support/service.js';
import {
  backUpService,
  checksumOfRestored,
  checksumOfService,
  fillShop,
  openSession,
  prepareInputs,
  serviceBackupInputs,
  serviceRestoreInputs,
  traces,
} from '../support/service-steps.js';
import {workspace} from '../support/workspace.js';

describeWithEngine('a service container', () => {
  test.for(services)('$name is prepared, backed up, restored beside its server, and in place', async (of) => {
    const own = await service(of);
    const home = workspace();
    const run = (inputs: Record<string, string>) => runAction(inputs, {workspace: home});
    await fillShop(own);
    const before = await checksumOfService(own);
    const startedAt = await own.startTime();

    const superuser = {user: own.superuser, password: own.password};
    expect(failure(await run(serviceBackupInputs(own, superuser)))).toMatch(
      /no pg_hba\.conf entry for replication connection from host "[\d.]+", user "postgres"/,
    );
    succeeded(await run(prepareInputs(own)));
    const taken = succeeded(await run(serviceBackupInputs(own)));
    expect(taken.outputs['server-version']).toContain(String(of.major));
    expect(taken.warnings).toEqual([]);

    const session = await openSession(own);
    const untouched = await traces(own);
    const hasAmcheck = of.major >= 14;
    if (!hasAmcheck) {
      const refused = await run(serviceRestoreInputs(own, {checks: 'amcheck'}));
      expect(failure(refused)).toContain('checks: amcheck needs PostgreSQL 14 or newer');
      expect(refused.stdout).not.toContain('Extract');
      expect(await traces(own)).toEqual(untouched);
    }
    const checks = `manifest\ndump${hasAmcheck ? '\namcheck' : ''}`;
    const beside = succeeded(await run(serviceRestoreInputs(own, {'keep-running': 'true', checks})));
    expect(beside.outputs.proof).toBe(hasAmcheck ? 'checked' : 'read');
    expect(beside.outputs['data-directory']).toBe('/var/lib/postgresql/restored');
    expect(await checksumOfRestored(beside)).toBe(before);
    expect(await own.startTime()).toBe(startedAt);
    await own.exec(['pg_ctl', 'stop', '--mode=fast', '--pgdata=/var/lib/postgresql/restored'], {
      user: 'postgres',
    });
    await own.exec(['sh', '-c', 'rm -r /var/lib/postgresql/restored /var/lib/postgresql/restored_config']);
    expect(await traces(own)).toEqual(untouched);
    await session.close();

    await own.sql('drop table orders', 'shop');
    const inPlace = succeeded(await run(serviceRestoreInputs(own, {'in-place': 'true'})));
    expect(inPlace.outputs).toMatchObject({
      host: own.host,
      port: String(own.port),
      'data-directory': of.dataDirectory,
      proof: 'recovered',
    });
    expect(await checksumOfService(own)).toBe(before);
    // As a later step of the job reaches it, by its published port.
    const asked = await runAction(serviceBackupInputs(own, {'dry-run': 'true'}), {workspace: workspace()});
    expect(succeeded(asked).stdout).toContain(`system ${inPlace.outputs['system-identifier']}`);
    expect((await docker(['inspect', '--format={{.Id}} {{.State.Running}}', own.id])).trim()).toBe(
      `${own.id} true`,
    );
    expect(await own.sql('select pg_is_in_recovery()')).toBe('f');
    expect(await own.sql("select setting from pg_settings where name in ('fsync', 'autovacuum')")).toBe(
      'on\non',
    );
    expect(await traces(own)).toEqual([]);
  });

  test('is reached at its own address when it publishes no port', async () => {
    const own = await service(images['15-bookworm'], {publish: 'none', superuser: 'owner'});
    const home = workspace();
    await fillShop(own);
    const before = await checksumOfService(own);
    await backUpService(own, home);
    const beside = succeeded(
      await runAction(
        serviceRestoreInputs(own, {'keep-running': 'true', checks: 'manifest\ndump\namcheck'}),
        {
          workspace: home,
        },
      ),
    );
    expect(beside.outputs).toMatchObject({host: await own.ip(), port: '5433', proof: 'checked'});
    expect(await checksumOfRestored(beside)).toBe(before);
  });
});
