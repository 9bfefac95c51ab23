import {beforeAll, describe, expect, test} from 'vitest';
import {container, describeWithEngine, docker, imageName} from '../support/container.js';
import {createService, images, type Service, service, services} from '../support/service.js';

describeWithEngine('the images stand in for the official ones', () => {
  describe.for(services)('$name', (of) => {
    let running: Service;

    beforeAll(async () => {
      running = await createService(of);
      return () => running.remove();
    });

    /** Runs a program of the same image in a container of its own, which ends with it. */
    function fromOutside(
      network: string,
      args: readonly string[],
      password = running.password,
    ): Promise<string> {
      const [program = '', ...rest] = args;
      const options = [`--network=${network}`, `--env=PGPASSWORD=${password}`, `--entrypoint=${program}`];
      return docker(['run', '--rm', ...options, of.image, ...rest, '--no-password', '--username=postgres']);
    }

    test('the server is the first process, of the account postgres, and the only program', async () => {
      const processes = await running.processes();
      expect(processes.find(({pid}) => pid === 1)?.args).toEqual(['postgres']);
      expect(processes.filter(({pid, parent}) => pid !== 1 && parent !== 1)).toEqual([]);
      expect((await running.exec(['stat', '-c', '%u:%g', '/proc/1'])).trim()).toBe(`${of.uid}:${of.uid}`);
    });

    test('the account, its directories and its environment are where the official ones are', async () => {
      const line = (await running.exec(['grep', '^postgres:', '/etc/passwd'])).trim().split(':');
      expect(line.slice(2, 4)).toEqual([`${of.uid}`, `${of.uid}`]);
      expect(line[5]).toBe('/var/lib/postgresql');
      const environment = (await running.exec(['env'])).split('\n');
      expect(environment).toEqual(
        expect.arrayContaining([`PGDATA=${of.dataDirectory}`, `PG_MAJOR=${of.major}`, 'LANG=en_US.utf8']),
      );
      const modes = ['stat', '-c', '%a %U', of.dataDirectory, '/var/run/postgresql', '/var/lib/postgresql'];
      expect((await running.exec(modes)).trim().split('\n')).toEqual([
        '700 postgres',
        '3775 postgres',
        '1777 postgres',
      ]);
    });

    test('the volume holds the data directory, and a stop is a fast shutdown', async () => {
      const {Config, Mounts} = await running.inspect();
      expect(Object.keys(Config.Volumes ?? {})).toEqual([of.volume]);
      expect(Mounts.map(({Type, Destination}) => [Type, Destination])).toEqual([['volume', of.volume]]);
      expect(Config.StopSignal).toBe('SIGINT');
      expect(await running.files(of.dataDirectory)).toContain(`${of.dataDirectory}/PG_VERSION`);
      expect(await running.sql('show data_directory; show server_version_num')).toMatch(
        new RegExp(`^${of.dataDirectory}\n${of.major}\\d{4}$`),
      );
    });

    test('the socket trusts everybody, and TCP asks the superuser for a password', async () => {
      expect(await running.sql('select current_user')).toBe('postgres');
      for (const [network, host, port] of await ways()) {
        const query = ['psql', `--host=${host}`, `--port=${port}`, '--tuples-only', '--command=select 1 + 1'];
        expect((await fromOutside(network, query)).trim()).toBe('2');
        await expect(fromOutside(network, query, 'wrong')).rejects.toThrow('password authentication failed');
      }
    });

    test('no pg_hba.conf entry lets pg_basebackup in from outside, even with the right password', async () => {
      for (const [network, host, port] of await ways()) {
        const backup = ['pg_basebackup', `--host=${host}`, `--port=${port}`, '--pgdata=/tmp/backup'];
        await expect(fromOutside(network, backup)).rejects.toThrow(
          'no pg_hba.conf entry for replication connection',
        );
      }
      const inside = ['pg_basebackup', '--username=postgres', '--pgdata=/tmp/backup'];
      await running.exec(inside, {user: 'postgres'});
    });

    /** From another container, and through the published port. */
    async function ways(): Promise<readonly (readonly [string, string, number])[]> {
      return [
        ['bridge', await running.ip(), 5432],
        ['host', running.host, running.port],
      ];
    }

    test('a restart keeps the data and the published port', async () => {
      await running.sql('create table kept as select generate_series(1, 10) x');
      const before = await running.startTime();
      await docker(['restart', running.id]);
      await running.ready();
      expect(await running.startTime()).not.toBe(before);
      expect(await running.sql('select count(*) from kept')).toBe('10');
      expect((await running.inspect()).NetworkSettings.Ports['5432/tcp']?.[0]?.HostPort).toBe(
        `${running.port}`,
      );
      expect(await running.logs()).toContain('Skipping initialization');
      expect(await running.logs()).toContain('received fast shutdown request');
    });
  });

  test('the variables of the entrypoint choose role, database and how to log in', async () => {
    const made = await service(images['17-trixie'], {
      superuser: 'boss',
      publish: 'ephemeral',
      env: {
        POSTGRES_DB: 'the "shop"',
        POSTGRES_INITDB_ARGS: "--data-checksums --set 'work_mem=5MB'",
        POSTGRES_HOST_AUTH_METHOD: 'trust',
      },
      options: ['--init', '--shm-size=256m'],
    });
    expect(await made.sql('select current_user, current_database()', 'the "shop"')).toBe('boss|the "shop"');
    expect(await made.sql('show data_checksums; show work_mem')).toBe('on\n5MB');
    expect(await made.exec(['tail', '-n', '1', `${made.of.dataDirectory}/pg_hba.conf`])).toBe(
      'host all all all trust\n',
    );
    const first = (await made.processes()).find(({pid}) => pid === 1);
    expect(first?.args[0]).toContain('init');
  });

  test('without a password a container ends', async () => {
    const made = await container(images['17-trixie'].image);
    await docker(['wait', made.id]);
    expect(await made.logs()).toContain('superuser password is not specified');
  });

  test.for(services.filter(({name}) => name !== '17-busybox'))(
    "$name has GNU's programs and zstd, but no lz4",
    async ({image}) => {
      const {exec} = await container(image, {command: ['sleep', 'infinity']});
      expect(await exec(['tar', '--version'])).toContain('GNU tar');
      expect(await exec(['zstd', '--version'])).toMatch(/Zstandard|zstd command line/);
      expect(await exec(['locale', '-a'])).toContain('en_US.utf8');
      await expect(exec(['lz4', '--version'])).rejects.toThrow('not found');
    },
  );

  test('17-busybox has no program but PostgreSQL, bash and busybox', async () => {
    const {exec} = await container(images['17-busybox'].image, {command: ['sleep', 'infinity']});
    expect(await exec(['tar', '--version'])).toContain('busybox');
    expect(await exec(['readlink', '/bin/sh'])).toBe('/bin/busybox\n');
    for (const name of ['zstd', 'lz4', 'perl', 'locale'])
      await expect(exec([name, '--version'])).rejects.toThrow('not found');
    const others = await exec(['find', '/usr/bin/', '/usr/sbin/', '-type', 'f']);
    expect(others.trim().split('\n').sort()).toEqual(['/usr/bin/bash', '/usr/bin/busybox']);
    expect(await exec(['which', 'postgres', 'pg_basebackup'])).toBe(
      '/usr/local/bin/postgres\n/usr/local/bin/pg_basebackup\n',
    );
  });

  test('no-postgres has neither PostgreSQL nor its account', async () => {
    const {exec, processes} = await container(imageName('no-postgres'));
    expect((await processes()).map(({args}) => args)).toEqual([['sleep', 'infinity']]);
    await expect(exec(['id', 'postgres'])).rejects.toThrow('no such user');
    await expect(exec(['postgres', '--version'])).rejects.toThrow('not found');
  });
});
