import {appendFileSync, chmodSync, existsSync, mkdirSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, freePort} from '../support/cluster.js';
import {waitUntil} from '../support/command.js';
import {processesOf, watchListeners} from '../support/processes.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {askRestored, backUp, type Inputs, restoreInputs, stopRestored} from '../support/steps.js';
import {copyOf, listAll, makeWorkspace, type Workspace} from '../support/workspace.js';

/** A server that does much besides keeping data, and whose files name all that a copy must not touch. */
interface Rich {
  readonly source: Cluster;
  /** Whom the source subscribes to. */
  readonly publisher: Cluster;
  /** Where it archives to. */
  readonly archive: string;
  /** Would hold a file for each command of its configuration that somebody ran. */
  readonly traps: string;
}

async function richCluster(): Promise<Rich> {
  const logged = ['wal_level = logical', 'log_connections = on', 'log_replication_commands = on'];
  const publisher = await createCluster({settings: logged});
  const source = await createCluster({settings: [...logged, 'archive_mode = on', 'max_connections = 1000']});
  const [archive, traps] = [join(source.root, 'tablespaces', 'archive'), join(source.root, 'traps')];
  for (const path of [archive, traps]) {
    mkdirSync(path);
    chmodSync(path, 0o777);
  }
  await source.sql(`alter system set archive_command = 'cp %p ${archive}/%f'`);
  await source.sql('select pg_reload_conf()');
  await publisher.sql('create table events (n int); create publication everything for table events');
  const conninfo = `host=127.0.0.1 port=${publisher.port} user=postgres dbname=postgres`;
  await source.sql('create table events (n int)');
  await source.sql(`create subscription events connection '${conninfo}' publication everything`);
  await publisher.sql('insert into events values (1)');
  await waitUntil(async () => (await source.sql('select count(*) from events')) === '1', {
    seconds: 30,
    what: 'the subscription to bring its row',
  });
  await source.sql('create role owner superuser login; create database shop');
  await source.sql('create table orders as select 1 as n', 'shop');
  await source.sql(
    "alter role postgres set session_preload_libraries = 'nope'; alter database shop set work_mem = '64kB'",
  );
  writeConfiguration({source, publisher, archive, traps});
  return {source, publisher, archive, traps};
}

/** What an administrator may have written down for the next restart, after which the source is not restarted. */
function writeConfiguration({source, traps}: Rich): void {
  const {dataDirectory, root, port} = source;
  const trap = (name: string) => `touch ${traps}/${name}`;
  const own = [
    "shared_preload_libraries = 'pg_cron, no_such_library'",
    "session_preload_libraries = 'no_such_library'",
    "listen_addresses = '*'",
    `port = ${port}`,
    'ssl = on',
    "ssl_cert_file = '/nowhere/server.crt'",
    "ssl_key_file = '/nowhere/server.key'",
    "include_dir '/nowhere/conf.d'",
    "shared_buffers = '1TB'",
    "huge_pages = 'on'",
    `data_directory = '${dataDirectory}'`,
    `hba_file = '${dataDirectory}/pg_hba.conf'`,
    `ident_file = '${dataDirectory}/pg_ident.conf'`,
    `external_pid_file = '${root}/external.pid'`,
    `unix_socket_directories = '${source.socketDirectory}'`,
    'logging_collector = on',
    `log_directory = '${root}/logs'`,
    `archive_cleanup_command = '${trap('cleanup')}'`,
    `recovery_end_command = '${trap('end')}'`,
    "synchronous_standby_names = '*'",
    'no_such_setting = 1',
  ];
  const automatic = [
    `restore_command = '${trap('restore')}; false'`,
    "archive_library = 'basic_archive'",
    "archive_mode = 'always'",
    `primary_conninfo = 'host=127.0.0.1 port=${port} user=owner'`,
    "primary_slot_name = 'of_the_source'",
    "recovery_target = 'immediate'",
  ];
  appendFileSync(join(dataDirectory, 'postgresql.conf'), `\n${own.join('\n')}\n`);
  appendFileSync(join(dataDirectory, 'postgresql.auto.conf'), `${automatic.join('\n')}\n`);
}

describeWithPostgres('a copy of a busy server', () => {
  const sound = makeWorkspace();
  let rich: Rich;

  beforeAll(async () => {
    rich = await richCluster();
    const {source} = rich;
    await backUp({...source, inputs: {...source.inputs, user: 'owner'}}, sound);
    // The source archives the last segment of the backup by itself.
    await waitUntil(() => listAll(rich.archive).length > 1 && waiting(source.dataDirectory).length === 0, {
      seconds: 30,
      what: 'the source to archive the WAL of the backup',
    });
    return async () => {
      await rich.source.remove();
      await rich.publisher.remove();
      await sound.remove();
    };
  });

  /** Restores while the world is watched, and tells what it saw; `meanwhile` runs while a kept server is up. */
  async function watched(
    home: Workspace,
    inputs: Inputs,
    meanwhile?: (result: ActionResult) => Promise<void>,
  ) {
    const {source, publisher, archive, traps} = rich;
    const before = {
      source: source.log().length,
      publisher: publisher.log().length,
      archived: listAll(archive),
    };
    const listeners = watchListeners(home.root);
    const result = await runAction(restoreInputs(inputs), {workspace: home});
    if (meanwhile) await meanwhile(result);
    const connection = /connection (received|authorized)|replication command/;
    const contacts = (cluster: Cluster, length: number) =>
      cluster
        .log()
        .slice(length)
        .split('\n')
        .filter((line) => connection.test(line));
    return {
      result,
      harm: {
        contacts: [...contacts(source, before.source), ...contacts(publisher, before.publisher)],
        archived: listAll(archive).filter((name) => !before.archived.includes(name)),
        traps: readdirSync(traps),
        outside: ['external.pid', 'logs'].filter((name) => existsSync(join(source.root, name))),
      },
      listeners: await listeners.stop(),
    };
  }

  const none = {contacts: [], archived: [], traps: [], outside: []};

  test('starts, is checked, and touches nothing', async () => {
    const home = copyOf(sound);
    const {result, harm, listeners} = await watched(home, {
      checks: 'manifest\ndump\namcheck',
      'check-database': 'shop',
      'check-sql': 'select n = 1 from orders',
    });
    expect(succeeded(result).outputs.proof).toBe('checked');
    expect(harm).toEqual(none);
    expect(listeners).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
  });

  test('does so also while it is kept running, and listens on the loopback alone', async () => {
    const home = copyOf(sound);
    const port = await freePort();
    const {result, harm, listeners} = await watched(
      home,
      {'keep-running': 'true', 'listen-port': String(port)},
      async (kept) => {
        const target = `${succeeded(kept).outputs['connection-string']} user=owner`;
        const ask = (statement: string) =>
          askRestored({...kept, outputs: {'connection-string': target}}, statement);
        for (const statement of ['insert into events values (2)', 'select pg_switch_wal()', 'checkpoint'])
          await ask(statement);
        expect(
          await ask(
            "select setting from pg_settings where name in ('archive_mode', 'max_connections') order by name",
          ),
        ).toBe('off\n1000');
        expect(await ask('select pg_is_in_recovery(), count(*) from events')).toBe('f|2');
        expect(await ask("select string_agg(distinct backend_type, ',') from pg_stat_activity")).not.toMatch(
          /logical|archiver|receiver|sender|cron/,
        );
        await stopRestored(kept);
      },
    );
    expect(result.outputs.proof).toBe('recovered');
    expect(harm).toEqual(none);
    expect(listeners).toEqual([`0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`]);
  });

  test('does not start with the configuration of its source, and leaves nothing, without isolation', async () => {
    const home = copyOf(sound);
    const {result, harm} = await watched(home, {isolate: 'false'});
    expect(failure(result)).toMatch(/postgresql\.conf of the backup includes "\/nowhere\/conf\.d"/);
    expect(harm).toEqual(none);
    expect(readdirSync(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
  });
});

/** Segments that a server has yet to archive. */
function waiting(dataDirectory: string): readonly string[] {
  return readdirSync(join(dataDirectory, 'pg_wal', 'archive_status')).filter((name) =>
    name.endsWith('.ready'),
  );
}
