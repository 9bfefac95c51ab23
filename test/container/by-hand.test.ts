import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {describeWithEngine, docker} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, type Service, service} from '../support/service.js';
import {
  checksumOfRestored,
  checksumOfService,
  fillShop,
  serviceRestoreInputs,
} from '../support/service-steps.js';
import {backupDirectory} from '../support/steps.js';
import {addMembers, editArchive} from '../support/tar-archive.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** Takes a backup by hand inside of a service's container, and brings it to the runner as `nightly`. */
async function byHand(of: Service, home: Workspace, args: readonly string[]): Promise<void> {
  const target = '/tmp/by-hand';
  const command = ['pg_basebackup', '-D', target, '-U', of.superuser, '-c', 'fast', ...args];
  await of.exec(command, {user: 'postgres'});
  mkdirSync(join(home.directory, 'backups'));
  await docker(['cp', `${of.id}:${target}`, backupDirectory(home)]);
  await of.exec(['rm', '-r', target]);
}

const origins = [
  {of: images['13-bullseye'], args: ['-Ft', '-z', '-X', 'fetch'], inPlace: false},
  {of: images['17-trixie'], args: ['-Ft', '-Z', 'server-zstd'], inPlace: true},
  {of: images['18-forky'], args: ['-Fp'], inPlace: true},
];

describeWithEngine('a backup made by hand in a service container', () => {
  test.for(origins)('of $of.name with $args restores with the same rows', async ({of, args, inPlace}) => {
    const own = await service(of);
    await fillShop(own);
    if (inPlace) {
      await own.sql('alter system set allow_in_place_tablespaces = on');
      await own.sql('select pg_reload_conf()');
      await own.sql("create tablespace inside location ''");
      await own.sql('create table within tablespace inside as select generate_series(1, 1000) as a');
    }
    const before = await checksumOfService(own);
    const home = workspace();
    await byHand(own, home, args);
    const restored = succeeded(
      await runAction(serviceRestoreInputs(own, {'keep-running': 'true'}), {workspace: home}),
    );
    expect(restored.outputs.proof).toBe('recovered');
    expect(await checksumOfRestored(restored)).toBe(before);
  });

  test('is refused when its manifest is that of another system (17 and newer)', async () => {
    const own = await service(images['18-forky']);
    const home = workspace();
    await byHand(own, home, ['-Ft']);
    const path = join(backupDirectory(home), 'backup_manifest');
    const body = readFileSync(path, 'utf8')
      .replace(/"System-Identifier": \d+/, '"System-Identifier": 7000000000000000001')
      .replace(/"Manifest-Checksum.*\n$/, '');
    const sum = execFileSync('sha256sum', {input: body, encoding: 'utf8'}).slice(0, 64);
    writeFileSync(path, `${body}"Manifest-Checksum": "${sum}"}\n`);
    expect(failure(await runAction(serviceRestoreInputs(own), {workspace: home}))).toMatch(
      /backup_manifest: .*\n.*system identifier/,
    );
  });

  test.for([images['17-trixie'], images['17-busybox']])(
    'that is hostile is refused in $name: twice the same name, a name that leads out, a bomb',
    async (of) => {
      const own = await service(of);
      const home = workspace();
      await byHand(own, home, ['-Ft']);
      const base = join(backupDirectory(home), 'base.tar');
      const sound = readFileSync(base);
      const bomb = {name: 'base/1/bomb', content: Buffer.alloc(200 * 2 ** 20)};
      const restore = () => runAction(serviceRestoreInputs(own), {workspace: home});

      addMembers(base, {name: 'PG_VERSION', content: Buffer.from('17\n')});
      expect(failure(await restore())).toMatch(/base\.tar: .*PG_VERSION.*File exists/);
      editArchive(base, () => sound);
      addMembers(base, {name: '../../escaped', content: Buffer.from('x')});
      expect(failure(await restore())).toMatch(
        /base\.tar|"escaped" is present on disk but not in the manifest/,
      );
      editArchive(base, () => sound);
      addMembers(base, bomb);
      // In the container's own program, which is where the bytes are counted then.
      execFileSync('gzip', ['-1', base]);
      expect(failure(await restore())).toMatch(/base\.tar\.gz: it unpacks to more than \d{8} bytes/);
      expect(
        await own.exec([
          'sh',
          '-c',
          'ls -d /var/lib/postgresql/restored* /var/lib/postgresql/escaped /var/lib/escaped || true',
        ]),
      ).toBe('');
      expect(await own.sql('select 1')).toBe('1');
      rmSync(`${base}.gz`);
    },
  );

  test('whose own settings include a file of the container is not replaced in place', async () => {
    const own = await service(images['17-trixie']);
    const home = workspace();
    await own.sql("alter system set work_mem = '77MB'");
    await byHand(own, home, ['-Fp']);
    const include = "\ninclude '/etc/passwd'\n";
    const conf = join(backupDirectory(home), 'postgresql.auto.conf');
    writeFileSync(conf, readFileSync(conf, 'utf8') + include);
    const startedAt = await own.startTime();
    const inputs = {'in-place': 'true', isolate: 'false'};
    const refused = await runAction(serviceRestoreInputs(own, inputs), {workspace: home});
    expect(failure(refused)).toMatch(/postgresql\.auto\.conf of the backup includes "\/etc\/passwd"/);
    expect(refused.stdout).not.toContain('root:x:0');
    expect(await own.startTime()).toBe(startedAt);

    const replaced = succeeded(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}),
    );
    expect(replaced.stdout).not.toContain('root:x:0');
    expect(await own.sql('show work_mem')).toBe('77MB');
  });
});
