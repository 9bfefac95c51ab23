import {spawnSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import {expect, test} from 'vitest';
import {ageKey} from '../support/age.js';
import {backedUpService} from '../support/backed-up.js';
import {binDirectory, postgresProgram} from '../support/cluster.js';
import {describeWithEngine} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, service, services} from '../support/service.js';
import {
  backUpService,
  checksumOfRestored,
  checksumOfService,
  fillShop,
  prepareInputs,
  serviceBackupInputs,
  serviceRestoreInputs,
  traces,
} from '../support/service-steps.js';
import {backupDirectory} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

const version = spawnSync(postgresProgram('pg_basebackup'), ['--version'], {encoding: 'utf8'}).stdout;
const runnerMajor = Number(/\) (\d+)/.exec(version)?.[1]);
const newer = services.filter(({major}) => major > runnerMajor);

describeWithEngine('a server that is newer than the client of the runner', () => {
  test('is among the images', () => {
    expect(binDirectory()).toBeDefined();
    expect(newer).not.toEqual([]);
  });

  // life.test.ts backs up and restores every image.
  test('is backed up by its own client, and not without its container', async () => {
    const of = newer.at(-1) ?? expect.fail();
    const own = await service(of);
    const home = workspace();
    const run = (inputs: Record<string, string>) => runAction(inputs, {workspace: home});
    await fillShop(own);
    const before = await checksumOfService(own);
    succeeded(await run(prepareInputs(own)));

    const {container: _, ...withoutContainer} = serviceBackupInputs(own, {...own.inputs});
    const refused = failure(await run(withoutContainer));
    expect(refused).toContain(
      `The server is PostgreSQL ${of.major}; the runner has pg_basebackup (PostgreSQL)`,
    );
    expect(refused).toContain(`sudo apt-get install --yes postgresql-client-${of.major}`);
    expect(refused).toContain('container: ${{ job.services.postgres.id }}');

    const taken = succeeded(await run(serviceBackupInputs(own)));
    expect(taken.stdout).toContain(`on container`);
    expect(taken.stdout).toContain(`pg_basebackup (PostgreSQL) ${of.major}`);
    expect(readdirSync(backupDirectory(home)).sort()).toEqual([
      'backup_manifest',
      'base.tar.zst',
      'pg_wal.tar',
    ]);
    const restored = succeeded(await run(serviceRestoreInputs(own, {'keep-running': 'true'})));
    expect(await checksumOfRestored(restored)).toBe(before);
  });

  test('is prepared for its own client too, where its rules let nobody replicate over its loopback', async () => {
    const own = await service(images['17-trixie']);
    const rules = 'local all all trust\nhost all all all scram-sha-256\n';
    const hba = `${own.of.dataDirectory}/pg_hba.conf`;
    await own.exec(['sh', '-c', `cat > ${hba}`], {user: 'postgres', stdin: rules});
    await own.sql('select pg_reload_conf(), pg_sleep(1)');
    const home = workspace();
    const run = (inputs: Record<string, string>) => runAction(inputs, {workspace: home});
    expect(succeeded(await run(prepareInputs(own))).stdout).toContain('127.0.0.1/32');
    const text = await own.exec(['cat', hba]);
    expect(text.match(/^host replication "backup role" 127\.0\.0\.1\/32 scram-sha-256$/gm)).toHaveLength(1);
    expect(succeeded(await run(serviceBackupInputs(own))).stdout).toContain('on container');
    succeeded(await run(prepareInputs(own)));
    expect(await own.exec(['cat', hba])).toBe(text);
  });

  test('is backed up in plain format too, and its password is nowhere in the container', async () => {
    const own = await service(images['18-forky']);
    const home = workspace();
    const run = (inputs: Record<string, string>) => runAction(inputs, {workspace: home});
    await fillShop(own);
    const before = await checksumOfService(own);
    succeeded(await run(prepareInputs(own)));
    const taken = succeeded(await run(serviceBackupInputs(own, {format: 'plain'})));
    expect(taken.outputs['backup-directory']).toBe(backupDirectory(home));
    const restored = succeeded(await run(serviceRestoreInputs(own, {'keep-running': 'true'})));
    expect(await checksumOfRestored(restored)).toBe(before);
    expect(
      failure(await run(serviceBackupInputs(own, {'backup-name': 'b', 'write-recovery-conf': 'true'}))),
    ).toMatch(/write-recovery-conf needs pg_basebackup on the runner/);
    const found = await own.exec([
      'sh',
      '-c',
      "grep -rlsF \"it's a 'secret'\" /tmp /var/lib/postgresql || true",
    ]);
    expect(found).toBe('');
  });
});

describeWithEngine('a container that has neither zstd nor lz4', () => {
  // That of zstd life.test.ts restores there.
  test.for(['client-lz4', 'client-gzip'])('restores a backup in %s', async (compress) => {
    const home = workspace();
    const target = await service(images['17-busybox']);
    await fillShop(target);
    const before = await checksumOfService(target);
    succeeded(await runAction(prepareInputs(target), {workspace: home}));
    succeeded(await runAction(serviceBackupInputs(target, {compress}), {workspace: home}));
    const restored = succeeded(
      await runAction(serviceRestoreInputs(target, {'keep-running': 'true'}), {workspace: home}),
    );
    expect(await checksumOfRestored(restored)).toBe(before);
  });
});

describeWithEngine('a backup of one container', () => {
  test('is restored in another one of the same version', async () => {
    const home = workspace();
    const source = await backedUpService(home, images['17-trixie']);
    const before = await checksumOfService(source);
    const other = await service(images['17-busybox']);
    const restored = succeeded(
      await runAction(serviceRestoreInputs(other, {'in-place': 'true'}), {workspace: home}),
    );
    expect(await checksumOfService(other)).toBe(before);
    expect(restored.outputs['system-identifier']).toBe(
      await source.sql('select system_identifier from pg_control_system()'),
    );
  });

  test('that is encrypted is opened on the runner, and only with its key', async () => {
    const home = workspace();
    const [key, stranger] = [await ageKey(home.root, 'office'), await ageKey(home.root, 'stranger')];
    const source = await service(images['15-bookworm']);
    await fillShop(source);
    const before = await checksumOfService(source);
    await backUpService(source, home, {'encrypt-to': key.recipient});
    const untouched = await traces(source);
    const restore = (identity: string) =>
      runAction(serviceRestoreInputs(source, {'decrypt-with': identity, 'keep-running': 'true'}), {
        workspace: home,
      });
    expect(failure(await restore(stranger.identity))).toMatch(/encrypted for other keys/);
    expect(await traces(source)).toEqual(untouched);
    const restored = succeeded(await restore(key.identity));
    expect(await checksumOfRestored(restored)).toBe(before);
    const seen = await source.exec([
      'sh',
      '-c',
      'grep -rlsF AGE-SECRET-KEY /tmp /var/lib/postgresql || true',
    ]);
    expect(seen).toBe('');
  });
});
