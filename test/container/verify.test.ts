import {cpSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {describeWithEngine, docker} from '../support/container.js';
import {corruptions} from '../support/corruptions.js';
import {repack, theOnly} from '../support/hand-made.js';
import {changeManifest} from '../support/manifest.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {createService, images, type Service} from '../support/service.js';
import {backUpService, fillShop} from '../support/service-steps.js';
import {backupDirectory} from '../support/steps.js';
import {makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

const verifyInputs = {mode: 'verify', storage: 'directory', 'backup-name': 'nightly'};
const forky = images['18-forky'];

/** What pg_verifybackup 18, the first that reads archives, says of a backup: whether it is sound, and why not. */
async function verdictOfPostgres(directory: string): Promise<string> {
  // Without WAL, which it cannot read in an archive.
  const command = ['--entrypoint=pg_verifybackup', forky.image, '--no-parse-wal', '/backup'];
  const run = ['run', '--rm', '--network=none', '--user=root', `--volume=${directory}:/backup:ro`];
  return docker([...run, ...command]).then(
    () => 'sound',
    (error: unknown) => String(error),
  );
}

describeWithEngine('verify, without PostgreSQL on the runner,', () => {
  describe('and PostgreSQL 18 say the same of a backup in tar format', () => {
    let home: Workspace;
    let source: Service;

    beforeAll(async () => {
      [home, source] = [makeWorkspace(), await createService(forky)];
      await source.exec(['install', '-d', '-o', 'postgres', '/var/lib/postgresql/fast']);
      await source.sql("create tablespace fast location '/var/lib/postgresql/fast'");
      await source.sql('create table far (x) tablespace fast as select generate_series(1, 1000)');
      await backUpService(source, home, {compress: 'none'});
      // What a hand-made backup is: nothing but the archives tells of the damage.
      rmSync(join(home.directory, 'backups', 'nightly.json'));
      return async () => {
        await source.remove();
        await home.remove();
      };
    });

    function copy(): {own: Workspace; directory: string} {
      const own = workspace();
      mkdirSync(join(own.directory, 'backups'));
      cpSync(backupDirectory(home), backupDirectory(own), {recursive: true});
      return {own, directory: backupDirectory(own)};
    }

    test('that is sound', async () => {
      const {own, directory} = copy();
      const {outputs} = succeeded(await runAction(verifyInputs, {workspace: own}));
      expect(outputs.proof).toBe('manifest-verified');
      expect(outputs['system-identifier']).toBe(
        await source.sql('select system_identifier from pg_control_system()'),
      );
      expect(await verdictOfPostgres(directory)).toBe('sound');
    });

    // tar refuses to make an empty archive.
    test.for(corruptions.filter(({damage}) => damage !== 'missing_tablespace'))(
      'that is damaged: $damage',
      async ({damage, spoil, names, passesInTar}) => {
        const {own, directory} = copy();
        const isTablespace = damage.includes('tablespace');
        const archive = isTablespace ? theOnly(directory, /^\d+\.tar$/) : join(directory, 'base.tar');
        await repack(archive, (root) => spoil(root, root));
        expect(failure(await runAction(verifyInputs, {workspace: own}))).toMatch(names);
        const verdict = await verdictOfPostgres(directory);
        if (passesInTar) expect(verdict).toBe('sound');
        else expect(verdict).toContain('pg_verifybackup: error: ');
      },
    );

    test('that lacks a tablespace', async () => {
      const {own, directory} = copy();
      rmSync(theOnly(directory, /^\d+\.tar$/));
      expect(failure(await runAction(verifyInputs, {workspace: own}))).toMatch(/\d+\.tar: it is missing/);
      expect(await verdictOfPostgres(directory)).toContain('is present in the manifest but not on disk');
    });

    test('that has a file too many beside its archives', async () => {
      const {own, directory} = copy();
      writeFileSync(join(directory, 'backup.json'), '{}');
      const error = failure(await runAction(verifyInputs, {workspace: own}));
      expect(error).toContain('backup.json: it is there, but no backup in tar format holds it');
      expect(await verdictOfPostgres(directory)).toContain('"backup.json" is not expected');
    });

    test('whose manifest is of another cluster', async () => {
      const {own, directory} = copy();
      const path = join(directory, 'backup_manifest');
      const another = (text: string) => text.replace(/("System-Identifier": )\d+/, '$17711086285421180246');
      writeFileSync(path, changeManifest(readFileSync(path, 'utf8'), another));
      const error = failure(await runAction(verifyInputs, {workspace: own}));
      expect(error).toMatch(
        /global\/pg_control: the system identifier in it is \d+, but 7711086285421180246 in backup_manifest/,
      );
      expect(await verdictOfPostgres(directory)).toContain(
        'manifest system identifier is 7711086285421180246',
      );
    });
  });

  test.for([
    ['13-bullseye', {compress: 'client-gzip'}, {format: 'plain', 'wal-method': 'fetch'}],
    ['17-trixie', {compress: 'client-zstd'}, {compress: 'server-gzip', 'wal-method': 'fetch'}],
    ['18-forky', {format: 'plain'}, {compress: 'client-gzip', 'wal-method': 'none'}],
  ] as const)('finds backups of %s sound: %j, %j', async ([name, ...ways]) => {
    const source = await createService(images[name]);
    try {
      await fillShop(source);
      for (const how of ways) {
        const home = workspace();
        await backUpService(source, home, how);
        const {outputs} = succeeded(await runAction(verifyInputs, {workspace: home}));
        expect(outputs.proof).toBe('manifest-verified');
        const hasWal = !('wal-method' in how) || how['wal-method'] !== 'none';
        expect(outputs['wal-segments-verified'] !== '0').toBe(hasWal);
      }
    } finally {
      await source.remove();
    }
  });
});
