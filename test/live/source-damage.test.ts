import {mkdirSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction} from '../support/runner.js';
import {
  askRestored,
  backUp,
  backupDirectory,
  restore,
  restoreAndKeepRunning,
  restoreInputs,
  stopRestored,
} from '../support/steps.js';
import {makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

/** Damage that was there before the backup was taken, so that every file is as the manifest tells it. */
interface Damage {
  readonly damage: string;
  /** Relation, and the database that it is in. */
  readonly relation: string;
  readonly database?: string;
  /** The byte of its file that is turned over. */
  readonly offset: (file: Buffer) => number;
  /** What the check `dump` says of it; null: it sees nothing; undefined: it is up to chance. */
  readonly dump?: RegExp | null;
  readonly amcheck?: RegExp;
}

/** The upper byte of pd_lower (bufpage.h): a page whose free space starts behind its end is not valid. */
const pageHeader = () => 13;

/** Where the first item of a page starts: the low 15 bits of its line pointer (itemid.h). */
const firstItem = (file: Buffer, block = 0) => block * 8192 + (file.readUInt16LE(block * 8192 + 24) & 0x7fff);

const damages: readonly Damage[] = [
  {
    damage: 'the header of a page of a table',
    relation: 'orders',
    offset: pageHeader,
    dump: /^Check dump failed in database "shop"[\s\S]*invalid page in block 0 of relation \S+[\s\S]*from only public\.orders/,
    amcheck: /^Check amcheck failed[\s\S]*invalid page in block 0/,
  },
  {
    damage: 'the header of a row',
    relation: 'orders',
    // t_hoff, where the row's data begin (htup_details.h).
    offset: (file) => firstItem(file) + 22,
    amcheck: /heap table "shop\.public\.orders", block 0, offset 1[\s\S]*data begins at offset/,
  },
  {
    damage: 'the pointer to a TOAST value',
    relation: 'documents',
    // The lowest byte of va_valueid, behind the tag and two lengths (postgres.h, varatt_external).
    offset: (file) => file.lastIndexOf(Buffer.from([0x01, 0x12])) + 10,
    dump: /missing chunk number 0 for toast value \d+[\s\S]*from only public\.documents/,
    amcheck: /toast value \d+ not found in toast table/,
  },
  {
    damage: 'the TOAST table',
    relation: '(select reltoastrelid from pg_class where relname = $$documents$$)',
    offset: pageHeader,
    dump: /invalid page in block 0[\s\S]*from only public\.documents/,
  },
  {
    damage: 'a page of an index',
    relation: 'orders_pkey',
    // A key on the first leaf.
    offset: (file) => firstItem(file, 1) + 8 + 2,
    dump: null,
    amcheck: /orders_pkey/,
  },
  {
    damage: 'a materialised view',
    relation: 'totals',
    offset: pageHeader,
    dump: /invalid page in block 0[\s\S]*from only public\.totals/,
  },
  {
    damage: 'a large object',
    relation: 'pg_largeobject',
    offset: pageHeader,
    dump: /invalid page in block 0[\s\S]*from only pg_catalog\.pg_largeobject/,
  },
  {
    damage: 'a table that belongs to an extension',
    relation: 'of_extension',
    offset: pageHeader,
    dump: /invalid page in block 0[\s\S]*from only public\.of_extension/,
  },
  {
    damage: 'a table of the system that no dump reads',
    relation: 'information_schema.sql_features',
    offset: pageHeader,
    dump: /invalid page in block 0[\s\S]*from only information_schema\.sql_features/,
  },
  {
    damage: 'a table of a database that lets nobody in',
    relation: 'orders',
    database: 'closed',
    offset: pageHeader,
    dump: /in database "closed"[\s\S]*invalid page in block 0[\s\S]*from only public\.orders/,
  },
];

const content = `
  create table orders (id int primary key, note text);
  insert into orders select n, md5(n::text) from generate_series(1, 2000) n;
  create materialized view totals as select sum(id) as total from orders;
  create table documents (body text);
  alter table documents alter body set storage external;
  insert into documents select repeat(md5(n::text), 200) from generate_series(1, 20) n;
  create table of_extension as select 1 as n;
  alter extension plpgsql add table of_extension;
  select lo_from_bytea(0, convert_to(repeat('large ', 5000), 'UTF8'));`;

describeWithPostgres('damage in the source,', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    for (const database of ['shop', 'closed']) {
      await source.sql(`create database ${database}`);
      await source.sql(content, database);
      // Nothing is left to be written to a page, which would repair it.
      await source.sql('vacuum (freeze)', database);
    }
    await source.sql('checkpoint');
    return () => source.remove();
  });

  async function pathOf({relation, database = 'shop'}: Damage): Promise<string> {
    const quoted = relation.startsWith('(') ? relation : `'${relation}'`;
    return source.sql(`select pg_relation_filepath(${quoted})`, database);
  }

  /** Backs up a source that is damaged as long as this takes. */
  async function backUpDamaged(home: Workspace, damage: Damage): Promise<void> {
    const path = await pathOf(damage);
    const isClosed = damage.database === 'closed';
    if (isClosed) await source.sql('alter database closed allow_connections false');
    const offset = damage.offset(readFileSync(join(source.dataDirectory, path)));
    source.damage(path, offset);
    await backUp(source, home, {compress: 'none'});
    source.damage(path, offset);
    if (isClosed) await source.sql('alter database closed allow_connections true');
  }

  async function refusal(home: Workspace, checks: string): Promise<string> {
    const message = failure(await runAction(restoreInputs({checks}), {workspace: home}));
    expect(readdirSync(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
    return message;
  }

  test.each(damages)('$damage, is found by the checks that can see it', async (damage) => {
    const {dump, amcheck} = damage;
    const home = workspace();
    await backUpDamaged(home, damage);
    if (dump) expect(await refusal(home, 'manifest\ndump')).toMatch(dump);
    if (dump === null) {
      const inputs = {checks: 'dump', 'data-directory': join(home.root, 'read')};
      expect((await restore(home, inputs)).outputs.proof).toBe('read');
    }
    if (amcheck) expect(await refusal(home, 'amcheck')).toMatch(amcheck);
  });

  test('is not denied by a restore without these checks, which claims no more than it has shown', async () => {
    const [damage] = damages;
    const home = workspace();
    if (damage) await backUpDamaged(home, damage);
    const {outputs} = await restore(home);
    expect(outputs).toMatchObject({proof: 'recovered', 'checks-passed': 'manifest'});
  });
});

describeWithPostgres('page checksums', () => {
  test('find a page that was damaged on the source, and are claimed only where they are', async () => {
    const source = await cluster({initdbArgs: ['--data-checksums']});
    await source.sql('create table orders (id int primary key); insert into orders values (1); checkpoint');
    const home = workspace();
    await backUp(source, home);
    const sound = await restoreAndKeepRunning(home, {checks: 'checksums'});
    expect(sound.outputs).toMatchObject({proof: 'checked', 'checks-passed': 'checksums'});
    expect(sound.warnings).toEqual([]);
    expect(await askRestored(sound, 'select id from orders')).toBe('1');
    await stopRestored(sound);

    const path = await source.sql("select pg_relation_filepath('orders_pkey')");
    source.damage(path, 8192 + 4000);
    rmSync(join(home.directory, 'backups'), {recursive: true});
    mkdirSync(join(home.directory, 'backups'));
    const {host, port, user} = source.connection;
    // pg_basebackup itself would find it.
    const args = ['-Ft', '--no-verify-checksums', '-D', backupDirectory(home), '-h', host, '-p', `${port}`];
    await run(postgresProgram('pg_basebackup'), [...args, '-U', user, '-c', 'fast']);
    const inputs = {'data-directory': join(home.root, 'damaged'), checks: 'manifest\nchecksums'};
    const message = failure(await runAction(restoreInputs(inputs), {workspace: home}));
    expect(message).toMatch(/^Check checksums failed/);
    expect(message).toContain(path);
  });
});

describeWithPostgres('the checks of an odd but sound cluster', () => {
  const home = makeWorkspace();
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    return async () => {
      await source.remove();
      await home.remove();
    };
  });

  const oddities = `
    create schema "s ""x"" 'y'";
    create table "s ""x"" 'y'"."t %s %I" ("c ""c""" int, doubled int generated always as ("c ""c""" * 2) stored);
    insert into "s ""x"" 'y'"."t %s %I" values (1);
    create table no_columns ();
    insert into no_columns default values;
    create unlogged table passing as select 1 as n;
    create sequence counter;
    create view broken as select 1 / 0 as n;
    create materialized view never_filled as select 1 / 0 as n with no data;
    create table parted (n int) partition by range (n);
    create table part partition of parted for values from (0) to (10);
    insert into parted values (1);
    create foreign data wrapper nowhere;
    create server nowhere foreign data wrapper nowhere;
    create foreign table remote (n int) server nowhere;
    create table guarded as select 1 as n;
    alter table guarded enable row level security;
    alter table guarded force row level security;`;

  test('pass, and leave nothing in what is kept', async () => {
    await source.sql('create database odd');
    await source.sql(oddities, 'odd');
    await source.sql('create database closed allow_connections false');
    await source.sql('alter database odd set default_transaction_read_only = on');
    await source.sql("alter database odd set local_preload_libraries = 'nope'");
    // In one session: each further one as this role would have a millisecond for a statement.
    await source.sql(`
      create role reader login; create role owner superuser login;
      alter role postgres set statement_timeout = 1;
      alter role postgres set default_transaction_isolation = 'serializable';
      alter role postgres set session_preload_libraries = 'nope'`);
    await backUp({...source, inputs: {...source.inputs, user: 'owner'}}, home);
    const restored = await restoreAndKeepRunning(home, {checks: 'manifest\ndump\nchecksums\namcheck'});
    expect(restored.outputs).toMatchObject({proof: 'checked', 'checks-passed': 'manifest,dump,amcheck'});
    expect(restored.warnings.join('\n')).toContain('the source has no page checksums');
    expect(restored.summary).toMatch(/\| dump \| every row of [^|]+ \| \d+\.\d \|/);

    const ask = (database: string, statement: string) => {
      const login = `user=owner dbname=${database} options='-c local_preload_libraries='`;
      const target = `${restored.outputs['connection-string']} ${login}`;
      return askRestored({...restored, outputs: {'connection-string': target}}, statement);
    };
    const closed = 'select datname from pg_database where not datallowconn order by 1';
    expect(await ask('postgres', closed)).toBe('closed\ntemplate0');
    for (const database of ['postgres', 'template1', 'odd'])
      expect(await ask(database, 'select extname from pg_extension')).toBe('plpgsql');
    await stopRestored(restored);
  });

  test('refuse a role that may not read everything, with the cure', async () => {
    const target = {'data-directory': join(home.root, 'reader')};
    const inputs = restoreInputs({checks: 'dump', user: 'reader', ...target});
    expect(failure(await runAction(inputs, {workspace: home}))).toMatch(
      /reader may not open it[\s\S]*Set user to a superuser/,
    );
  });
});
