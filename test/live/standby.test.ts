import {execFileSync} from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  freePort,
  runAsServer,
  standbyOf,
} from '../support/cluster.js';
import {waitUntil} from '../support/command.js';
import {processesOf} from '../support/processes.js';
import {psql} from '../support/rows.js';
import {
  type ActionOptions,
  type ActionResult,
  failure,
  runAction,
  startAction,
  succeeded,
} from '../support/runner.js';
import {backUp, type Inputs, restoreInputs} from '../support/steps.js';
import {copyOf, filesBelow, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

const password = `p@ss:/ w%rd?#'"\\`;
const role = 'replica role';

/** Asks a server that was kept running, through the socket that only its own account may enter. */
function askCopy({outputs}: ActionResult, statements: string): Promise<string> {
  const {'data-directory': dataDirectory = '', port} = outputs;
  return psql({host: `${dataDirectory}_config/socket`, port: Number(port), user: 'postgres'}, statements);
}

describeWithPostgres('a restored standby', () => {
  const sound = makeWorkspace();
  let primary: Cluster;

  beforeAll(async () => {
    primary = await createCluster({password, settings: ['wal_keep_size = 1GB']});
    await primary.sql(`create role "${role}" login replication password '${password.replaceAll("'", "''")}'`);
    await primary.sql('create table events as select 1 as n');
    await backUp(primary, sound, {password});
    return async () => {
      await primary.remove();
      await sound.remove();
    };
  });

  function standbyInputs(more: Inputs = {}): Inputs {
    return restoreInputs({
      standby: 'true',
      host: '127.0.0.1',
      port: String(primary.port),
      user: role,
      password,
      ...more,
    });
  }

  /** Runs a restore that must fail, and nothing may be left of it; returns its error. */
  async function refusal(home: Workspace, inputs: Inputs, options: ActionOptions = {}): Promise<string> {
    const result = await runAction(inputs, {...options, workspace: home});
    const message = failure(result);
    expect(readdirSync(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
    expect(`${message}${result.stdout.replaceAll(/^::add-mask::.*$/gm, '')}`).not.toContain('w%rd');
    return message;
  }

  test('streams through its slot, goes on after a crash, and has the password in one file only', async () => {
    await primary.sql("select pg_create_physical_replication_slot('seeded', true)");
    const home = copyOf(sound);
    await primary.sql('insert into events values (2)');
    const inputs = {'keep-running': 'true', 'listen-port': String(await freePort()), slot: 'seeded'};
    const restored = succeeded(
      await runAction(
        standbyInputs({
          ...inputs,
          checks: 'manifest\ndump\nchecksums',
          'check-sql': 'select count(*) = 2 from events',
        }),
        {workspace: home},
      ),
    );
    expect(restored.outputs).toMatchObject({proof: 'read', timeline: '1'});
    expect(restored.outputs['checks-passed']).toBe('manifest,dump,check-sql');
    expect(restored.warnings.join('\n')).toMatch(/not isolated, on purpose/);
    expect(restored.warnings.join('\n')).toMatch(/checksums checks nothing/);
    expect(restored.summary).toMatch(/➖ \| recovered/);
    expect(restored.summary).toMatch(/Streams from \| .*127\.0\.0\.1:\d+, which was at 0\/[0-9A-F]+/);
    expect(await primary.sql('select application_name, state from pg_stat_replication')).toBe(
      'pg-basebackup-action 4242-1|streaming',
    );
    expect(await primary.sql("select active from pg_replication_slots where slot_name = 'seeded'")).toBe('t');

    const data = restored.outputs['data-directory'] ?? '';
    const postmaster = Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);
    process.kill(postmaster, 'SIGKILL');
    // Its number has to be free: a process that has ended and that nobody waited for still holds it.
    await waitUntil(() => processesOf(home.root).length === 0 && !existsSync(`/proc/${postmaster}`), {
      seconds: 20,
      what: 'the killed server to end',
    });
    await primary.sql('insert into events values (3)');
    await runAsServer('pg_ctl', [
      'start',
      '--wait',
      `--pgdata=${data}_config`,
      `--log=${data}_config/server.log`,
    ]);
    await expect
      .poll(() => askCopy(restored, 'select pg_is_in_recovery(), count(*) from events'), {timeout: 30_000})
      .toBe('t|3');

    const passfile = `${data}_config/primary.pgpass`;
    expect(statSync(passfile).mode & 0o777).toBe(0o600);
    const holding = filesBelow(home.root).filter((path) => readFileSync(path, 'latin1').includes('w%rd'));
    expect(holding).toEqual([passfile]);
    for (const {pid, args} of processesOf(home.root)) {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
      expect(`${args.join(' ')}${environment}`).not.toContain('w%rd');
    }
    const log = restored.stdout.replaceAll(/^::add-mask::.*$/gm, '');
    expect(`${log}${restored.summary}${JSON.stringify(restored.outputs)}`).not.toMatch(/w%(25)?rd/);
    expect(await askCopy(restored, 'select conninfo from pg_stat_wal_receiver')).not.toContain('w%rd');
  });

  test('streams without the configuration of a backup that has foreign files read', async () => {
    const conf = join(primary.dataDirectory, 'postgresql.conf');
    const before = readFileSync(conf, 'utf8');
    const home = workspace();
    writeFileSync(conf, `${before}\ninclude_if_exists '/nowhere/site.conf'\n`);
    try {
      await backUp(primary, home, {password});
    } finally {
      writeFileSync(conf, before);
    }
    const restored = succeeded(await runAction(standbyInputs(), {workspace: home}));
    expect(restored.warnings.join('\n')).toMatch(
      /includes "\/nowhere\/site\.conf".*starts without the configuration/,
    );
    expect(restored.outputs.proof).toBe('consistent');
  });

  test('is stopped after the proof, without the password, and tells of the slot that holds WAL', async () => {
    await primary.sql("select pg_create_physical_replication_slot('proof')");
    const home = copyOf(sound);
    const restored = succeeded(await runAction(standbyInputs({slot: 'proof'}), {workspace: home}));
    expect(restored.outputs.proof).toBe('consistent');
    expect(restored.outputs.host).toBeUndefined();
    expect(restored.warnings.join('\n')).toContain("SELECT pg_drop_replication_slot('proof')");
    expect(processesOf(home.root)).toEqual([]);
    const data = restored.outputs['data-directory'] ?? '';
    expect(existsSync(join(data, 'standby.signal'))).toBe(true);
    expect(filesBelow(home.root).filter((path) => readFileSync(path, 'latin1').includes('w%rd'))).toEqual([]);
    await primary.sql("select pg_drop_replication_slot('proof')");
  });

  test('follows another standby, by a backup that was made by hand', async () => {
    const upstream = await standbyOf(primary, ['log_connections = on']);
    const home = workspace();
    await backUp(upstream, home, {password});
    rmSync(join(home.directory, 'backups', 'nightly.json'));
    const inputs = {...upstream.inputs, password, standby: 'true'};
    const restored = succeeded(await runAction(restoreInputs(inputs), {workspace: home}));
    expect(restored.outputs.proof).toBe('consistent');
    expect(upstream.log()).toContain('pg-basebackup-action 4242-1');
  });

  test('shows the certificate that libpq’s variables name, whoever owns it', async () => {
    const {authority, client} = certify(primary, role);
    const environment = {
      PGHOST: '127.0.0.1',
      PGPORT: String(primary.port),
      PGUSER: role,
      PGSSLMODE: 'verify-ca',
      PGSSLROOTCERT: authority,
      PGSSLCERT: client.certificate,
      PGSSLKEY: client.key,
    };
    await enableTls(primary);
    const home = copyOf(sound);
    const restored = succeeded(
      await runAction(restoreInputs({standby: 'true'}), {workspace: home, env: environment}),
    );
    expect(restored.outputs.proof).toBe('consistent');
    const key = readFileSync(client.key, 'latin1').split('\n')[1] ?? '';
    expect(filesBelow(home.root).filter((path) => readFileSync(path, 'latin1').includes(key))).toEqual([]);

    const missing = {...environment, PGSSLROOTCERT: join(home.root, 'nowhere.crt')};
    const again = copyOf(sound);
    expect(await refusal(again, restoreInputs({standby: 'true'}), {env: missing})).toMatch(
      /root certificate file "\S+nowhere\.crt" does not exist[\s\S]*sslrootcert/,
    );
  });

  describe('is refused before anything is extracted,', () => {
    const mistakes: readonly {mistake: string; inputs: Inputs; tells: RegExp}[] = [
      {
        mistake: 'when nothing listens there, also in a dry run',
        inputs: {port: '1', 'dry-run': 'true'},
        tells: /127\.0\.0\.1:1.*Connection refused[\s\S]*Check host/,
      },
      {
        mistake: 'when the password is wrong',
        inputs: {password: 'wrong one'},
        tells: /password authentication failed[\s\S]*Check the secret/,
      },
      {
        mistake: 'when the role may not replicate',
        inputs: {user: 'reader'},
        tells: /replication[\s\S]*ALTER ROLE "reader" REPLICATION/i,
      },
      {
        mistake: 'when the slot does not exist',
        inputs: {slot: 'nowhere'},
        tells:
          /slot "nowhere" of .* does not exist[\s\S]*pg_create_physical_replication_slot\('nowhere', true\)/,
      },
      {
        mistake: 'when the slot is logical',
        inputs: {slot: 'decoding'},
        tells: /slot "decoding" .*is logical/,
      },
      {
        mistake: 'when the slot is in use',
        inputs: {slot: 'taken'},
        tells: /slot "taken" .*in use by process \d+/,
      },
    ];

    beforeAll(async () => {
      const secret = password.replaceAll("'", "''");
      await primary.sql(`create role reader login password '${secret}'`);
      await primary.sql("alter system set wal_level = 'logical'");
      await runAsServer('pg_ctl', [
        'restart',
        '--wait',
        '--mode=fast',
        `--pgdata=${primary.dataDirectory}`,
        `--log=${primary.root}/server.log`,
      ]);
      await primary.sql("select pg_create_logical_replication_slot('decoding', 'test_decoding')");
      await primary.sql("select pg_create_physical_replication_slot('taken')");
    });

    test.each(mistakes)('$mistake', async ({inputs, tells}) => {
      const holder =
        inputs.slot === 'taken' ? await standbyOf(primary, ["primary_slot_name = 'taken'"]) : undefined;
      if (holder)
        await expect
          .poll(() => primary.sql("select active from pg_replication_slots where slot_name = 'taken'"), {
            timeout: 20_000,
          })
          .toBe('t');
      const home = copyOf(sound);
      expect(await refusal(home, standbyInputs(inputs))).toMatch(tells);
    });

    test('when it is another system, by the metadata', async () => {
      const stranger = await cluster();
      const home = copyOf(sound);
      expect(await refusal(home, restoreInputs({...stranger.inputs, standby: 'true'}))).toMatch(
        /The backup is of system \d+, and postgres@127\.0\.0\.1:\d+ is system \d+[\s\S]*Check host and port/,
      );
    });

    test('when it is another system, before it starts where only the files tell', async () => {
      const stranger = await cluster();
      const home = copyOf(sound);
      rmSync(join(home.directory, 'backups', 'nightly.json'));
      expect(await refusal(home, restoreInputs({...stranger.inputs, standby: 'true'}))).toContain(
        'is of system',
      );
    });
  });

  describe('fails with the cure', () => {
    const conninfo = (port: number, secret: string) =>
      `primary_conninfo = 'host=127.0.0.1 port=${port} user=''${role}'' password=${secret}'`;
    const changes: readonly {change: string; settings: (port: number) => string; tells: RegExp}[] = [
      {
        change: 'the primary is gone',
        settings: () => conninfo(1, 'x'),
        tells:
          /does not stream .* after start-timeout \(4 s\)[\s\S]*FATAL: could not connect to the primary server[\s\S]*check that it runs/,
      },
      {
        change: 'its password is another one',
        settings: (port) => conninfo(port, 'changed'),
        tells: /cannot follow[\s\S]*password authentication failed[\s\S]*check the secret/,
      },
      {
        change: 'the slot is dropped',
        settings: () => "primary_slot_name = 'dropped'",
        tells:
          /cannot follow[\s\S]*replication slot "dropped" does not exist[\s\S]*pg_create_physical_replication_slot/,
      },
    ];
    test.each(changes)('when $change meanwhile', async ({settings, change}) => {
      const home = copyOf(sound);
      const {tells} = changes.find((one) => one.change === change) ?? {tells: /$^/};
      const timeout = change.includes('gone') ? {'start-timeout': '4'} : {};
      const inputs = standbyInputs({
        'postgresql-conf': `${settings(primary.port)}\nwal_retrieve_retry_interval = '500ms'`,
        ...timeout,
      });
      expect(await refusal(home, inputs)).toMatch(tells);
    });

    test('and leaves no password when it is cancelled while it waits', async () => {
      const home = copyOf(sound);
      const action = startAction(standbyInputs({'postgresql-conf': conninfo(1, 'x')}), {workspace: home});
      const log = join(home.temp, 'pgdata_config', 'server.log');
      await action.until(
        () => existsSync(log) && readFileSync(log, 'utf8').includes('could not connect'),
        'the standby looks for its primary',
      );
      action.child.kill('SIGINT');
      expect(failure(await action.result)).toContain('Cancelled by SIGINT');
      expect(readdirSync(home.temp)).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
    });

    test('when the primary has removed the WAL that follows', async () => {
      const busy = await cluster({
        initdbArgs: ['--wal-segsize=1'],
        settings: ['max_wal_size = 2MB', 'min_wal_size = 2MB', 'wal_keep_size = 0'],
      });
      const home = copyOf(sound);
      rmSync(join(home.directory, 'backups'), {recursive: true});
      await backUp(busy, home);
      for (let turn = 0; turn < 5; turn += 1)
        await busy.sql('create table t(); drop table t; select pg_switch_wal()');
      await busy.sql('checkpoint');
      const inputs = restoreInputs({
        ...busy.inputs,
        standby: 'true',
        'postgresql-conf': "wal_retrieve_retry_interval = '500ms'",
      });
      expect(await refusal(home, inputs)).toMatch(
        /cannot follow[\s\S]*requested WAL segment \S+ has already been removed[\s\S]*Take a newer backup/,
      );
    });
  });
});

interface Certificates {
  readonly authority: string;
  readonly client: {readonly certificate: string; readonly key: string};
}

const openssl = (...args: readonly string[]) => execFileSync('openssl', args, {stdio: 'pipe'});

/** An authority, a certificate of the server, and one of a role, in the cluster's directory. */
function certify({root, dataDirectory}: Cluster, user: string): Certificates {
  const directory = join(root, 'tls');
  mkdirSync(directory);
  const path = (name: string) => join(directory, name);
  const subject = (name: string) => ['-subj', `/CN=${name}`];
  const make = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2'];
  openssl(...make, '-keyout', path('ca.key'), '-out', path('ca.crt'), ...subject('test authority'));
  for (const [name, of] of [
    ['server', '127.0.0.1'],
    ['client', user],
  ] as const) {
    const request = ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', path(`${name}.key`)];
    openssl(...request, '-out', path(`${name}.csr`), ...subject(of));
    const signed = ['-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-CAcreateserial', '-days', '2'];
    openssl('x509', '-req', '-in', path(`${name}.csr`), ...signed, '-out', path(`${name}.crt`));
  }
  const {uid, gid} = statSync(dataDirectory);
  chownSync(path('server.key'), uid, gid);
  return {authority: path('ca.crt'), client: {certificate: path('client.crt'), key: path('client.key')}};
}

/** Has a server demand certificates of replication connections over TLS. */
async function enableTls({root, dataDirectory, sql}: Cluster): Promise<void> {
  const hba = join(dataDirectory, 'pg_hba.conf');
  const own = readFileSync(hba, 'utf8');
  writeFileSync(hba, `hostssl replication "${role}" 127.0.0.1/32 cert\n${own}`);
  for (const [name, file] of [
    ['ssl_cert_file', 'server.crt'],
    ['ssl_key_file', 'server.key'],
    ['ssl_ca_file', 'ca.crt'],
  ])
    await sql(`alter system set ${name} = '${join(root, 'tls', file ?? '')}'`);
  await sql('alter system set ssl = on');
  await sql('select pg_reload_conf()');
  await expect.poll(() => sql('show ssl'), {timeout: 10_000}).toBe('on');
}
