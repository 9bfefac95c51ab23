import {execFileSync} from 'node:child_process';
import {existsSync, globSync, readFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import {expect, test} from 'vitest';

const root = join(import.meta.dirname, '../..');
const pages = globSync('{*.md,docs/**/*.md}', {cwd: root}).sort();
const read = (page: string) => readFileSync(join(root, page), 'utf8');

/** A fenced block, without the indentation of the list that it stands in. */
interface Block {
  readonly source: string;
  readonly language: string;
  readonly text: string;
}

const fenced = /^( *)```([^\n]*)\n(.*?)^\1```$/gms;
const blocks: readonly Block[] = pages.flatMap((page) =>
  [...read(page).matchAll(fenced)].map(([, indent = '', language = '', text = ''], index) => ({
    source: `${page}, block ${index + 1}`,
    language,
    text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  })),
);
const blocksIn = (language: string) => blocks.filter((block) => block.language === language);

/** What a reader follows: a block may hold brackets that are no link. */
const proseOf = (page: string) =>
  read(page)
    .replaceAll(fenced, '')
    .replaceAll(/`[^`\n]*`/g, 'code');

/** The names that GitHub gives the headings of a page, and those that it gives itself. */
function anchorsOf(page: string): readonly string[] {
  const text = read(page).replaceAll(fenced, '');
  const slugs = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  );
  const repeated = slugs.map((slug, index) => {
    const before = slugs.slice(0, index).filter((one) => one === slug).length;
    return before === 0 ? slug : `${slug}-${before}`;
  });
  return [...repeated, ...[...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id)];
}

interface Link {
  readonly page: string;
  /** Relative to the root; the page itself for a link within it. */
  readonly file: string;
  readonly anchor: string;
}

const links: readonly Link[] = pages.flatMap((page) =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = '', anchor = ''] = target.split('#');
      const file = path === '' ? page : relative(root, join(root, dirname(page), path));
      return {page, file, anchor};
    }),
);

test('there are pages, links and blocks to look at', () => {
  expect(pages).toEqual(expect.arrayContaining(['README.md', 'docs/architecture.md']));
  expect(links.length).toBeGreaterThan(100);
  for (const language of ['bash', 'json', 'sql', 'yaml']) expect(blocksIn(language)).not.toEqual([]);
});

test('every page of docs is linked from README or another page of docs', () => {
  const linked = new Set(links.filter(({page, file}) => page !== file).map(({file}) => file));
  expect(pages.filter((page) => page.startsWith('docs/') && !linked.has(page))).toEqual([]);
});

test('every link leads to a file that is there', () => {
  const broken = links.filter(({file}) => !existsSync(join(root, file)));
  expect(broken.map(({page, file}) => `${page}: ${file}`)).toEqual([]);
});

test('every link leads to a heading that is there', () => {
  const broken = links.filter(
    ({file, anchor}) => anchor !== '' && file.endsWith('.md') && !anchorsOf(file).includes(anchor),
  );
  expect(broken.map(({page, file, anchor}) => `${page}: ${file}#${anchor}`)).toEqual([]);
});

test('every fence is closed, and says what is in it', () => {
  // workflows.test.ts runs what is in yaml through actionlint and the action's own parser, notifications.test.ts its
  // scripts; test/live/restore-by-hand.test.ts runs sql, ini, and the scripts that restore; test/container/
  // first-steps.test.ts README's first workflow. What nothing can check is text.
  const known = ['bash', 'ini', 'json', 'sql', 'text', 'yaml'];
  expect(blocks.filter(({language}) => !known.includes(language)).map(({source}) => source)).toEqual([]);
  const open = pages.filter((page) => /^ *```/m.test(read(page).replaceAll(fenced, '')));
  expect(open).toEqual([]);
});

test.for(blocksIn('bash'))('bash can read $source', ({text}) => {
  expect(execFileSync('bash', ['-n'], {input: text, encoding: 'utf8'})).toBe('');
});

test.for(blocksIn('json'))('$source is JSON', ({text}) => {
  expect(JSON.parse(text)).toBeTypeOf('object');
});
