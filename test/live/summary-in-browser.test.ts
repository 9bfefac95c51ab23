import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {type Browser, chromium} from 'playwright-core';
import {beforeAll, expect, test} from 'vitest';
import {browserArguments, browserPath, describeWithBrowser} from '../support/browser.js';
import {cluster, describeWithPostgres} from '../support/cluster.js';
import {type ActionResult, failure, runAction} from '../support/runner.js';
import {backUp, backupDirectory, restore, restoreInputs} from '../support/steps.js';
import {keepPicture, openSummary} from '../support/summary-page.js';
import {flipByte, workspace} from '../support/workspace.js';

describeWithPostgres('a summary', () => {
  describeWithBrowser('in a browser', () => {
    let browser: Browser;

    beforeAll(async () => {
      browser = await chromium.launch({executablePath: browserPath ?? '', args: browserArguments});
      return () => browser.close();
    });

    /** Looks at a whole summary: it is as wide as GitHub shows it, and says these things to the reader. */
    async function look(
      name: string,
      {summary, workspace: home}: ActionResult,
      said: readonly string[],
    ): Promise<void> {
      // A reader shall not wonder about the directories of a test; a runner's have these names.
      const shown = summary
        .replaceAll(home.directory, '/home/runner/work/shop/shop')
        .replaceAll(home.temp, '/home/runner/work/_temp');
      const page = await openSummary(browser, shown);
      try {
        for (const text of said) expect(await page.getByText(text).first().isVisible()).toBe(true);
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(1000);
        await keepPicture(name, page, page.locator('body'));
        // What is seen of it without scrolling.
        await keepPicture(`${name}-top`, page);
      } finally {
        await page.close();
      }
    }

    test('says that a backup restores', async () => {
      const source = await cluster({initdbArgs: ['--data-checksums']});
      await source.pgbench('shop', 5);
      const home = workspace();
      for (const further of ['archive_2024', 'archive_2025', undefined]) {
        await backUp(source, home, {'backup-name': 'nightly-%Y%m%d-%H%M%S'});
        if (further) await source.pgbench(further);
      }
      const restored = await restore(home, {
        'backup-name': 'latest',
        checks: 'manifest\ndump\nchecksums\namcheck',
        'check-database': 'shop',
        'check-sql': 'select count(*) = 500000 from pgbench_accounts',
      });
      await look('summary-good', restored, ['Yes: it restores', 'Start and recover']);
    });

    test('warns of what a backup was taken from', async () => {
      const source = await cluster();
      await source.pgbench('shop', 5);
      await source.sql('create unlogged table sessions (id int)', 'shop');
      await source.sql("select pg_create_physical_replication_slot('old_standby', true)");
      const stored = await backUp(source, workspace(), {'backup-name': 'nightly-%Y%m%d-%H%M%S'});
      expect(stored.warnings.length).toBeGreaterThan(0);
      await look('summary-warned', stored, ['Stored whole', 'old_standby']);
    });

    test('says why a restore failed, and what to do', async () => {
      const source = await cluster();
      await source.pgbench('shop', 5);
      const home = workspace();
      await backUp(source, home);
      const directory = backupDirectory(home);
      const archive = readdirSync(directory).find((name) => name.startsWith('base.tar')) ?? '';
      flipByte(join(directory, archive), 1_000_000);
      const failed = await runAction(restoreInputs(), {workspace: home});
      expect(failure(failed)).toContain(archive);
      await look('summary-failed', failed, [
        'is not proven: its restore failed',
        '🔴 No: damaged',
        'latest-verified passes over this backup',
        'What to do',
      ]);
    });
  });
});
