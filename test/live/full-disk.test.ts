import {copyFileSync, existsSync, mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {ageKey, pathWithoutAge} from '../support/age.js';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {canMount, disk} from '../support/disk.js';
import {processesOf} from '../support/processes.js';
import {type ResultsService, startResultsService} from '../support/results-service.js';
import {failure, runAction, startAction, succeeded} from '../support/runner.js';
import {backupInputs, restoreInputs} from '../support/steps.js';
import {listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

if (!canMount && process.env.CI !== undefined) throw new Error('Small disks cannot be mounted: sudo asks.');

// About as much as initdb makes (22 MB), and as much again that does not become smaller.
const noise = `create table noise as
  select string_agg(md5(random()::text), '') from generate_series(1, 700000) n group by n % 70000`;

describe.runIf(canMount)('a disk', () => {
  describeWithPostgres('of a runner', () => {
    let source: Cluster;
    let service: ResultsService;
    /** Holds a backup, to be restored; the artifact service has it, too. */
    let stored: Workspace;

    beforeAll(async () => {
      [source, service] = await Promise.all([createCluster({password: 'right'}), startResultsService()]);
      await source.sql(noise);
      stored = makeWorkspace();
      const both = backupInputs(source, {password: 'right', storage: 'artifact'});
      succeeded(await runAction(both, {workspace: stored, env: service.env}));
      return () => Promise.all([source.remove(), service.stop(), stored.remove()]);
    });

    const inputs = (more = {}) => backupInputs(source, {password: 'right', compress: 'none', ...more});

    async function expectNothingLeft(home: Workspace): Promise<void> {
      expect(listAll(home.temp).filter((path) => path !== 'filler')).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
      const left = `select 'slot' from pg_replication_slots union all
                    select 'sender' from pg_stat_activity where backend_type = 'walsender'`;
      await expect.poll(() => source.sql(left), {timeout: 30_000}).toBe('');
    }

    test.each(['tar', 'plain'])(
      'that is full half-way of a %s backup fails it, with what to do, and no part stays',
      async (format) => {
        const home = workspace();
        const small = disk(join(home.directory, 'backups'), 80);
        const action = startAction(inputs({format, 'max-rate': '16M'}), {workspace: home});
        await action.until(
          () => existsSync(join(small.directory, 'nightly.partial', format === 'tar' ? 'base.tar' : 'base')),
          'files are copied',
        );
        small.fill(12e6);
        const message = failure(await action.result);
        expect(message).toMatch(/No space left on device[\s\S]*Free space on the runner/);
        expect(listAll(small.directory)).toEqual(['filler']);
        await expectNothingLeft(home);
      },
    );

    test.each(['the program age', 'Node.js'])(
      'that is full while %s encrypts fails the backup, and no part stays',
      async (by) => {
        const home = workspace();
        const small = disk(join(home.directory, 'backups'), 160);
        const env = by === 'Node.js' ? {PATH: pathWithoutAge(join(home.root, 'programs'))} : {};
        const {recipient} = await ageKey(home.root, 'nightly');
        const asked = inputs({'encrypt-to': recipient, 'max-rate': '16M'});
        const action = startAction(asked, {workspace: home, env});
        const archive = join(small.directory, 'nightly.partial', 'base.tar');
        await action.until(() => existsSync(archive), 'files are copied');
        // Room for the backup, and not for its largest file once more.
        small.fill(80e6);
        const result = await action.result;
        expect(result.stdout).toContain('::group::Encrypt');
        expect(failure(result)).toMatch(
          /disk of .* is full: while a file is encrypted it is there twice[\s\S]*larger disk/,
        );
        expect(listAll(small.directory)).toEqual(['filler']);
        await expectNothingLeft(home);
      },
    );

    test('that has no room for what a step writes for itself (RUNNER_TEMP) is told as that', async () => {
      const home = workspace();
      const small = disk(home.temp, 1);
      small.fill(0);
      const message = failure(await runAction(inputs(), {workspace: home}));
      expect(message).toMatch(/no space left on device[\s\S]*Free space there/);
      expect(message).toContain(home.temp);
      expect(existsSync(join(home.directory, 'backups'))).toBe(false);
      await expectNothingLeft(home);
    });

    test('that has no room for the artifact client (TMPDIR) is none of its business', async () => {
      const home = workspace();
      const small = disk(join(home.root, 'tmp'), 1);
      small.fill(0);
      const env = {
        ...service.envOf({owner: 'octo-org', repository: 'full', runId: 1}),
        TMPDIR: small.directory,
      };
      const asked = {storage: 'artifact', 'backup-name': 'small'};
      succeeded(await runAction(inputs(asked), {workspace: home, env}));
      expect(succeeded(await runAction(restoreInputs(asked), {workspace: home, env})).outputs.proof).toBe(
        'recovered',
      );
      expect(listAll(small.directory)).toEqual(['filler']);
    });

    test('that is full half-way of a restore fails it, and no part of the data directory stays', async () => {
      const home = workspace();
      // Neither metadata nor manifest tell how much is needed, so that it is begun.
      const bare = join(home.directory, 'bare', 'nightly');
      mkdirSync(bare, {recursive: true});
      for (const name of ['base.tar.zst', 'pg_wal.tar'])
        copyFileSync(join(stored.directory, 'backups', 'nightly', name), join(bare, name));
      const small = disk(join(home.root, 'small'), 40);
      small.fill(30e6);
      const asked = restoreInputs({
        directory: join(home.directory, 'bare'),
        'data-directory': join(small.directory, 'data'),
        checks: 'dump',
      });
      const restored = await runAction(asked, {workspace: home});
      expect(restored.stdout).toContain('::group::Extract');
      const message = failure(restored);
      expect(message).toMatch(/[Nn]o space left|disk is full/);
      expect(message).toMatch(/Free space|larger disk/);
      expect(listAll(small.directory)).toEqual(['filler']);
      expect(processesOf(home.root)).toEqual([]);
      expect(listAll(home.temp)).toEqual([]);
    });

    test('that has no room for what is fetched fails the restore, and nothing of it stays', async () => {
      const home = workspace();
      const small = disk(home.temp, 8);
      const asked = restoreInputs({storage: 'artifact', 'data-directory': join(home.root, 'data')});
      const before = failure(await runAction(asked, {workspace: home, env: service.env}));
      expect(before).toMatch(
        /files of the backup need \d+ MB while they are read, but \S+, where they arrive, has 9 MB free[\s\S]*Free space/,
      );
      const larger = disk(home.temp, 80);
      service.setFault({at: 'download', kind: 'slow', artifact: 'nightly.base.tar.zst'});
      const action = startAction(asked, {workspace: home, env: service.env});
      await action.until(
        () => listAll(larger.directory).some((path) => /piece-.*base\.tar/.test(path)),
        'the largest file is on its way',
      );
      larger.fill(4e6);
      expect(failure(await action.result)).toMatch(/no room is left in \S+[\s\S]*Free space/);
      for (const {directory} of [small, larger])
        expect(listAll(directory).filter((path) => path !== 'filler')).toEqual([]);
      expect(existsSync(join(home.root, 'data'))).toBe(false);
      expect(processesOf(home.root)).toEqual([]);
    });

    test('that is mounted read-only is told before anything is copied', async () => {
      const home = workspace();
      const readOnly = disk(join(home.root, 'read-only'), 120);
      mkdirSync(join(readOnly.directory, 'work'));
      writeFileSync(join(readOnly.directory, 'work', 'mine'), '');
      readOnly.makeReadOnly();
      const on = {...home, directory: join(readOnly.directory, 'work')};
      const backup = await runAction(inputs(), {workspace: on});
      expect(failure(backup)).toMatch(/backups cannot be written[\s\S]*Set directory to a path/);
      expect(backup.stdout).not.toContain('initiating base backup');
      const asked = restoreInputs({
        directory: join(stored.directory, 'backups'),
        'data-directory': join(on.directory, 'data'),
      });
      const restored = failure(await runAction(asked, {workspace: on}));
      expect(restored).toMatch(/data_config cannot be made: EROFS[\s\S]*Set directory or data-directory/);
      expect(listAll(on.directory)).toEqual(['mine']);
      await expectNothingLeft(home);
    });
  });
});
