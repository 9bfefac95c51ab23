import {expect, test} from 'vitest';
import {describeWithEngine, docker} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, service} from '../support/service.js';
import {
  backUpService,
  fillShop,
  prepareInputs,
  replicator,
  serviceRestoreInputs,
} from '../support/service-steps.js';
import {workspace} from '../support/workspace.js';

describeWithEngine('a standby in a container', () => {
  test('follows a primary in another one by its address there, also after a crash', async () => {
    const of = images['17-trixie'];
    const primary = await service(of);
    const replica = await service(of, {publish: 'none'});
    const home = workspace();
    const run = (inputs: Record<string, string>) => runAction(inputs, {workspace: home});
    await fillShop(primary);
    await backUpService(primary, home);
    await primary.sql("select pg_create_physical_replication_slot('replica', true)");

    const from = {host: await primary.ip(), port: '5432', ...replicator};
    const inputs = serviceRestoreInputs(replica, {standby: 'true', slot: 'replica', ...from});
    // The standby's own address has to be let in, and not the runner's.
    expect(failure(await run(inputs))).toContain(
      `host replication "${replicator.user}" ${await replica.ip()}/32 scram-sha-256`,
    );
    succeeded(await run(prepareInputs(primary, {'client-address': `${await replica.ip()}/32`})));

    const kept = {
      'keep-running': 'true',
      'check-database': 'shop',
      'check-sql': 'select count(*) = 2000 from orders',
    };
    const restored = succeeded(await run({...inputs, ...kept, checks: 'manifest\ndump'}));
    expect(restored.outputs).toMatchObject({proof: 'read', port: '5433'});
    const data = '/var/lib/postgresql/restored';
    const ask = () =>
      replica.exec(
        [
          'psql',
          '-XAtq',
          `--host=${data}_config/socket`,
          '--port=5433',
          '--command=select pg_is_in_recovery(), count(*) from orders',
          'shop',
        ],
        {user: 'postgres'},
      );
    await primary.sql('delete from orders where id = 1', 'shop');
    await expect.poll(ask, {timeout: 30_000}).toBe('t|1999\n');

    await replica.exec(['pg_ctl', 'stop', '--mode=immediate', `--pgdata=${data}`], {user: 'postgres'});
    await primary.sql('delete from orders where id = 2', 'shop');
    await docker(['exec', '--detach', '--user=postgres', replica.id, 'postgres', '-D', `${data}_config`]);
    await expect.poll(() => ask().catch(String), {timeout: 30_000}).toBe('t|1998\n');
    expect(await primary.sql("select active from pg_replication_slots where slot_name = 'replica'")).toBe(
      't',
    );
    expect(await replica.sql('select 1')).toBe('1');
    await replica.exec(['pg_ctl', 'stop', '--mode=fast', `--pgdata=${data}`], {user: 'postgres'});
  });
});
