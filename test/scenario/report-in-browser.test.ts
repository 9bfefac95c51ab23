import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {type Browser, chromium, type Page} from 'playwright-core';
import {beforeAll, expect, test} from 'vitest';
import {htmlOf} from '../../src/report/html.js';
import {markdownOf} from '../../src/report/markdown.js';
import {browserArguments, browserPath, describeWithBrowser} from '../support/browser.js';
import {nightly, oddName} from '../support/report-content.js';
import {addMermaid, drawing, keepPicture} from '../support/summary-page.js';
import {workspace} from '../support/workspace.js';

describeWithBrowser('a report in a browser', () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await chromium.launch({executablePath: browserPath ?? '', args: browserArguments});
    return () => browser.close();
  });

  const pictures = [...markdownOf(nightly).matchAll(/^```mermaid\n([\s\S]*?)\n```$/gm)].map(
    ([, text = '']) => text,
  );
  const names = ['timeline', 'throughput', 'databases', 'tablespaces', 'sizes', 'times', 'restores'];

  test('has a picture of every kind', () => {
    expect(pictures.map((text) => text.replace(/^%%.*\n/, '').split('\n')[0])).toEqual(
      ['gantt', 'xychart-beta', 'pie title Databases', 'pie title Tablespaces'].concat(
        Array(3).fill('xychart-beta'),
      ),
    );
  });

  test('is understood by Mermaid, with every name as it is', async () => {
    const page = await browser.newPage({viewport: {width: 900, height: 500}});
    try {
      await page.setContent('<body style="margin:8px;background:white"><div id="picture"></div></body>');
      await addMermaid(page);
      for (const [index, name] of names.entries()) {
        const text = await draw(page, pictures[index] ?? '');
        for (const shown of shownBy[name] ?? []) expect(text).toContain(shown);
        await keepPicture(name, page, page.locator('#picture svg'));
      }
      await expect(draw(page, 'pie title\n "')).rejects.toThrow('Parsing failed');
    } finally {
      await page.close();
    }
  });

  test.for([
    {device: 'phone', width: 390, colorScheme: 'light', background: 'rgb(255, 255, 255)'},
    {device: 'phone at night', width: 390, colorScheme: 'dark', background: 'rgb(13, 17, 23)'},
    {device: 'desk', width: 1200, colorScheme: 'light', background: 'rgb(255, 255, 255)'},
  ] as const)('is a page of its own on a $device', async ({device, width, colorScheme, background}) => {
    const file = join(workspace().directory, 'report.html');
    writeFileSync(file, htmlOf(nightly));
    const page = await browser.newPage({viewport: {width, height: 844}, colorScheme});
    try {
      const complaints: string[] = [];
      const asked: string[] = [];
      page.on('console', (message) => complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('request', (request) => asked.push(request.url()));
      await page.goto(pathToFileURL(file).href);
      expect(await page.title()).toBe('✅ Backup nightly-20261122 is stored');
      expect(complaints).toEqual([]);
      expect(asked).toEqual([pathToFileURL(file).href]);
      // What a user named is text, and nothing else.
      expect(await page.getByText(oddName, {exact: true}).first().isVisible()).toBe(true);
      expect(await page.locator('i').count()).toBe(0);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
      expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(background);
      // Every bar has a length, and the verdict is what is seen first.
      const bars = await page.locator('.bar').evaluateAll((all) => all.map(({clientWidth}) => clientWidth));
      expect(bars.every((length) => length > 0)).toBe(true);
      expect(await page.getByText('🟡 Stored whole').isVisible()).toBe(true);
      await keepPicture(`page-${device.replaceAll(' ', '-')}`, page);
    } finally {
      await page.close();
    }
  });
});

const shownBy: Readonly<Record<string, readonly string[]>> = {
  timeline: ['Preflight 1.2 s', 'pg_basebackup 1 min 58 s', 'End of the WAL 4.0 s'],
  throughput: ['Throughput', 'MB/s'],
  databases: ['shop, 9.00 GB', `${oddName}, 1.00 GB`, '6 others'],
  tablespaces: ['pg_default, 9.00 GB', 'fast disk, 4.00 GB'],
  sizes: ['Size of the last backups', 'GB', '11-22'],
  times: ['How long they took', 'Seconds'],
  restores: ['How long their restores took', 'Seconds'],
};

/** Draws a picture, and returns the text in it as it is seen. Throws where Mermaid does not understand it. */
async function draw(page: Page, source: string): Promise<string> {
  const svg = await drawing(page, source);
  const picture = page.locator('#picture');
  return picture.evaluate((place: {innerHTML: string; textContent: string}, drawn) => {
    place.innerHTML = drawn;
    return place.textContent;
  }, svg);
}
