import {createHash} from 'node:crypto';
import {cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, onTestFinished, test} from 'vitest';
import {ageKey} from '../support/age.js';
import {waitUntil} from '../support/command.js';
import {describeWithEngine, docker} from '../support/container.js';
import {changeManifest} from '../support/manifest.js';
import {startResultsService} from '../support/results-service.js';
import {type ActionResult, failure, runAction, succeeded} from '../support/runner.js';
import {createService, images, type Service, service} from '../support/service.js';
import {
  checksumOfRestored,
  checksumOfService,
  fillShop,
  prepareInputs,
  serviceBackupInputs,
  serviceRestoreInputs,
} from '../support/service-steps.js';
import type {Inputs} from '../support/steps.js';
import {makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

const names = ['full', 'one', 'two', 'three'] as const;

/** Recovers a server along its own WAL to a new timeline, as a restore to a point in time does. */
async function switchTimeline(of: Service): Promise<void> {
  await of.sql(`alter system set restore_command = 'false'`);
  await of.exec(['touch', `${of.of.dataDirectory}/recovery.signal`], {user: 'postgres'});
  await docker(['restart', of.id]);
  await of.ready();
  const timeline = () => of.sql('select timeline_id from pg_control_checkpoint()');
  await waitUntil(async () => (await timeline()) === '2', {seconds: 30, what: 'the new timeline'});
}

/** Changes some rows of old tables, and adds and removes others. */
async function live(of: Service, step: number): Promise<void> {
  await of.sql(
    `update orders set note = 'step ${step}' where id % 500 = ${step};
     create table step_${step} as select generate_series(1, 100) n;
     drop table if exists step_${step - 1}`,
    'shop',
  );
}

describeWithEngine('a chain of incremental backups', () => {
  describe.for([
    {of: images['17-trixie'], hasTablespace: true, plain: ''},
    // A plain backup with tablespaces takes a pg_basebackup on the runner.
    {of: images['18-forky'], hasTablespace: false, plain: 'two'},
  ])('of $of.name', ({of, hasTablespace, plain}) => {
    let home: Workspace;
    let source: Service;
    const results = new Map<string, ActionResult>();
    const sums = new Map<string, string>();

    const backUp = (name: string, more: Inputs = {}, at = home) =>
      runAction(
        serviceBackupInputs(source, {
          'backup-name': name,
          incremental: 'true',
          'full-every': '4',
          ...(name === plain && {format: 'plain'}),
          ...more,
        }),
        {workspace: at},
      );

    /** A workspace of its own with the four backups. */
    function copy(): {own: Workspace; backups: string} {
      const own = workspace();
      mkdirSync(join(own.directory, 'backups'));
      for (const name of names.flatMap((one) => [one, `${one}.json`]))
        cpSync(join(home.directory, 'backups', name), join(own.directory, 'backups', name), {
          recursive: true,
        });
      return {own, backups: join(own.directory, 'backups')};
    }

    const refused = async (own: Workspace, name = 'three') => {
      const wanted = {'backup-name': name, 'data-directory': '/var/lib/postgresql/refused'};
      const error = failure(await runAction(serviceRestoreInputs(source, wanted), {workspace: own}));
      expect(await source.files('/var/lib/postgresql/refused')).toEqual([]);
      const verify = {mode: 'verify', storage: 'directory', 'backup-name': name};
      return [error, failure(await runAction(verify, {workspace: own}))];
    };

    beforeAll(async () => {
      [home, source] = [
        makeWorkspace(),
        await createService(of, {command: ['postgres', '-c', 'summarize_wal=on']}),
      ];
      succeeded(await runAction(prepareInputs(source), {workspace: home}));
      await fillShop(source);
      if (hasTablespace) {
        await source.exec(['install', '-d', '-o', 'postgres', '/var/lib/postgresql/fast']);
        await source.sql("create tablespace fast location '/var/lib/postgresql/fast'");
        await source.sql('create table far tablespace fast as select generate_series(1, 1000) n', 'shop');
      }
      for (const [index, name] of names.entries()) {
        const step = index + 1;
        if (name === 'two') await switchTimeline(source);
        await live(source, step);
        if (hasTablespace) await source.sql(`insert into far values (-${step})`, 'shop');
        sums.set(name, await checksumOfService(source));
        // The newest one alone is to be kept, which needs all of them.
        results.set(
          name,
          succeeded(await backUp(name, name === 'three' ? {'keep-last': '1', 'keep-names': '*'} : {})),
        );
      }
      return async () => {
        await source.remove();
        await home.remove();
      };
    });

    test('begins with a full backup, which is told, and goes on with small ones that name their parent', () => {
      expect(results.get('full')?.warnings.join()).toContain(
        'Incremental: a full backup is taken instead of an incremental one: the storage has no backup of this system',
      );
      expect(results.get('full')?.outputs).not.toHaveProperty('parent-backup');
      for (const [index, name] of names.entries()) {
        if (name === 'full') continue;
        const {outputs, warnings, summary} = results.get(name) as ActionResult;
        expect(warnings.filter((text) => text.startsWith('Incremental'))).toEqual([]);
        expect(outputs['parent-backup']).toBe(names[index - 1]);
        expect(summary).toContain(`number ${index + 1} of a chain that begins with full`);
        expect(Number(outputs['size-bytes'])).toBeLessThan(
          Number(results.get('full')?.outputs['size-bytes']) * (name === plain ? 10 : 0.9),
        );
      }
      expect(results.get('one')?.outputs.timeline).toBe('1');
      expect(results.get('three')?.outputs.timeline).toBe('2');
      expect(results.get('three')?.outputs['pruned-backups']).toBe('');
      expect(
        readdirSync(join(home.directory, 'backups'))
          .filter((name) => names.some((one) => one === name))
          .sort(),
      ).toEqual([...names].sort());
    });

    test('is verified as a whole', async () => {
      const verify = {mode: 'verify', storage: 'directory', 'backup-name': 'latest'};
      const {outputs, summary, stdout} = succeeded(await runAction(verify, {workspace: home}));
      expect(outputs).toMatchObject({'backup-name': 'three', proof: 'manifest-verified', timeline: '2'});
      expect(stdout).toContain('full <- one <- two <- three');
      expect(summary).toContain('verified too');
    });

    test('becomes the cluster that it was taken of', async () => {
      const elsewhere = '/var/lib/postgresql/else where=here';
      const mapping = `/var/lib/postgresql/fast=${elsewhere.replace('=', '\\=')}`;
      const wanted = {
        'backup-name': 'three',
        'keep-running': 'true',
        checks: 'manifest\ndump',
        ...(hasTablespace && {'tablespace-mapping': mapping}),
      };
      const restored = succeeded(await runAction(serviceRestoreInputs(source, wanted), {workspace: home}));
      expect(restored.outputs.proof).toBe('read');
      expect(await checksumOfRestored(restored)).toBe(sums.get('three'));
      expect(await source.files('/var/lib/postgresql/restored_config/chain')).toEqual([]);
      expect((await source.files(elsewhere)).length > 0).toBe(hasTablespace);
    });

    // What is looked at is the same in every version.
    if (hasTablespace) {
      test('is refused, before anything is fetched, where a link is missing or is another backup', async () => {
        const {own, backups} = copy();
        rmSync(join(backups, 'one.json'));
        for (const error of await refused(own))
          expect(error).toMatch(
            /Backup two is incremental, and nothing without one, which it builds on: .*no metadata/,
          );
        rmSync(join(backups, 'one'), {recursive: true});
        for (const error of await refused(own))
          expect(error).toMatch(/nothing without one.*: There is no backup/);

        const metadata = readFileSync(join(backups, 'full.json'), 'utf8');
        cpSync(join(backups, 'full'), join(backups, 'one'), {recursive: true});
        writeFileSync(join(backups, 'one.json'), metadata.replace('"name": "full"', '"name": "one"'));
        for (const error of await refused(own)) expect(error).toContain('another backup has taken its name');
        writeFileSync(
          join(backups, 'one.json'),
          metadata.replace(/("systemIdentifier": ")\d+/, '$17711086285421180246'),
        );
        for (const error of await refused(own))
          expect(error).toContain('it is of another system: its system identifier is 7711086285421180246');
      });

      test('is refused, before anything is started, where a member is damaged', async () => {
        const {own, backups} = copy();
        const path = join(backups, 'one', 'backup_manifest');
        const foreign = (text: string) => text.replace(/("System-Identifier": )\d+/, '$17711086285421180246');
        const original = readFileSync(path, 'utf8');
        const other = changeManifest(original, foreign);
        writeFileSync(path, other);
        for (const error of await refused(own))
          expect(error).toMatch(/Backup one of the chain: .*backup_manifest/s);
        // It is the member's, and what builds on it has no fault of its own.
        expect(readFileSync(join(backups, 'one.proof.json'), 'utf8')).toContain('"damage"');
        expect(existsSync(join(backups, 'two.proof.json'))).toBe(false);

        // Somebody has made all of it fit.
        const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
        for (const name of ['one.json', 'two.json']) {
          const text = readFileSync(join(backups, name), 'utf8');
          writeFileSync(join(backups, name), text.replace(sha256(original), sha256(other)));
        }
        const [restoring, verifying] = await refused(own);
        expect(restoring).toMatch(/Backup one of the chain: .*system identifier/s);
        expect(verifying).toMatch(/Backup one of the chain: .*7711086285421180246 in backup_manifest/s);
      });
    }

    test('ends where it cannot go on: with a full backup and the reason', async () => {
      const reason = async (name: string, more?: Inputs, own = home) => {
        const {warnings, outputs} = succeeded(await backUp(name, more, own));
        expect(outputs).not.toHaveProperty('parent-backup');
        return warnings.filter((text) => text.startsWith('Incremental: a full backup is taken')).join();
      };
      expect(await reason('due', {'dry-run': 'true'})).toContain('it is due by full-every: the chain has 4');
      const long = {'full-every': '30d'};
      const {own, backups} = copy();
      expect(succeeded(await backUp('next', {...long, 'dry-run': 'true'}, own)).summary).toContain(
        'number 5',
      );
      writeFileSync(join(backups, 'three', 'backup_manifest'), '{}', {flag: 'a'});
      expect(await reason('damaged', {...long, 'dry-run': 'true'}, own)).toContain('backup_manifest: it has');
      rmSync(join(backups, 'full.json'));
      expect(await reason('broken', {...long, 'dry-run': 'true'}, own)).toContain('nothing without full');

      // Nobody but the server sees a gap behind the oldest summary.
      const start = results.get('three')?.outputs['start-lsn'] ?? '';
      await source.sql('select pg_switch_wal(); checkpoint');
      const later = `select count(*) > 0 from pg_available_wal_summaries() where start_lsn >= '${start}'`;
      await waitUntil(async () => (await source.sql(later)) === 't', {seconds: 30, what: 'a WAL summary'});
      const remove = 'cd "$1" && ls | sort | tail -n +2 | xargs rm';
      await source.exec(['sh', '-c', remove, 'sh', `${of.dataDirectory}/pg_wal/summaries`]);
      expect(await reason('gap', long)).toMatch(/WAL summaries are required on timeline 2/);
      expect(succeeded(await backUp('after', {...long, 'dry-run': 'true'})).summary).toContain(
        'begins with gap',
      );
    });
  });

  test.for(['key', 'passphrase'])('of encrypted backups is made and restored with a %s', async (kind) => {
    const source = await service(images['17-trixie'], {command: ['postgres', '-c', 'summarize_wal=on']});
    const home = workspace();
    const {recipient, identity} = await ageKey(home.temp, 'office');
    const [locks, opens]: Inputs[] =
      kind === 'key'
        ? [{'encrypt-to': recipient}, {'decrypt-with': identity}]
        : [{passphrase: 'korrekt pferd batterie'}, {passphrase: 'korrekt pferd batterie'}];
    succeeded(await runAction(prepareInputs(source), {workspace: home}));
    await fillShop(source);
    const take = async (name: string, more?: Inputs) => {
      const inputs = serviceBackupInputs(source, {
        'backup-name': name,
        incremental: 'true',
        ...locks,
        ...more,
      });
      return succeeded(await runAction(inputs, {workspace: home}));
    };
    await take('full', opens);
    await live(source, 1);
    expect((await take('one', opens)).outputs['parent-backup']).toBe('full');
    expect(readdirSync(join(home.directory, 'backups', 'one'))).toContain('backup_manifest.age');
    // A passphrase takes seconds for each file: one link is as good as two.
    const last = kind === 'key' ? 'two' : 'one';
    if (kind === 'key') {
      await live(source, 2);
      expect((await take('two', opens)).outputs['parent-backup']).toBe('one');
    }
    const before = await checksumOfService(source);

    const named = {'backup-name': last, ...opens};
    const restored = await runAction(serviceRestoreInputs(source, {...named, 'keep-running': 'true'}), {
      workspace: home,
    });
    expect(await checksumOfRestored(succeeded(restored))).toBe(before);
    succeeded(await runAction({mode: 'verify', storage: 'directory', ...named}, {workspace: home}));
    if (kind === 'passphrase') return;
    // Without the key the server cannot be told what has been backed up.
    const full = await take('three');
    expect(full.outputs).not.toHaveProperty('parent-backup');
    expect(full.warnings.join()).toMatch(/two, .* is encrypted[\s\S]*Set decrypt-with/);
  });

  test('of artifacts is found across the runs that it was made by, and not without one of them', async () => {
    const artifacts = await startResultsService();
    onTestFinished(() => artifacts.stop());
    const source = await service(images['17-trixie'], {command: ['postgres', '-c', 'summarize_wal=on']});
    const home = workspace();
    succeeded(await runAction(prepareInputs(source), {workspace: home}));
    await fillShop(source);
    const inRun = (runId: number, inputs: Inputs, at: Workspace) => {
      const env = artifacts.envOf({owner: 'octo-org', repository: 'octo-repo', runId});
      return runAction(
        {...inputs, storage: 'artifact', 'github-token': artifacts.token},
        {workspace: at, env},
      );
    };
    const takeIn = async (runId: number, more: Inputs = {}) =>
      succeeded(
        await inRun(
          runId,
          serviceBackupInputs(source, {'backup-name': `night-${runId}`, incremental: 'true', ...more}),
          workspace(),
        ),
      );
    await takeIn(1);
    await live(source, 1);
    expect((await takeIn(2, {format: 'plain'})).outputs['parent-backup']).toBe('night-1');
    await live(source, 2);
    expect((await takeIn(3)).outputs['parent-backup']).toBe('night-2');
    const before = await checksumOfService(source);

    const restore = serviceRestoreInputs(source, {
      'backup-name': 'latest',
      'run-id': 'latest',
      'keep-running': 'true',
    });
    const restored = succeeded(await inRun(4, restore, home));
    expect(restored.outputs['backup-name']).toBe('night-3');
    expect(await checksumOfRestored(restored)).toBe(before);
    artifacts.expire('night-1.json');
    const error = failure(
      await inRun(5, {...restore, 'data-directory': '/var/lib/postgresql/refused'}, home),
    );
    expect(error).toMatch(/night-2 is incremental, and nothing without night-1.*No backup named night-1/);
  });
});
