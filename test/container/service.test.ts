import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {readlinkSync} from 'node:fs';
import {expect, onTestFinished, test} from 'vitest';
import {container, describeWithEngine, docker, imageName} from '../support/container.js';
import {psql} from '../support/rows.js';
import {images, service} from '../support/service.js';

const processNamespace = readlinkSync('/proc/self/ns/pid');

describeWithEngine('a container of a test', () => {
  // The first test of the file: what others left is looked for once.
  test('does not outlive its run: the next one removes what has no owner any more, and nothing else', async () => {
    const ended = spawn('true');
    await once(ended, 'close');
    const owners = [
      `${processNamespace}/${ended.pid}`,
      `${processNamespace}/${process.ppid}`,
      `pid:[1]/${ended.pid}`,
    ];
    const made: string[] = [];
    for (const owner of owners) {
      const label = `--label=pg-basebackup-action.owner=${owner}`;
      const id = (await docker(['create', label, imageName('no-postgres')])).trim();
      onTestFinished(async () => {
        await docker(['rm', '--force', id]);
      });
      made.push(id);
    }
    const own = await container(imageName('no-postgres'));
    const left = (await docker(['ps', '--all', '--quiet', '--no-trunc'])).split('\n');
    expect([...made, own.id].map((id) => left.includes(id))).toEqual([false, true, true, true]);
  });

  test('shows the processes in it with all their arguments, but not those that look', async () => {
    const made = await container(imageName('no-postgres'), {command: ['sleep', '1000']});
    const sleeping = ['sh', '-c', 'sleep "$1" &\nwait', 'sh', '2000'];
    const ended = made.exec(sleeping).catch(() => undefined);
    await expect
      .poll(async () => (await made.processes()).map(({args}) => args), {timeout: 30_000})
      .toEqual([['sleep', '1000'], sleeping, ['sleep', '2000']]);
    const last = (await made.processes()).at(-1)?.pid;
    await made.exec(['sh', '-c', 'kill "$1"', 'sh', `${last}`]);
    await ended;
    expect((await made.processes()).map(({args}) => args)).toEqual([['sleep', '1000']]);
  });

  test('shows the files in it, and none of a directory that is absent', async () => {
    const made = await container(imageName('no-postgres'));
    await made.exec(['sh', '-c', 'mkdir -p "/a b/c" && cat >"/a b/c/d"'], {stdin: 'text'});
    expect(await made.files('/a b')).toEqual(['/a b/c', '/a b/c/d']);
    expect(await made.files('/absent')).toEqual([]);
  });
});

describeWithEngine('a service', () => {
  test('can be reached from this machine by its address when no port is published', async () => {
    const made = await service(images['17-trixie'], {
      publish: 'none',
      env: {POSTGRES_HOST_AUTH_METHOD: 'trust'},
    });
    expect(made.inputs).toEqual({container: made.id, host: await made.ip(), port: '5432'});
    expect(await psql({host: made.host, port: made.port, user: made.superuser}, 'select 1')).toBe('1');
  });

  test('keeps its data in memory when its volume is a tmpfs', async () => {
    const made = await service(images['17-busybox'], {options: ['--tmpfs=/var/lib/postgresql/data']});
    expect((await made.inspect()).Mounts.map(({Type}) => Type)).not.toContain('volume');
    expect(await made.sql('show server_version_num')).toMatch(/^17/);
  });

  test('that does not start is told with its log, and leaves no container', async () => {
    const made = service(images['17-trixie'], {command: ['postgres', '-c', 'work_mem=no']});
    await expect(made).rejects.toThrow('invalid value for parameter "work_mem"');
    const ours = `--filter=label=pg-basebackup-action.owner=${processNamespace}/${process.pid}`;
    expect(await docker(['ps', '--all', '--quiet', ours])).toBe('');
  });
});
