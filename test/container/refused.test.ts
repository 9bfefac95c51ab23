import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {expect, onTestFinished, test} from 'vitest';
import {backedUpService} from '../support/backed-up.js';
import {container, describeWithEngine, docker, imageName} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, service} from '../support/service.js';
import {backUpService, serviceBackupInputs, serviceRestoreInputs, traces} from '../support/service-steps.js';
import {backupDirectory} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

describeWithEngine('refused with its reason and cure', () => {
  test('a container that is not there, with those that are', async () => {
    const own = await service(images['17-trixie']);
    const message = failure(await runAction(serviceRestoreInputs(own, {container: 'nobody'})));
    expect(message).toContain('There is no container nobody. Running are:');
    expect(message).toContain(own.id.slice(0, 12));
    expect(message).toContain('container: ${{ job.services.postgres.id }}');
  });

  test('a container that has stopped', async () => {
    const own = await service(images['17-trixie']);
    await docker(['stop', own.id]);
    expect(failure(await runAction(serviceBackupInputs(own)))).toMatch(
      /Container \S+ \(pg-basebackup-action-test:17-trixie\S*\) does not run: it ended with exit code 0\.\n.*docker start/,
    );
  });

  test('a container that is paused', async () => {
    const own = await service(images['17-trixie']);
    await docker(['pause', own.id]);
    const result = await runAction(serviceBackupInputs(own));
    await docker(['unpause', own.id]);
    expect(failure(result)).toMatch(/is paused\.\ndocker unpause|is paused\.\n.*docker unpause/);
  });

  test('a container without PostgreSQL', async () => {
    const own = await container(imageName('no-postgres'));
    const message = failure(await runAction({mode: 'restore', storage: 'directory', container: own.id}));
    expect(message).toMatch(/has no account postgres, so that it is none with PostgreSQL/);
  });

  test('a runner without the docker program', async () => {
    const message = failure(
      await runAction(
        {mode: 'restore', storage: 'directory', container: 'any'},
        {env: {PATH: '/nonexistent'}},
      ),
    );
    expect(message).toMatch(/the runner has no program named docker/);
  });

  test('an engine that does not answer', async () => {
    const message = failure(
      await runAction(
        {mode: 'restore', storage: 'directory', container: 'any'},
        {env: {DOCKER_HOST: 'unix:///nonexistent/docker.sock'}},
      ),
    );
    expect(message).toMatch(/the Docker engine does not answer/);
  });

  test('a container of another major version, before anything is copied', async () => {
    const home = workspace();
    await backedUpService(home, images['15-bookworm']);
    const other = await service(images['17-trixie']);
    const before = await traces(other);
    const result = await runAction(serviceRestoreInputs(other), {workspace: home});
    expect(failure(result)).toMatch(/only a server of 15 can start it; container \S+ has .* 17/);
    expect(failure(result)).toContain('image: postgres:15');
    expect(result.stdout).not.toContain('Extract');
    expect(await traces(other)).toEqual(before);
  });

  test('a container whose disk is too small, and one whose disk is full', async () => {
    const home = workspace();
    await backedUpService(home);
    const other = await service(images['15-bookworm'], {options: ['--tmpfs=/small:size=20m,mode=1777']});
    const inputs = serviceRestoreInputs(other, {'data-directory': '/small/restored'});
    const before = await traces(other);
    expect(failure(await runAction(inputs, {workspace: home}))).toMatch(
      /needs \d+ MB, but \/small\/restored has \d+ MB free on container/,
    );
    expect(await other.files('/small')).toEqual([]);
    expect(await traces(other)).toEqual(before);

    // Without these nothing tells the size beforehand: the disk fills up while files are written.
    rmSync(`${backupDirectory(home)}.json`);
    rmSync(join(backupDirectory(home), 'backup_manifest'));
    const unknown = await runAction({...inputs, checks: 'dump'}, {workspace: home});
    expect(failure(unknown)).toMatch(
      /The disk is full: base\.tar\.zst could not be extracted into \/small\/restored/,
    );
    expect(await other.files('/small')).toEqual([]);
    expect(await traces(other)).toEqual(before);
  });

  test('an in-place restore of data that would be lost, or of a container that would be', async () => {
    const home = workspace();
    await backedUpService(home);
    const onTmpfs = await service(images['15-bookworm'], {options: ['--tmpfs=/var/lib/postgresql/data']});
    expect(
      failure(await runAction(serviceRestoreInputs(onTmpfs, {'in-place': 'true'}), {workspace: home})),
    ).toMatch(/data directory \/var\/lib\/postgresql\/data is on a tmpfs|not on a volume/);
    const inVolume = await service(images['18-forky'], {
      options: ['--tmpfs=/var/lib/postgresql/18/docker:mode=1777'],
    });
    expect(
      failure(await runAction(serviceRestoreInputs(inVolume, {'in-place': 'true'}), {workspace: home})),
    ).toMatch(/data directory \/var\/lib\/postgresql\/18\/docker is on a tmpfs/);
    const elsewhere = await service(images['15-bookworm'], {env: {PGDATA: '/srv/data'}});
    expect(
      failure(await runAction(serviceRestoreInputs(elsewhere, {'in-place': 'true'}), {workspace: home})),
    ).toMatch(/\/srv\/data is not on a volume/);
    const removed = await service(images['15-bookworm'], {options: ['--rm']});
    expect(
      failure(await runAction(serviceRestoreInputs(removed, {'in-place': 'true'}), {workspace: home})),
    ).toMatch(/started with --rm/);
  });

  test('an in-place restore of data with a mount in them, before anything is stopped', async () => {
    const home = workspace();
    await backedUpService(home);
    const name = `mounted-${home.root.split('/').at(-1)}`;
    const volume = `--volume=${name}:/var/lib/postgresql/data`;
    onTestFinished(async () => void (await docker(['volume', 'rm', '--force', name])));
    // The entrypoint fills an empty directory only: the file is mounted into the data that an earlier container made.
    const first = await service(images['15-bookworm'], {options: [volume]});
    await docker(['stop', first.id]);
    const own = await service(images['15-bookworm'], {
      options: [volume, '--volume=/var/lib/postgresql/data/site'],
    });
    const before = await own.startTime();
    expect(
      failure(await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home})),
    ).toMatch(/has \/var\/lib\/postgresql\/data\/site in it mounted from elsewhere/);
    expect(await own.startTime()).toBe(before);
  });

  test('what an earlier restore in place has left', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    await own.exec(['mkdir', '-p', '/var/lib/postgresql/data/pg-basebackup-action/old']);
    expect(
      failure(await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home})),
    ).toMatch(/pg-basebackup-action exists in container .* another restore in place runs, or one was killed/);
    expect(await own.files('/var/lib/postgresql/data/pg-basebackup-action')).toHaveLength(1);
  });
});

describeWithEngine('a container with little', () => {
  test('shared memory restores a server that had much', async () => {
    const home = workspace();
    const source = await service(images['17-trixie'], {
      options: ['--shm-size=64m'],
      command: ['postgres', '-c', 'shared_buffers=400MB', '-c', 'max_connections=800'],
    });
    await source.sql('create table t as select 1');
    await backUpService(source, home);
    succeeded(await runAction(serviceRestoreInputs(source, {checks: 'manifest\ndump'}), {workspace: home}));
  });
});
