import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, quoteName} from '../support/cluster.js';
import {runAction, succeeded} from '../support/runner.js';
import {backUp, type Inputs, restore} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** What would be a picture's, a table's, and a page's own text. */
const oddName = 'a"b]#<i>|; `c`';

describeWithPostgres('a report', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await source.tablespace('fast disk');
    await source.pgbench('shop', 2, ['--tablespace=fast disk']);
    await source.sql(`create database ${quoteName(oddName)}`);
    return () => source.remove();
  });

  test('tells the verdict, where the time went, what is in the backup, and how it was before', async () => {
    const home = workspace();
    const first = await backUp(source, home, {'backup-name': 'nightly-1'});
    expect(first.summary).toContain(
      '| 🟡 Stored whole | nothing yet: only mode: restore proves it | new | not known yet |',
    );
    expect(first.summary).not.toContain('Last backups');
    // Readable without a picture, and in the log.
    expect(first.summary).toMatch(/^Preflight [\d.]+ s → pg&#95;basebackup [\d.]+ s/m);
    expect(first.stdout).toMatch(/^pg_basebackup took \d+\.\d s$/m);

    const restored = await restore(home, {'backup-name': 'nightly-1', report: 'true'});
    expect(restored.summary).toMatch(
      /\| 🟢 Yes: it restores \| recovered \(rung 5 of 7\) \| \d+ s \| [\d.]+ s \|/,
    );
    expect(restored.summary).toMatch(/gantt[\s\S]*Start and recover/);
    expect(restored.summary).toMatch(/\| `shop` \| [\d.]+ MB \| [\d.]+ % \|/);

    // Slow enough for a curve.
    const second = await backUp(source, home, {
      'backup-name': 'nightly-2',
      'max-rate': '12M',
      report: 'true',
    });
    expect(second.summary).toMatch(/about [\d.]+ s, as of `nightly-1`/);
    expect(second.summary).toMatch(/line \[[\d., ]+\]/);
    expect(second.summary).toMatch(/[▁▂▃▄▅▆▇█]{2,} [\d.]+ to [\d.]+ MB\/s/);
    expect(second.summary).toMatch(
      /\| `nightly-1` \| [^|]+ \| [^|]+ \| [\d.]+ s \| [\d.]+ s \| recovered \|/,
    );
    expect(second.summary).toMatch(/\| `nightly-2` \| [^|]+ \| [^|]+ \| [\d.]+ s \| {2}\| not yet \|/);
    expect(second.summary).toContain('"a#34;b#93;#35;#60;i#62;#124;#59; #96;c#96;, ');

    const report = JSON.parse(readFileSync(second.outputs['report-json'] ?? '', 'utf8'));
    expect(report).toMatchObject({schemaVersion: 1, mode: 'backup', outputs: {'backup-name': 'nightly-2'}});
    expect(report.phases.map(({name}: {name: string}) => name)).toEqual(
      expect.arrayContaining(['Preflight', 'pg_basebackup', 'Read back', 'Store']),
    );
    expect(report.sizes[0].items.map(({label}: {label: string}) => label)).toContain(oddName);
    expect(report.history).toMatchObject([{name: 'nightly-1', proof: 'recovered'}, {name: 'nightly-2'}]);
    expect(readFileSync(second.outputs['report-html'] ?? '', 'utf8')).toContain(
      '<h1>✅ Backup <code>nightly-2',
    );
    for (const name of ['nightly-2.backup', 'nightly-1.restore'])
      for (const end of ['html', 'json'])
        expect(existsSync(beside(home, `${name}.report.${end}`))).toBe(true);

    // A backup takes its reports along; the one that is proven stays. Nobody takes a report for a backup.
    const third = await backUp(source, home, {'backup-name': 'nightly-3', ...keepOne});
    expect(third.outputs['pruned-backups']).toBe('nightly-2');
    expect(existsSync(beside(home, 'nightly-1.restore.report.json'))).toBe(true);
    expect(existsSync(beside(home, 'nightly-2.backup.report.html'))).toBe(false);
    expect(third.warnings).toEqual([]);
  });

  test('names no database of an encrypted backup, and is none the worse for a neighbour that nobody can read', async () => {
    const home = workspace();
    const passphrase = {passphrase: 'correct horse battery staple'};
    // A neighbour that nobody can read spoils the trend alone.
    mkdirSync(beside(home, 'other'), {recursive: true});
    writeFileSync(beside(home, 'other.json'), '{');
    const backup = await backUp(source, home, passphrase);
    const verified = succeeded(
      await runAction(
        {mode: 'verify', storage: 'directory', 'backup-name': 'nightly', report: 'true', ...passphrase},
        {workspace: home},
      ),
    );
    for (const {summary, outputs} of [backup, verified]) {
      const report = outputs['report-html'] === undefined ? '' : readFileSync(outputs['report-html'], 'utf8');
      expect(summary + report).not.toMatch(/shop|fast disk/);
    }
    expect([...backup.warnings, ...verified.warnings]).toEqual([]);
  });
});

const keepOne: Inputs = {'keep-last': '1', 'keep-names': 'nightly-*'};

const beside = ({directory}: Workspace, file: string) => join(directory, 'backups', file);
