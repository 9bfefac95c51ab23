import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {Marked} from 'marked';
import type {Browser, Locator, Page} from 'playwright-core';
import {smallPng} from './small-png.js';

/** What of Mermaid is used (mermaid.js.org, "Usage"). */
interface Mermaid {
  initialize(options: {readonly startOnLoad: boolean; readonly securityLevel: 'strict'}): void;
  render(id: string, text: string): Promise<{readonly svg: string}>;
}

const mermaid = join(
  dirname(createRequire(import.meta.url).resolve('mermaid/package.json')),
  'dist/mermaid.min.js',
);

/** Lets a page draw Mermaid's pictures. */
export async function addMermaid(page: Page): Promise<void> {
  await page.addScriptTag({path: mermaid});
}

/** A picture as SVG. Throws where Mermaid does not understand it. */
export function drawing(page: Page, source: string, id = 'drawn'): Promise<string> {
  return page.evaluate(
    async ([text, name]) => {
      const {mermaid: library} = globalThis as unknown as {mermaid: Mermaid};
      library.initialize({startOnLoad: false, securityLevel: 'strict'});
      // Mermaid throws what cannot be handed over.
      return library.render(name, text).then(
        ({svg: drawn}) => drawn,
        (error: unknown) => {
          throw new Error(String(error));
        },
      );
    },
    [source, id] as const,
  );
}

/** Opens a job summary much as GitHub shows it by day: its Markdown with tables, alerts and drawn pictures. */
export async function openSummary(browser: Browser, summary: string): Promise<Page> {
  const page = await browser.newPage({viewport: {width: 1000, height: 600}, colorScheme: 'light'});
  // An SVG's own style is left to it.
  await page.setContent(`<!doctype html><meta charset="utf-8"><style>${style}</style>${html(summary)}`);
  await addMermaid(page);
  const places = page.locator('pre.mermaid');
  for (const [index, place] of (await places.all()).entries()) {
    const svg = await drawing(page, (await place.textContent()) ?? '', `drawn-${index}`);
    await place.evaluate((element: {innerHTML: string}, drawn) => {
      element.innerHTML = drawn;
    }, svg);
  }
  return page;
}

const alerts: Readonly<Record<string, string>> = {
  NOTE: 'Note',
  TIP: 'Tip',
  IMPORTANT: 'Important',
  WARNING: 'Warning',
  CAUTION: 'Caution',
};

/** GitHub's Markdown has two things that others lack: pictures in fenced code, and alerts in quotes. */
function html(summary: string): string {
  const marked = new Marked({gfm: true});
  marked.use({
    renderer: {
      code: ({text, lang}) => (lang === 'mermaid' ? `<pre class="mermaid">${escaped(text)}</pre>` : false),
      blockquote({tokens}) {
        const body = this.parser.parse(tokens);
        const kind = /\[!([A-Z]+)\]/.exec(body)?.[1] ?? '';
        const title = alerts[kind];
        if (title === undefined) return false;
        const rest = body.replace(/\[![A-Z]+\]\s*/, '');
        return `<div class="alert ${kind.toLowerCase()}"><p class="title">${title}</p>${rest}</div>`;
      },
    },
  });
  return `<main>${marked.parse(summary, {async: false})}</main>`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** GitHub's look, as far as a summary shows it. */
const style = `
body { margin: 0; padding: 16px; background: #fff; color: #1f2328;
  font: 16px/1.5 "Liberation Sans", "DejaVu Sans", Arial, "Noto Color Emoji", sans-serif; }
main { border: 1px solid #d1d9e0; border-radius: 6px; padding: 24px; }
main > :first-child { margin-top: 0; } main > :last-child { margin-bottom: 0; }
h3 { font-size: 20px; margin: 24px 0 16px; }
p, table, pre, .alert, details { margin: 0 0 16px; }
table { display: block; width: max-content; max-width: 100%; overflow: auto; border-collapse: collapse; }
th, td { border: 1px solid #d1d9e0; padding: 6px 13px; text-align: left; }
tr:nth-child(2n) td { background: #f6f8fa; }
code { font: 85% "DejaVu Sans Mono", monospace; background: #818b981f; border-radius: 6px; padding: .2em .4em; }
pre { background: #f6f8fa; border-radius: 6px; padding: 16px; overflow: auto; font-size: 85%; line-height: 1.45; }
pre code { background: none; padding: 0; font-size: 100%; }
pre.mermaid { background: #fff; padding: 0; text-align: center; }
pre.mermaid svg { max-width: 100%; }
.alert { border-left: 4px solid #d1d9e0; padding: 8px 16px; }
.alert p { margin: 0; } .alert .title { font-weight: 600; margin-bottom: 8px; }
.note { border-color: #0969da; } .note .title { color: #0969da; }
.warning { border-color: #9a6700; } .warning .title { color: #9a6700; }
.caution { border-color: #cf222e; } .caution .title { color: #d1242f; }
`;

const root = join(import.meta.dirname, '../..');
const pages = ['README.md', 'docs/reports.md'];

/** Set, tests take the pictures that the documentation shows: `npm run pictures`. */
const {PICTURES} = process.env;

/** Keeps what a page shows as `report-<name>.png` when pictures are taken, and the documentation has one of that name. */
export async function keepPicture(name: string, page: Page, part: Page | Locator = page): Promise<void> {
  const file = `report-${name}.png`;
  const isShown = pages.some((path) => readFileSync(join(root, path), 'utf8').includes(`images/${file}`));
  if (PICTURES === undefined || !isShown) return;
  mkdirSync(PICTURES, {recursive: true});
  writeFileSync(join(PICTURES, file), await smallPng(page, await part.screenshot()));
}
