import {
  chmodSync,
  chownSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {dirname, join} from 'node:path';
import {beforeAll, describe, expect, onTestFinished, test} from 'vitest';
import {ageKey} from '../support/age.js';
import {
  asServer,
  type Cluster,
  cluster,
  createCluster,
  describeWithPostgres,
  freePort,
  postgresProgram,
  runAsServer,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {type ResultsService, startResultsService} from '../support/results-service.js';
import {runAction, succeeded} from '../support/runner.js';
import {backUp, backupDirectory, backupInputs, writeScript} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const page = read('docs/restore-by-hand.md');

/** The blocks of a page in one language; in a list they are indented. */
const blocksOf = (text: string, language: string): readonly string[] =>
  [...text.matchAll(new RegExp(`^( *)\`\`\`${language}\\n(.*?)^\\1\`\`\`$`, 'gms'))].map(
    ([, indent = '', block = '']) => block.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );

/** The page's commands, up to the copy's stop, as one script for other paths; `look` runs before everything is read. */
function scriptOf({backup, data, port, look}: Record<'backup' | 'data' | 'port' | 'look', string>): string {
  const replaced = blocksOf(page, 'bash')
    .filter((block) => !isDownload(block))
    .join('\n')
    .replace(/^backup=.*$/m, `backup='${backup}'`)
    .replace(/^data=.*$/m, `data='${data}'`)
    .replace('/srv/restore/backup.key', `${dirname(backup)}/backup.key`)
    .replace(/^PATH=.*$/m, `PATH='${dirname(postgresProgram('psql'))}':$PATH`)
    .replaceAll('5433', port)
    .replace(/^pg_dumpall/m, `${look}\npg_dumpall`);
  // A server that outlives a failure would outlive the test.
  return `trap '[ ! -d "\${config:-}" ] || pg_ctl stop --pgdata="$config" --mode=immediate || true' EXIT\n${replaced}`;
}

const isDownload = (block: string) => block.includes('gh api');

/** Downloads the artifacts of a backup as the page says, and gives the files to whom the directory belongs. */
async function download(service: ResultsService, into: string): Promise<void> {
  const {uid, gid} = statSync(into);
  const script = blocksOf(page, 'bash')
    .filter(isDownload)
    .join('\n')
    .replace(/^repository=.*$/m, 'repository=octo-org/octo-repo run=4242 name=nightly');
  await run('bash', ['-euo', 'pipefail', '-c', script], {cwd: into, env: ghFor(service, into)});
  await run('chown', ['-R', `${uid}:${gid}`, into]);
}

/** The environment of a `gh` that asks the stand-in: the real one speaks HTTPS alone. */
function ghFor(service: ResultsService, directory: string): Record<string, string> {
  const programs = mkdtempSync(join(directory, 'gh-'));
  const get = `curl --silent --show-error --fail --header 'authorization: token ${service.token}'`;
  writeScript(join(programs, 'gh'), [
    `set -eu`,
    `[ "$1" = api ]; shift`,
    `if [ "$1" != --paginate ]; then exec curl --silent --fail "$(${get} --output /dev/null --write-out '%{redirect_url}' "${service.env.GITHUB_API_URL}/$1")"; fi`,
    `for page in 1 2 3 4 5 6 7 8 9; do ${get} "${service.env.GITHUB_API_URL}/$2&page=$page" | jq -r "\${4:-.}"; done`,
  ]);
  return {PATH: `${programs}:${process.env.PATH}`};
}

/** A directory of the account that servers run as. */
function serverDirectory(home: Workspace, source: Cluster): string {
  const path = join(home.root, 'srv');
  mkdirSync(path);
  const {uid, gid} = statSync(source.dataDirectory);
  chownSync(path, uid, gid);
  return path;
}

describeWithPostgres('the commands of docs/restore-by-hand.md', () => {
  test.each([
    ['whole', {compress: 'client-gzip', format: 'tar'}],
    ['in parts', {compress: 'none', 'artifact-part-size': '8MiB'}],
    ['encrypted', {compress: 'client-zstd:level=1'}],
  ])('restore a backup with a tablespace from its artifacts (%s)', async (how, more) => {
    const [source, service] = await Promise.all([cluster(), startResultsService()]);
    try {
      await source.tablespace('fast');
      await source.sql('create table far tablespace fast as select n from generate_series(1, 1234) n');
      const home = workspace();
      const place = serverDirectory(home, source);
      const key = await ageKey(place, 'backup');
      const locked = how === 'encrypted' ? {'encrypt-to': key.recipient} : {};
      const inputs = backupInputs(source, {storage: 'artifact', ...more, ...locked});
      succeeded(await runAction(inputs, {workspace: home, env: service.env}));
      await download(service, place);
      const [, , listArtifacts = ''] = blocksOf(read('docs/retention.md'), 'bash');
      const listed = await run('bash', ['-c', listArtifacts.replace('octo-org/shop', 'octo-org/octo-repo')], {
        env: ghFor(service, home.root),
      });
      expect(listed).toMatch(/^20\S+Z\tnightly\t4242\tno proof\n$/);
      const port = String(await freePort());
      const look = `psql --host="$config" --port=${port} --username=postgres --dbname=postgres --tuples-only --command="select 'there are ' || count(*) from far"`;
      const script = scriptOf({backup: join(place, 'nightly'), data: join(place, 'data'), port, look});
      const [bash, args] = asServer('bash', ['-c', script]);
      const output = await run(bash, args);
      expect(output).toContain('there are 1234');
      expect(output).toMatch(/base\.tar\S*: OK/);
    } finally {
      await service.stop();
    }
  });
});

describeWithPostgres('what else the pages give to paste', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await source.sql('create table far as select n from generate_series(1, 1234) n');
    return () => source.remove();
  });

  test('docs/retention.md lists the backups of a directory, the oldest first', async () => {
    const home = workspace();
    await backUp(source, home, {'backup-name': 'older', report: 'true'});
    await backUp(source, home, {'backup-name': 'newer'});
    const inputs = {mode: 'verify', storage: 'directory', 'backup-name': 'older'};
    succeeded(await runAction(inputs, {workspace: home}));
    const [list = ''] = blocksOf(read('docs/retention.md'), 'bash');
    const listed = await run('bash', ['-c', list.replace('/srv/backups', join(home.directory, 'backups'))]);
    const rows = listed
      .trimEnd()
      .split('\n')
      .map((row) => row.split('\t').slice(1));
    expect(rows).toEqual([
      ['older', expect.stringMatching(/^\d+ MB$/), 'manifest-verified'],
      ['newer', expect.stringMatching(/^\d+ MB$/), 'not proven'],
    ]);
  });

  test('docs/point-in-time-recovery.md brings a dropped table back with all that belongs to it', async () => {
    await source.sql('create table orders (id serial primary key, item text unique)');
    await source.sql("insert into orders (item) select 'item ' || n from generate_series(1, 100) n");
    const {host, port, user} = source.connection;
    const original = `host=${host} port=${port} user=${user} dbname=postgres`;
    const [load = '', create = ''] = blocksOf(read('docs/point-in-time-recovery.md'), 'bash').filter(
      (block) => block.includes('$ORIGINAL'),
    );
    const {root} = workspace();
    const paste = (script: string) =>
      run('bash', ['-euc', `cd '${root}'\nORIGINAL='${original}'\n${script}`], {
        env: {PATH: `${dirname(postgresProgram('psql'))}:${process.env.PATH}`},
      });
    await paste('pg_dump --dbname="$ORIGINAL" --table=orders --format=custom --file=orders.dump');
    await source.sql('drop table orders');
    await paste(load);
    await source.sql("insert into orders (item) values ('next')");
    expect(await source.sql('select max(id), count(*) from orders')).toBe('101|101');
    expect(await source.sql("select count(*) from pg_indexes where tablename = 'orders'")).toBe('2');
    await paste(`${create}pg_restore --dbname="\${ORIGINAL/dbname=postgres/dbname=rescue}" orders.dump`);
    expect(await source.sql('select count(*) from orders', 'rescue')).toBe('100');
    await source.sql('drop table orders');
    await source.sql('drop database rescue');
  });

  test.each(['in the data directory', 'elsewhere'])(
    'README restores a backup in few lines, configuration %s',
    async (where) => {
      const home = workspace();
      // As packages of Debian have it: none of these files is in the backup.
      const files = ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'];
      const origin = where === 'elsewhere' ? await createCluster() : source;
      if (origin !== source) {
        onTestFinished(() => origin.remove());
        await origin.sql('create table far as select n from generate_series(1, 1234) n');
        for (const name of files) rmSync(join(origin.dataDirectory, name));
      }
      await backUp(origin, home, {compress: 'client-zstd:level=1'});
      const place = serverDirectory(home, source);
      const {uid, gid} = statSync(place);
      await run('cp', ['-r', '--', backupDirectory(home), join(place, 'nightly')]);
      await run('chown', ['-R', `${uid}:${gid}`, place]);
      const [block = ''] = blocksOf(read('README.md'), 'bash').filter((one) =>
        one.includes('pg_verifybackup'),
      );
      const port = String(await freePort());
      const data = join(place, 'data');
      const script = `set -e
trap 'pg_ctl stop --pgdata="$data" --mode=immediate' EXIT
${block}
psql --host="$data.conf" --port=${port} --username=postgres --dbname=postgres --command="select 'there are ' || count(*) from far"`
        .replace(/^PATH=.*$/m, `PATH='${dirname(postgresProgram('psql'))}':$PATH`)
        .replace(/^backup=.*$/m, `backup='${join(place, 'nightly')}'`)
        .replace(/^data=.*$/m, `data='${data}'`)
        .replaceAll('5433', port);
      expect(await run(...asServer('bash', ['-c', script]))).toContain('there are 1234');
    },
  );

  test('every statement runs', async () => {
    const statements = globSync('{*.md,docs/*.md}', {cwd: root})
      .sort()
      .flatMap((path) => blocksOf(read(path), 'sql'));
    expect(statements.length).toBeGreaterThanOrEqual(4);
    // Before 17 there is no such setting; container/chains sets it where there is.
    const summarizes = await source.sql("select count(*) = 1 from pg_settings where name = 'summarize_wal'");
    const known = statements.filter((one) => summarizes === 't' || !one.includes('summarize_wal'));
    await source.sql(known.join('\n'));
    expect(await source.sql("select rolreplication from pg_roles where rolname = 'backup'")).toBe('t');
    await source.sql("select pg_drop_replication_slot('replica_1')");
  });

  test('PostgreSQL reads every setting', async () => {
    const settings = globSync('docs/*.md', {cwd: root}).flatMap((path) => blocksOf(read(path), 'ini'));
    expect(settings.length).toBeGreaterThanOrEqual(2);
    const file = join(source.root, 'pages.conf');
    writeFileSync(file, settings.join('\n'));
    const args = ['-D', source.dataDirectory, `--config-file=${file}`, '-C', 'archive_timeout'];
    expect((await runAsServer('postgres', args)).trim()).toBe('300');
  });

  describe('docs/encryption.md', () => {
    const [makeKey = '', showSealed = '', changeKey = '', decrypt = '', unpack = '', encrypt = ''] = blocksOf(
      read('docs/encryption.md'),
      'bash',
    );

    test('makes keys, opens a backup with them, and encrypts one by hand', async () => {
      const home = workspace();
      const directory = join(home.directory, 'backups');
      mkdirSync(directory);
      // In place of GitHub's program: it notes the secret.
      const programs = join(home.root, 'programs');
      mkdirSync(programs);
      writeFileSync(join(programs, 'gh'), `#!/bin/sh\ncat > "${home.root}/$3"\n`);
      chmodSync(join(programs, 'gh'), 0o755);
      const paste = (script: string) =>
        run('bash', ['-c', `cd '${directory}'\nset -euo pipefail\n${script}`], {
          env: {PATH: `${programs}:${process.env.PATH}`},
        });

      const publicKey = (await paste(makeKey)).trim();
      const name = 'basebackup-20261122-021700';
      const secret = readFileSync(join(home.root, 'BACKUP_KEY'), 'utf8');
      expect(secret).toContain('AGE-SECRET-KEY-1');
      await backUp(source, home, {
        'backup-name': name,
        'encrypt-to': publicKey,
        compress: 'client-zstd:level=1',
      });
      expect(JSON.parse(await paste(showSealed))).toHaveProperty('label');
      await paste(`age-keygen -o backup-2025.key\n${changeKey}`);
      expect(readFileSync(join(home.root, 'BACKUP_KEY'), 'utf8').match(/AGE-SECRET-KEY-1/g)?.length).toBe(2);

      const [encrypted, plain, data] = [
        join(directory, name),
        join(home.root, name),
        join(home.root, 'data'),
      ];
      const placed = decrypt
        .replace(/^encrypted=.*$/m, `encrypted='${encrypted}'`)
        .replace(/^backup=.*$/m, `backup='${plain}'`);
      await paste(`${placed}\ntar --list --file "$backup/base.tar.zst" PG_VERSION`);
      mkdirSync(data);
      await paste(`encrypted='${encrypted}'\ndata='${data}'\n${unpack}`);
      expect(globSync('{PG_VERSION,backup_label}', {cwd: data}).length).toBe(2);
      await paste(`cd '${plain}'\n${encrypt.replace('age1…', publicKey)}`);
      expect(globSync('base.tar.zst*', {cwd: plain})).toEqual(['base.tar.zst.age']);
    });
  });
});
