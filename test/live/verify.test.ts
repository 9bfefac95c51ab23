import {mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {
  type Cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  standbyOf,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {takeByHand} from '../support/hand-made.js';
import {startResultsService} from '../support/results-service.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {backUp, backupDirectory} from '../support/steps.js';
import {fingerprint, listAll, type Workspace, workspace} from '../support/workspace.js';

const verifyInputs = {mode: 'verify', storage: 'directory', 'backup-name': 'nightly'};

describeWithPostgres('a sound backup is verified', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster({initdbArgs: ['--wal-segsize=1']});
    await source.tablespace('fast disk');
    await source.sql('create table far (x) tablespace "fast disk" as select generate_series(1, 20000)');
    // WAL of more than one segment, and so records that go on from one into the next.
    await source.sql('create table near as select md5(n::text) from generate_series(1, 20000) n');
    return () => source.remove();
  });

  /** Runs the action on a workspace's backup; throws unless it succeeds and leaves all but the proof as it was. */
  async function verified(home: Workspace, env: Record<string, string> = {}): Promise<ActionResult> {
    const withoutProof = () =>
      fingerprint(home.directory).filter((line) => !/^backups(\/nightly\.proof\.json)? /.test(line));
    const before = withoutProof();
    const result = succeeded(await runAction(verifyInputs, {workspace: home, env}));
    expect(withoutProof()).toEqual(before);
    expect(listAll(home.temp)).toEqual([]);
    expect(result.outputs.proof).toBe('manifest-verified');
    return result;
  }

  const placeOf = (tablespace: string) =>
    source.sql(`select pg_tablespace_location(oid) from pg_tablespace where spcname = '${tablespace}'`);

  function byHand(): {home: Workspace; directory: string} {
    const home = workspace();
    const directory = backupDirectory(home);
    mkdirSync(join(directory, '..'));
    return {home, directory};
  }

  test.for([
    ['none', 'stream', 'crc32c'],
    ['client-gzip', 'stream', 'sha224'],
    ['client-lz4', 'stream', 'sha256'],
    ['client-zstd', 'fetch', 'sha384'],
    ['server-gzip', 'fetch', 'sha512'],
    ['server-lz4', 'stream', 'none'],
    ['server-zstd', 'stream', 'crc32c'],
  ] as const)('in tar format: %s, WAL by %s, checksums by %s', async ([compress, walMethod, checksums]) => {
    const home = workspace();
    await backUp(source, home, {compress, 'wal-method': walMethod, 'manifest-checksums': checksums});
    const {outputs, summary, warnings} = await verified(home);
    expect(warnings).toEqual([]);
    expect(Number(outputs['files-verified'])).toBe(filesOf(join(backupDirectory(home), 'backup_manifest')));
    expect(Number(outputs['wal-segments-verified'])).toBeGreaterThan(0);
    expect(outputs['system-identifier']).toBe(
      await source.sql('select system_identifier from pg_control_system()'),
    );
    for (const output of ['timeline', 'server-version', 'verify-seconds', 'backup-age-seconds'])
      expect(outputs[output]).toBeTruthy();
    expect(summary).toMatch(/✅ \| transferred/);
    expect(summary).toMatch(/✅ \| manifest-verified/);
    expect(summary).toMatch(/➖ \| started/);
  });

  test('in plain format, with tablespaces', async () => {
    const home = workspace();
    await backUp(source, home, {format: 'plain'});
    const {outputs} = await verified(home);
    expect(Number(outputs['files-verified'])).toBe(filesOf(join(backupDirectory(home), 'backup_manifest')));
  });

  test('in plain format, with its WAL elsewhere (--waldir), but not with a link to what is no WAL', async () => {
    const {home, directory} = byHand();
    const wal = join(home.directory, 'wal');
    const mapping = `${await placeOf('fast disk')}=${join(home.directory, 'mapped')}`;
    await takeByHand(source, directory, ['-Fp', `--waldir=${wal}`, `--tablespace-mapping=${mapping}`]);
    const {outputs} = await verified(home);
    expect(Number(outputs['wal-segments-verified'])).toBeGreaterThan(0);
    writeFileSync(join(wal, 'shadow'), '');
    const result = await runAction(verifyInputs, {workspace: home});
    expect(failure(result)).toMatch(/pg_wal: it leads to .*\/wal, where "shadow" lies: no WAL/);
  });

  test('by names and sizes only, without checksums and metadata, and that is no proof', async () => {
    const {home, directory} = byHand();
    await takeByHand(source, directory, ['-Ft', '--manifest-checksums=NONE']);
    const {outputs, warnings, summary, stdout} = succeeded(await runAction(verifyInputs, {workspace: home}));
    expect(warnings).toEqual([
      expect.stringMatching(/Names and sizes only: backup_manifest has no checksum/),
    ]);
    expect(outputs.proof).toBeUndefined();
    expect(summary).toMatch(/➖ \| manifest-verified/);
    expect(stdout).toContain('proven: names and sizes only');
  });

  test('without WAL, and says so', async () => {
    const home = workspace();
    await backUp(source, home, {'wal-method': 'none'});
    const {warnings, outputs} = await verified(home);
    expect(warnings.join('\n')).toMatch(/holds no WAL \(wal-method: none\)/);
    expect(outputs['wal-segments-verified']).toBe('0');
  });

  test.for(['client-gzip', 'client-zstd'])('where no program decompresses %s', async (compress) => {
    const home = workspace();
    await backUp(source, home, {compress});
    await verified(home, {PATH: home.temp});
  });

  test('not where lz4 has no program, and says what to install', async () => {
    const home = workspace();
    await backUp(source, home, {compress: 'client-lz4'});
    const result = await runAction(verifyInputs, {workspace: home, env: {PATH: home.temp}});
    expect(failure(result)).toContain('apt-get install --yes lz4');
  });

  test.for(['client-gzip', 'none'])(
    'with the manifest inside of base.tar, compress: %s',
    async (compress) => {
      const single = await createCluster();
      const {home, directory} = byHand();
      try {
        const {host, port, user} = single.connection;
        const args = `--pgdata=- --format=tar --wal-method=fetch --checkpoint=fast --compress=${compress}`;
        const command = `${postgresProgram('pg_basebackup')} ${args} -h ${host} -p ${port} -U ${user}`;
        mkdirSync(directory);
        await run('sh', ['-c', `${command} > ${directory}/base.tar`]);
      } finally {
        await single.remove();
      }
      const {outputs} = await verified(home);
      // Segments of 16 MB, in base.tar.
      expect(outputs['wal-segments-verified']).toBe('1');
    },
  );

  test('on a second timeline', async () => {
    const standby = await standbyOf(source);
    await standby.sql('select pg_promote()');
    await standby.sql('create table later as select generate_series(1, 1000); checkpoint');
    const {home, directory} = byHand();
    await takeByHand(standby, directory, ['--format=tar', '--gzip']);
    const {outputs, summary} = await verified(home);
    expect(outputs.timeline).toBe('2');
    // Made by hand: nothing was recorded that the archives could be compared with.
    expect(summary).toMatch(/➖ \| transferred/);
  });

  test('of a standby', async () => {
    const standby = await standbyOf(source);
    const {home, directory} = byHand();
    await takeByHand(standby, directory);
    await verified(home);
  });

  test('from artifacts, which leave nothing behind', async () => {
    const service = await startResultsService();
    const home = workspace();
    try {
      const {env} = service;
      const inputs = {mode: 'backup', format: 'plain', 'backup-name': 'nightly', ...source.inputs};
      succeeded(await runAction(inputs, {workspace: home, env}));
      rmSync(join(home.directory, 'backups'), {recursive: true});
      const {outputs, summary} = succeeded(
        await runAction({mode: 'verify', 'backup-name': 'nightly'}, {workspace: home, env}),
      );
      expect(outputs.proof).toBe('manifest-verified');
      expect(summary).toMatch(/✅ \| transferred/);
      expect(listAll(home.directory).filter((path) => path.startsWith('backups'))).toEqual([]);
      expect(listAll(home.temp)).toEqual([]);
    } finally {
      await service.stop();
    }
  });

  test('only up to its name and age in a dry run', async () => {
    const home = workspace();
    await backUp(source, home);
    rmSync(join(backupDirectory(home), 'base.tar.zst'));
    const {summary, outputs} = succeeded(
      await runAction({...verifyInputs, 'dry-run': 'true', 'max-backup-age': '1h'}, {workspace: home}),
    );
    expect(summary).toMatch(/Verification plan/);
    expect(outputs).toEqual({'backup-name': 'nightly'});
  });

  describe('but refused', () => {
    test('when it is too old', async () => {
      const home = workspace();
      await backUp(source, home);
      const metadata = join(home.directory, 'backups', 'nightly.json');
      const text = readFileSync(metadata, 'utf8');
      writeFileSync(metadata, text.replace(/("finishedAt": ")\d{4}/, '$12020'));
      const result = await runAction({...verifyInputs, 'max-backup-age': '26h'}, {workspace: home});
      expect(failure(result)).toMatch(/max-backup-age allows 26\.0 hours/);
    });

    test('when it is asked for in a container', async () => {
      const result = await runAction({...verifyInputs, container: 'postgres'});
      expect(failure(result)).toMatch(/container: mode: verify reads the files of a backup on the runner/);
    });
  });

  function filesOf(manifest: string): number {
    const {Files: files} = JSON.parse(readFileSync(manifest, 'utf8')) as {Files: {Path: string}[]};
    return files.filter(({Path: path}) => !/^(postgresql\.auto\.conf$|pg_wal\/)/.test(path)).length;
  }

  test('(the source has WAL of more than one segment)', () => {
    expect(readdirSync(join(source.dataDirectory, 'pg_wal')).length).toBeGreaterThan(3);
  });
});
