import {chmodSync, readFileSync, statSync} from 'node:fs';
import {tmpdir} from 'node:os';
import fc from 'fast-check';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import {UserError} from '../../src/errors.js';
import type {Host} from '../../src/host/host.js';
import {serverRunner} from '../../src/host/local.js';
import {parseRequest} from '../../src/inputs/inputs.js';
import {readRunContext} from '../../src/inputs/run-context.js';
import {type PsqlAccess, queryByPsql} from '../../src/postgres/psql.js';
import {localAdministrator} from '../../src/prepare/administrator.js';
import {addToHbaFile} from '../../src/prepare/hba-file.js';
import {type PrepareResult, prepare} from '../../src/prepare/prepare.js';
import {type Cluster, createCluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {accessState, hbaFile, loadHba} from '../support/hba.js';
import {backUp} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

const password = `p@ss:/ w%rd?#'"\\`;

/** As the image of PostgreSQL leaves it: whoever comes from outside needs a password, and may not replicate. */
const asInImage = [
  '# PostgreSQL Client Authentication Configuration File',
  '',
  'local all all trust',
  'local replication all trust',
  'host all all all scram-sha-256',
];

function rejection(work: Promise<unknown>): Promise<UserError> {
  return work.then(
    () => expect.unreachable(),
    (error: unknown) => {
      if (error instanceof UserError) return error;
      throw error;
    },
  );
}

// The door is the one of a container; here the server's own socket is within reach without one.
describeWithPostgres('where the files of the server are within reach', () => {
  let server: Cluster;
  let host: Host;
  let access: PsqlAccess;

  beforeAll(async () => {
    server = await createCluster({password: 'admin', settings: ["log_statement = 'all'"]});
    host = await serverRunner(new AbortController().signal, tmpdir());
    const {host: PGHOST, port, user: PGUSER} = server.connection;
    access = {
      host,
      program: postgresProgram('psql'),
      env: {PGHOST, PGPORT: String(port), PGUSER, PGDATABASE: 'postgres'},
    };
    return () => server.remove();
  });

  beforeEach(() => loadHba(server, asInImage));

  function prepareRole(user: string, more: Readonly<Record<string, string>> = {}): Promise<PrepareResult> {
    const {host: name = '', port = ''} = server.inputs;
    const inputs: Record<string, string> = {
      mode: 'prepare',
      container: 'none',
      host: name,
      port,
      user,
      password,
      ...more,
    };
    const request = parseRequest((input) => inputs[input] ?? '', readRunContext({}));
    if (request.mode !== 'prepare') throw new Error('not a preparation');
    return prepare(request, {openAdministrator: async () => localAdministrator(access)});
  }

  test('the role is made and let in, and a second time nothing is changed', async () => {
    chmodSync(hbaFile(server), 0o640);
    const before = statSync(hbaFile(server));
    const result = await prepareRole('backup');
    expect(result).toMatchObject({proof: {replicates: true, warnings: []}});
    expect(readFileSync(hbaFile(server), 'utf8')).toBe(
      [
        ...asInImage.slice(0, 2),
        '# Added by pg-basebackup-action (mode: prepare):',
        'host replication "backup" 127.0.0.1/32 scram-sha-256',
        ...asInImage.slice(2),
        '',
      ].join('\n'),
    );
    const {mode, uid, gid, ino} = statSync(hbaFile(server));
    expect({mode, uid, gid, ino}).toEqual({
      mode: before.mode,
      uid: before.uid,
      gid: before.gid,
      ino: before.ino,
    });

    const state = await accessState(server);
    expect(await prepareRole('backup')).toMatchObject({plan: {statements: [], lines: []}});
    expect(await accessState(server)).toEqual(state);
    await backUp(server, workspace(), {user: 'backup', password});
  });

  test('the line stands ahead of one that rejects', async () => {
    await loadHba(server, ['host replication all all reject', ...asInImage]);
    await prepareRole('rejected');
    await backUp(server, workspace(), {user: 'rejected', password});
  });

  test('a database that SQL is kept out of gets a line, too', async () => {
    await loadHba(server, ['local all all trust']);
    const result = await prepareRole('outside');
    expect(result.plan.lines).toEqual([
      'host replication "outside" 127.0.0.1/32 scram-sha-256',
      'host "postgres" "outside" 127.0.0.1/32 scram-sha-256',
    ]);
    expect(result).toMatchObject({proof: {replicates: true, warnings: []}});
  });

  test('a dry run changes nothing', async () => {
    const state = await accessState(server);
    const {plan} = await prepareRole('planned', {'dry-run': 'true'});
    expect(plan.shown[0]).toBe("create role planned login replication password '…';");
    expect(plan.lines).toEqual(['host replication "planned" 127.0.0.1/32 scram-sha-256']);
    expect(await accessState(server)).toEqual(state);
  });

  test.each([
    'all',
    '+all',
    '/all',
    '@all',
    'a,b',
    '# c',
    `o'b"r`,
    '50% %I',
    'b\\',
    'two words',
    'Ünï 🔥',
    '$1 :v1',
    '"',
  ])('a role named %j can log in and back up, and is prepared once', async (user) => {
    await prepareRole(user);
    const state = await accessState(server);
    await prepareRole(user);
    expect(await accessState(server)).toEqual(state);
    await backUp(server, workspace(), {user, password});
  });

  test('a role that is there is brought up to date', async () => {
    await server.sql("create role old password 'another'");
    const {plan} = await prepareRole('old');
    expect(plan.shown).toEqual([
      "alter role old login replication password '…';",
      'grant pg_monitor to old;',
    ]);
    await backUp(server, workspace(), {user: 'old', password});
  });

  test('neither the password nor what is stored of it is in the server’s log', async () => {
    await prepareRole('secretive');
    expect(server.log()).toContain('statement: select coalesce(json_agg(r)');
    for (const trace of ['w%rd', 'SCRAM-SHA-256$']) expect(server.log()).not.toContain(trace);
  });

  test('client-address is let in, once, also when this runner is not in it', async () => {
    for (const address of ['2001:db8::/32', '192.0.2.7']) {
      const result = await prepareRole('far', {'client-address': address});
      expect(result.plan.lines[0]).toContain(address);
      expect(result).toMatchObject({proof: {replicates: false}});
      const state = await accessState(server);
      expect(await prepareRole('far', {'client-address': address})).toMatchObject({plan: {lines: []}});
      expect(await accessState(server)).toEqual(state);
    }
    const rules = `select count(*) from pg_hba_file_rules where 'far' = any(user_name) and error is null`;
    // SQL is let in from everywhere.
    expect(await server.sql(rules)).toBe('2');
  });

  test('a file with an error is left alone, and the error told', async () => {
    await loadHba(server, [...asInImage, 'host all all nowhere']);
    const state = await accessState(server);
    const error = await rejection(prepareRole('unlucky'));
    expect(error.message).toMatch(/has errors.*line 6: .*/);
    expect(await accessState(server)).toEqual(state);
  });

  test('a line that the server finds wrong is taken out again', async () => {
    const text = readFileSync(hbaFile(server), 'utf8');
    const lines = ['host replication "x" 127.0.0.1/32 no-such-method'];
    const administrator = localAdministrator(access);
    const error = await rejection(addToHbaFile(administrator, hbaFile(server), lines));
    expect(error.message).toContain('line 4: invalid authentication method "no-such-method"');
    expect(readFileSync(hbaFile(server), 'utf8')).toBe(text);
    expect(await server.sql('select count(*) from pg_hba_file_rules where error is not null')).toBe('0');
  });

  test('a file that cannot be written is told with what to add, and stays as it was', async () => {
    chmodSync(hbaFile(server), 0o444);
    const text = readFileSync(hbaFile(server), 'utf8');
    const error = await rejection(prepareRole('readonly'));
    chmodSync(hbaFile(server), 0o600);
    expect(error.message).toContain('could not be written');
    expect(error.cure).toContain('host replication "readonly" 127.0.0.1/32 scram-sha-256');
    expect(readFileSync(hbaFile(server), 'utf8')).toBe(text);
  });

  test('when a statement fails, none of them has been carried out', async () => {
    await server.sql('create role half');
    const administrator = localAdministrator(access);
    const statements = [
      {template: 'alter role %I replication', values: ['half']},
      {template: 'grant %I to %I', values: ['no such role', 'half']},
    ];
    await expect(administrator.change(statements)).rejects.toThrow('role "no such role" does not exist');
    expect(await server.sql("select rolreplication from pg_roles where rolname = 'half'")).toBe('f');
  });

  test('psql takes values as they are', async () => {
    // What is no character (U+nFFFE, U+nFFFF), psql leaves out of its output.
    const text = fc
      .string({unit: 'binary', maxLength: 40})
      .filter((value) => !/[\0\ud800-\udfff]|\p{Noncharacter_Code_Point}/u.test(value));
    const odd = [
      "'",
      '\\',
      '\\n',
      '\n',
      'a\n',
      '\r\n',
      '$(id)',
      '`id`',
      ':v1',
      ":'v1'",
      '"$VALUE_1"',
      '%s',
      '',
    ];
    const values = fc.array(fc.oneof(text, fc.constantFrom(...odd)), {minLength: 1, maxLength: 12});
    await fc.assert(
      fc.asyncProperty(values, async (given) => {
        const columns = given.map((_, index) => `$${index + 1}::text as c${index}`);
        const rows = await queryByPsql(access, `select ${columns.join(', ')}`, given);
        expect(rows.map((row) => Object.values(row))).toEqual([given]);
      }),
      {numRuns: 40},
    );
  });
});
