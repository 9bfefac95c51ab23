import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {
  asServer,
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  quoteText,
  standbyOf,
} from '../support/cluster.js';
import {run, waitUntil} from '../support/command.js';
import {accessState, hbaFile, loadHba} from '../support/hba.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {backUp, type Inputs} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

const adminPassword = 'admin: p%ss"word';
const password = `p@ss:/ w%rd?#'"\\`;

/** Everybody needs a password, and nobody may replicate. */
const closed = ['local all all trust', 'host all all 127.0.0.1/32 scram-sha-256'];

/** Gives a server a certificate of its own; whoever connects has to ask for TLS, or not. */
async function turnOnTls(server: Cluster): Promise<void> {
  const file = (name: string) => join(server.dataDirectory, name);
  const [program, args] = asServer('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost'],
    ...['-keyout', file('server.key'), '-out', file('server.crt')],
  ]);
  await run(program, args);
  await server.sql('alter system set ssl = on');
}

/** The lines that an error says to add to pg_hba.conf. */
function linesIn(error: string): readonly string[] {
  const [, lines = ''] =
    /as its first lines:\n([\s\S]*)\nthen run: SELECT pg_reload_conf\(\);/.exec(error) ?? [];
  return lines.split('\n');
}

function prepareInputs({inputs}: Cluster, more: Inputs = {}): Inputs {
  const {host = '', port = ''} = inputs;
  const admin = {'admin-user': 'postgres', 'admin-password': adminPassword};
  return {mode: 'prepare', host, port, user: 'backup', password, ...admin, ...more};
}

const prepare = (server: Cluster, more?: Inputs): Promise<ActionResult> =>
  runAction(prepareInputs(server, more));

/** Prepares a role to the end: the lines that the first run asks for are put into pg_hba.conf. */
async function prepareFully(server: Cluster, more?: Inputs): Promise<ActionResult> {
  const lines = linesIn(failure(await prepare(server, more)));
  await loadHba(server, [...lines, ...closed]);
  return succeeded(await prepare(server, more));
}

describeWithPostgres('a remote server', () => {
  let server: Cluster;

  beforeAll(async () => {
    server = await createCluster({password: adminPassword, settings: ["log_statement = 'all'"]});
    return () => server.remove();
  });

  test('gets the role, asks for its line of pg_hba.conf, and then has all that a backup needs', async () => {
    await loadHba(server, closed);
    const error = failure(await prepare(server));
    expect(error).toContain('no pg_hba.conf entry for replication connection');
    expect(linesIn(error)).toEqual(['host replication "backup" 127.0.0.1/32 scram-sha-256']);
    expect(error).toContain(hbaFile(server));
    const asked = `select rolcanlogin, rolreplication, rolsuper, pg_has_role(oid, 'pg_monitor', 'member')
                   from pg_roles where rolname = 'backup'`;
    expect(await server.sql(asked)).toBe('t|t|f|t');

    await loadHba(server, [...linesIn(error), ...closed]);
    const before = await accessState(server);
    const result = succeeded(await prepare(server));
    expect(result.stdout).toContain('The role "backup" was ready: nothing was changed');
    expect(result.summary).toContain('opened');
    expect(await accessState(server)).toEqual(before);
    await backUp(server, workspace(), {user: 'backup', password});
  });

  test('brings a role up to date that is there', async () => {
    await loadHba(server, ['host replication old 127.0.0.1/32 scram-sha-256', ...closed]);
    await server.sql(`create role old nologin password 'another'; grant pg_signal_backend to old`);
    const result = succeeded(await prepare(server, {user: 'old'}));
    expect(result.stdout).toContain("alter role old login replication password '…';");
    expect(result.stdout).toContain('grant pg_monitor to old;');
    await backUp(server, workspace(), {user: 'old', password});
    const roles = `select string_agg(roleid::regrole::text, ' ' order by 1) from pg_auth_members where member = 'old'::regrole`;
    expect((await server.sql(roles)).split(' ').sort()).toEqual(['pg_monitor', 'pg_signal_backend']);
  });

  test('has only a wrong password changed, also where pg_hba.conf trusts everybody', async () => {
    await loadHba(server, [
      'local all all trust',
      'host all postgres 127.0.0.1/32 scram-sha-256',
      'host all,replication all 127.0.0.1/32 trust',
    ]);
    await server.sql(`create role trusted login replication password 'another'; grant pg_monitor to trusted`);
    const result = succeeded(await prepare(server, {user: 'trusted'}));
    expect(result.stdout).toContain("alter role trusted password '…';");
    const before = await accessState(server);
    succeeded(await prepare(server, {user: 'trusted'}));
    expect(await accessState(server)).toEqual(before);
  });

  test('asks for two lines where SQL is kept out, too, and warns where only that is', async () => {
    await loadHba(server, ['local all all trust', 'host all postgres 127.0.0.1/32 scram-sha-256']);
    const lines = linesIn(failure(await prepare(server, {user: 'both', database: 'template1'})));
    expect(lines).toEqual([
      'host replication "both" 127.0.0.1/32 scram-sha-256',
      'host "template1" "both" 127.0.0.1/32 scram-sha-256',
    ]);
    await loadHba(server, [
      ...lines.slice(0, 1),
      'local all all trust',
      'host all postgres 127.0.0.1/32 scram-sha-256',
    ]);
    const result = succeeded(await prepare(server, {user: 'both', database: 'template1'}));
    expect(result.warnings.join()).toContain(lines[1]);
    expect(result.summary).toContain('WARNING');
  });

  test.each([
    ['no pg_hba.conf entry', 'host all backup 127.0.0.1/32 scram-sha-256'],
    ['pg_hba.conf rejects replication connection', 'host replication all 127.0.0.1/32 reject'],
    ['Ident authentication failed', 'host replication all 127.0.0.1/32 ident'],
  ])('asks for a line of the role when the server says: %s', async (_, line) => {
    await loadHba(server, [line, ...closed]);
    const lines = linesIn(failure(await prepare(server)));
    expect(lines).toEqual(['host replication "backup" 127.0.0.1/32 scram-sha-256']);
    await loadHba(server, [...lines, line, ...closed]);
    succeeded(await prepare(server));
  });

  test('of a dry run is told all, and changed in nothing', async () => {
    await loadHba(server, closed);
    const before = await accessState(server);
    const result = succeeded(await prepare(server, {user: 'planned', 'dry-run': 'true'}));
    expect(result.stdout).toContain("create role planned login replication password '…';");
    expect(result.stdout).toContain('grant pg_monitor to planned;');
    expect(result.stdout).toContain('\nhost replication "planned" 127.0.0.1/32 scram-sha-256\n');
    expect(result.summary).toContain('planned');
    expect(await accessState(server)).toEqual(before);
  });

  test('never sees the password, and logs nothing of it', async () => {
    await loadHba(server, closed);
    const first = await prepare(server, {user: 'secretive'});
    const lines = linesIn(failure(first));
    await loadHba(server, [...lines, ...closed]);
    const second = succeeded(await prepare(server, {user: 'secretive'}));
    const texts = [first, second].flatMap(({stdout, stderr, summary, outputs}) => [
      stdout.replaceAll(/^::add-mask::.*$/gm, ''),
      stderr,
      summary,
      JSON.stringify(outputs),
    ]);
    expect(server.log()).toContain('statement: select * from pg_hba_file_rules');
    for (const text of [...texts, server.log()]) {
      for (const trace of ['w%rd', 'w%25rd', 'p%ss', 'SCRAM-SHA-256$']) expect(text).not.toContain(trace);
    }
  });

  test.each([
    {what: 'the administrator', inputs: {user: 'postgres'}, tells: ['admin-user']},
    {what: 'another superuser', inputs: {user: 'chief'}, tells: ['is a superuser', 'Set user']},
    {what: 'a role whose password has run out', inputs: {user: 'late'}, tells: [`VALID UNTIL 'infinity'`]},
    {
      what: 'an administrator with a wrong password',
      inputs: {'admin-password': 'wrong'},
      tells: ['administrator cannot log in', 'admin-password'],
    },
    {
      what: 'an administrator that is not there',
      inputs: {'admin-user': 'nobody'},
      tells: ['administrator cannot log in', 'admin-user'],
    },
    {
      what: 'a server that is not there',
      inputs: {port: '1'},
      tells: ['Nothing listens', 'postgres@127.0.0.1:1'],
    },
  ])('is refused, and nothing changes: $what', async ({inputs, tells}) => {
    await loadHba(server, closed);
    await server.sql('drop role if exists chief, late; create role chief superuser');
    await server.sql(`create role late login replication valid until '2020-01-01'`);
    const before = await accessState(server);
    const error = failure(await prepare(server, inputs));
    for (const text of tells) expect(error).toContain(text);
    expect(await accessState(server)).toEqual(before);
  });

  test('whose administrator may not make roles is told the statements, without the password', async () => {
    await loadHba(server, closed);
    await server.sql(`create role clerk login createrole password 'clerk'`);
    const admin = {'admin-user': 'clerk', 'admin-password': 'clerk'};
    const before = await accessState(server);
    const error = failure(await prepare(server, {...admin, user: 'new "role"'}));
    expect(error).toContain('"clerk" may not make or change a replication role');
    expect(error).toContain(`create role "new ""role""" login replication password '…';`);
    expect(error).toContain('grant pg_monitor to "new ""role""";');
    expect(await accessState(server)).toEqual(before);
  });

  test('whose administrator may not make roles is fine when there is nothing to make', async () => {
    await loadHba(server, ['host replication ready 127.0.0.1/32 scram-sha-256', ...closed]);
    await server.sql(`create role looker login password 'looker'`);
    await server.sql(
      `create role ready login replication password ${quoteText(password)}; grant pg_monitor to ready`,
    );
    const admin = {'admin-user': 'looker', 'admin-password': 'looker'};
    const before = await accessState(server);
    succeeded(await prepare(server, {...admin, user: 'ready'}));
    expect(await accessState(server)).toEqual(before);
  });

  test.each([
    ['all', 'simple'],
    ['replication', ' blanks around '],
    ['+backup', '%s %I %L $1 ${x}'],
    ['/backup', 'tab\tand "quotes"'],
    ['@backup', '$(id) `id` ; id'],
    ['a,b', "it's"],
    ['# no comment', 'back\\slash\\'],
    [`o'b"r`, ':\'v1\' :v1 :"v1"'],
    ['50% %s %I', 'pässwörd'],
    ['back\\slash\\', 'ﬁ Ⅸ № a\u0308 \u00a0'],
    ['two words', '日本語 パスワード'],
    ['Ünïcödé 🔥', '🔥'],
    ['"', "'"],
    ["'''", '"""'],
    ['::add-mask::x', '-'],
    ['tab\there', '\\'],
    ['x'.repeat(63), 'y'.repeat(500)],
  ])('lets a role named %j with a password as odd log in and back up', async (user, secret) => {
    await loadHba(server, closed);
    await prepareFully(server, {user, password: secret});
    await backUp(server, workspace(), {user, password: secret});
  });

  test('lets in the network that client-address names, and nobody else', async () => {
    await loadHba(server, ['host replication all 10.1.0.0/16 scram-sha-256', ...closed]);
    const address = {user: 'far', 'client-address': '10.0.0.0/8'};
    const lines = linesIn(failure(await prepare(server, address)));
    expect(lines).toEqual([
      'host replication "far" 10.0.0.0/8 scram-sha-256',
      'host "postgres" "far" 10.0.0.0/8 scram-sha-256',
    ]);
    await loadHba(server, [...lines, ...closed]);
    const result = succeeded(await prepare(server, address));
    expect(result.warnings.join()).toContain('not proven');
    expect(result.stdout).toContain('was ready: nothing was changed.');
  });
});

describeWithPostgres('a server', () => {
  test('that stores passwords as md5 gets a line that goes with either kind', async () => {
    const server = await cluster({
      password: adminPassword,
      settings: ['password_encryption = md5'],
    });
    const md5 = ['local all all trust', 'host all all 127.0.0.1/32 md5'];
    await loadHba(server, md5);
    await server.sql(
      `create role old login replication password ${quoteText(password)}; grant pg_monitor to old`,
    );
    expect(await server.sql("select left(rolpassword, 3) from pg_authid where rolname = 'old'")).toBe('md5');
    for (const user of ['backup', 'old']) {
      const lines = linesIn(failure(await prepare(server, {user})));
      expect(lines).toEqual([`host replication "${user}" 127.0.0.1/32 md5`]);
      await loadHba(server, [...lines, ...md5]);
      const before = await accessState(server);
      succeeded(await prepare(server, {user}));
      expect(await accessState(server)).toEqual(before);
      await backUp(server, workspace(), {user, password});
    }
    // Where a rule takes no md5, the password is stored anew.
    await loadHba(server, ['host all,replication old 127.0.0.1/32 scram-sha-256', ...md5]);
    expect(succeeded(await prepare(server, {user: 'old'})).stdout).toContain("alter role old password '…';");
  });

  test('with TLS gets a line for TLS alone, unless TLS is turned off', async () => {
    const server = await cluster({password: adminPassword});
    await turnOnTls(server);
    await loadHba(server, closed);
    const plain = linesIn(failure(await prepare(server, {sslmode: 'disable'})));
    expect(plain).toEqual(['host replication "backup" 127.0.0.1/32 scram-sha-256']);
    const lines = linesIn(failure(await prepare(server)));
    expect(lines).toEqual(['hostssl replication "backup" 127.0.0.1/32 scram-sha-256']);
    await loadHba(server, [...lines, ...closed]);
    succeeded(await prepare(server, {sslmode: 'require'}));
    await backUp(server, workspace(), {user: 'backup', password, sslmode: 'require'});
  });

  test('that is a standby is refused a new role, and fine with one of its primary', async () => {
    const primary = await cluster({password: adminPassword});
    const standby = await standbyOf(primary);
    await loadHba(primary, ['local replication all trust', ...closed]);
    await loadHba(standby, closed);
    const error = failure(await prepare(standby));
    expect(error).toContain('The server is a standby');
    expect(error).toContain('create role backup');
    failure(await prepare(primary));
    await waitUntil(
      async () =>
        (await standby.sql(
          "select 1 from pg_auth_members m join pg_roles r on r.oid = member where rolname = 'backup'",
        )) !== '',
      {seconds: 20, what: 'the role on the standby'},
    );
    const lines = linesIn(failure(await prepare(standby)));
    await loadHba(standby, [...lines, ...closed]);
    succeeded(await prepare(standby));
  });
});
