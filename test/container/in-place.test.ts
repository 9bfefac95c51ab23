import {cpSync, existsSync, mkdirSync, statSync, truncateSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {backedUpService} from '../support/backed-up.js';
import {run, waitUntil} from '../support/command.js';
import {describeWithEngine} from '../support/container.js';
import {failure, runAction, startAction, succeeded} from '../support/runner.js';
import {images, type Service, service} from '../support/service.js';
import {
  backUpService,
  checksumOfService,
  fillShop,
  serviceRestoreInputs,
  traces,
} from '../support/service-steps.js';
import {backupDirectory, writeScript} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

/** Something that only the service's own data have. */
async function mark(own: Service): Promise<() => Promise<void>> {
  await own.sql('create table kept as select 42 as answer', 'shop');
  const before = await checksumOfService(own);
  return async () => {
    expect(await checksumOfService(own)).toBe(before);
    expect(await traces(own)).toEqual([]);
  };
}

describeWithEngine('a restore in place that fails leaves the service with its old data', () => {
  test('when the backup is corrupt', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const startedAt = await own.startTime();
    const isAsBefore = await mark(own);
    const base = join(backupDirectory(home), 'base.tar.zst');
    truncateSync(base, statSync(base).size - 1000);
    const message = failure(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}),
    );
    expect(message).toMatch(/base\.tar\.zst/);
    await isAsBefore();
    expect(await own.startTime()).toBe(startedAt);
  });

  test('when a check of the copy fails', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const startedAt = await own.startTime();
    const isAsBefore = await mark(own);
    const inputs = {
      'in-place': 'true',
      'check-database': 'shop',
      'check-sql': 'select count(*) = 1 from orders',
    };
    expect(failure(await runAction(serviceRestoreInputs(own, inputs), {workspace: home}))).toMatch(
      /check-sql failed/,
    );
    await isAsBefore();
    expect(await own.startTime()).toBe(startedAt);
  });

  test.for([images['15-bookworm'], images['18-forky']])(
    'when the container of $name does not start on it',
    async (of) => {
      const home = workspace();
      const own = await backedUpService(home, of);
      // Carried along with the service's configuration, but what it includes is not.
      const script =
        'echo > "$PGDATA/base/extra.conf"; echo "include \'base/extra.conf\'" >> "$PGDATA/postgresql.conf"';
      await own.exec(['sh', '-c', script], {user: 'postgres'});
      const isAsBefore = await mark(own);
      const result = await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home});
      const message = failure(result);
      expect(message).toMatch(/ended with exit code 1: FATAL: .*postgresql\.conf" contains errors/);
      expect(message).toContain('The service runs on its old data again.');
      expect(result.stdout).toContain('::group::Log of container');
      await own.ready();
      await isAsBefore();
    },
  );

  test('when it is cancelled while the container is stopped', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const isAsBefore = await mark(own);
    const action = startAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home});
    await action.until(async () => !(await own.inspect()).State.Running, 'the container to stop');
    action.child.kill('SIGINT');
    const {status, errors} = await action.result;
    expect(status).toBe(1);
    expect(errors.join()).toMatch(/SIGINT|cancelled/);
    await waitUntil(async () => (await own.inspect()).State.Running, {
      seconds: 90,
      what: 'the service to run',
    });
    await own.ready();
    await isAsBefore();
  });
});

describeWithEngine('a restore in place that is cancelled', () => {
  /** Cancels at the moment at which a command of docker begins, which then takes longer than a cancelled step has. */
  async function cancelAt(command: string): Promise<void> {
    const home = workspace();
    const own = await backedUpService(home);
    await startLate(own);
    const isAsBefore = await mark(own);
    const programs = join(home.root, 'slow');
    mkdirSync(programs);
    const docker = (await run('sh', ['-c', 'command -v docker'])).trim();
    const [isAt, once] = [join(home.root, 'at'), join(home.root, 'once')];
    writeScript(join(programs, 'docker'), [
      `case "$*" in ${command}) if mkdir '${once}' 2>/dev/null; then touch '${isAt}'; sleep 9; fi ;; esac`,
      `exec '${docker}' "$@"`,
    ]);
    const action = startAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home, programs});
    await action.until(() => existsSync(isAt), `docker ${command}`);
    action.child.kill('SIGINT');
    const {status, errors} = await action.result;
    expect(status).toBe(1);
    expect(errors.join()).toMatch(/SIGINT|cancelled/);
    // The action had to end before; what brings the service back goes on.
    await waitUntil(async () => (await own.inspect()).State.Running && !(await hasDataAside(own)), {
      seconds: 120,
      what: 'the service to run on its old data',
    });
    await own.ready();
    await isAsBefore();
  }

  /** From its next start on, the container's first process does not hear signals at once, as on a busy machine. */
  async function startLate(own: Service): Promise<void> {
    const entrypoint = '/usr/local/bin/docker-entrypoint.sh';
    const late = `mv ${entrypoint} /late && printf '#!/bin/sh\\ntrap "" INT\\nsleep 2\\nexec /late "$@"\\n' >${entrypoint} && chmod 755 ${entrypoint}`;
    await own.exec(['sh', '-c', late]);
  }

  /** Also where it cannot be looked, because the container just stops. */
  const hasDataAside = (own: Service) =>
    own.files(`${own.of.dataDirectory}/pg-basebackup-action`).then(
      (files) => files.length > 0,
      () => true,
    );

  test('while the data are swapped brings the old ones back', () => cancelAt('run*volumes-from*'));

  test('while the container is started brings the old data back', () => cancelAt('start*'));
});

describeWithEngine('a restore in place whose container cannot be started again', () => {
  test('says so, why, and where the old data are', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const programs = join(home.root, 'stubborn');
    mkdirSync(programs);
    const docker = (await run('sh', ['-c', 'command -v docker'])).trim();
    writeScript(join(programs, 'docker'), [
      `if [ "$1" = start ]; then echo 'port is already allocated' >&2; exit 1; fi`,
      `exec '${docker}' "$@"`,
    ]);
    const message = failure(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home, programs}),
    );
    expect(message).toContain('port is already allocated');
    expect(message).toContain("The service's old data could not be brought back either");
    expect(message).toContain('/var/lib/postgresql/data/pg-basebackup-action/old, or already in their place');
  });
});

describeWithEngine('a restore in place', () => {
  test('keeps all of the restored data when it is cancelled while it removes the old ones', async () => {
    const home = workspace();
    const own = await service(images['15-bookworm']);
    await own.exec(['mkdir', '/var/lib/postgresql/space'], {user: 'postgres'});
    await own.sql("create tablespace space location '/var/lib/postgresql/space'");
    await own.sql('create table spaced tablespace space as select n from generate_series(1, 1000) n');
    await backUpService(own, home);
    const before = await checksumOfService(own);
    const slow = [
      '#!/bin/sh',
      'case "$*" in *pg-basebackup-action.done*) touch /removing; sleep 5 ;; esac',
      'exec /bin/rm "$@"',
    ].join('\n');
    await own.exec(['sh', '-c', 'cat >/usr/local/bin/rm; chmod +x /usr/local/bin/rm'], {stdin: slow});
    const action = startAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home});
    // The container is stopped meanwhile.
    const isRemoving = () =>
      own.exec(['test', '-e', '/removing']).then(
        () => true,
        () => false,
      );
    await action.until(isRemoving, 'the old data to be removed');
    action.child.kill('SIGINT');
    expect((await action.result).status).toBe(1);
    expect(await checksumOfService(own)).toBe(before);
  });

  test('works where the socket of the service is elsewhere, as preparing does', async () => {
    const home = workspace();
    const own = await service(images['15-bookworm'], {
      command: ['postgres', '-c', 'unix_socket_directories=/tmp', '-c', 'port=5432'],
    });
    await backUpService(own, home);
    const made = ['psql', '--host=/tmp', '--username=postgres', '--command=create table later ()'];
    await own.exec(made, {user: 'postgres'});
    succeeded(await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}));
    await own.exec(made, {user: 'postgres'});
  });

  test('is refused where the server runs on other data than PGDATA names', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    // As it would be with `postgres -D elsewhere`. The server looks for this file once a minute.
    const [pid, aside] = [`${own.of.dataDirectory}/postmaster.pid`, `${own.of.dataDirectory}/aside`];
    await own.exec(['mv', pid, aside]);
    const result = await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home});
    await own.exec(['mv', aside, pid]);
    expect(failure(result)).toMatch(/does not run on \/var\/lib\/postgresql\/data, which PGDATA names/);
  });

  test('keeps the configuration and certificates of the service, and lets postgresql-conf win', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    await own.exec(
      ['sh', '-c', 'cd "$PGDATA" && echo "work_mem = 7MB" >> postgresql.conf && echo key > server.key'],
      {user: 'postgres'},
    );
    const inputs = {'in-place': 'true', 'postgresql-conf': "statement_timeout = '9min'"};
    succeeded(await runAction(serviceRestoreInputs(own, inputs), {workspace: home}));
    expect(await own.sql('show work_mem; show statement_timeout; show archive_mode')).toBe('7MB\n9min\noff');
    expect(await own.exec(['cat', `${own.of.dataDirectory}/server.key`])).toBe('key\n');
  });

  test('takes the configuration of the backup without isolation', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    await own.exec(['sh', '-c', 'echo "work_mem = 7MB" >> "$PGDATA/postgresql.conf"'], {user: 'postgres'});
    succeeded(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true', isolate: 'false'}), {workspace: home}),
    );
    expect(await own.sql('show work_mem')).toBe('4MB');
  });

  test('disables subscriptions, which would take the changes of the original from its publisher', async () => {
    const home = workspace();
    const own = await service(images['15-bookworm']);
    const nobody = 'host=127.0.0.1 port=1 connect_timeout=2';
    await own.sql(
      `create subscription "of orders" connection '${nobody}' publication p with (connect = false);
       alter subscription "of orders" enable`,
    );
    await backUpService(own, home);
    const result = succeeded(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}),
    );
    expect(result.warnings.join()).toContain('ALTER SUBSCRIPTION "of orders" ENABLE;');
    expect(await own.sql('select subname, subenabled from pg_subscription')).toBe('of orders|f');
  });

  test('says that a port which Docker chose is another one now', async () => {
    const home = workspace();
    const own = await service(images['15-bookworm'], {publish: 'ephemeral'});
    await fillShop(own);
    await backUpService(own, home);
    const result = succeeded(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}),
    );
    const [published] = (await own.inspect()).NetworkSettings.Ports['5432/tcp'] ?? [];
    expect(result.outputs.port).toBe(published?.HostPort);
    if (Number(published?.HostPort) !== own.port)
      expect(result.warnings.join()).toMatch(/Docker chooses a new one at each start/);
  });

  test('brings tablespaces along, twice in a row', async () => {
    const home = workspace();
    const own = await service(images['15-bookworm']);
    await own.exec(['sh', '-c', 'mkdir /var/lib/postgresql/space'], {user: 'postgres'});
    await own.sql("create tablespace space location '/var/lib/postgresql/space'");
    await own.sql('create table spaced tablespace space as select n from generate_series(1, 1000) n');
    await backUpService(own, home);
    const before = await checksumOfService(own);
    for (const _ of [1, 2]) {
      succeeded(await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}));
      expect(await checksumOfService(own)).toBe(before);
    }
    const places = await own.sql(
      "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'space'",
    );
    expect(places).toMatch(/^\/var\/lib\/postgresql\/data_tablespaces_\d+\/\d+$/);
  });

  test('restores a backup that somebody made by hand', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const before = await checksumOfService(own);
    const byHand = join(home.directory, 'backups', 'by-hand');
    cpSync(backupDirectory(home), byHand, {recursive: true});
    await own.sql('drop database shop');
    succeeded(
      await runAction(serviceRestoreInputs(own, {'backup-name': 'by-hand', 'in-place': 'true'}), {
        workspace: home,
      }),
    );
    expect(await checksumOfService(own)).toBe(before);
  });
});
