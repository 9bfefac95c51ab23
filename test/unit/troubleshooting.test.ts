import {globSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from 'vitest';
import {rowsOf, sources, withCures} from '../../script/cures.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8');
const rows = rowsOf(page);

test('the page tells the cures that the code gives', () => {
  expect(withCures(page)).toBe(page);
});

test('a message that the code does not know is no row', () => {
  const head = '<!-- cures: connection -->\n\n| message | cause | cure |\n| --- | --- | --- |\n';
  expect(() => withCures(`${head}| \`all is well\` | nothing | |\n`)).toThrow('do not have one cure');
  expect(() => withCures(`${head}| \`timeout expired\`, \`certificate has expired\` | | |\n`)).toThrow();
});

describe.for(Object.entries(sources))('of %s', ([name, {known}]) => {
  const messages = rows.filter(({source}) => source === name).flatMap((row) => row.messages);

  test('every message that has a cure is on the page', () => {
    // As the code looks: what comes first is taken.
    const first = messages.map((message) => known.findIndex((pattern) => pattern.test(message)));
    expect(known.filter((_, index) => !first.includes(index)).map(String)).toEqual([]);
  });
});

test('what the page says that we say, we say', () => {
  const said = globSync('src/**/*.ts', {cwd: root})
    .map((path) => readFileSync(join(root, path), 'utf8'))
    .join('\n');
  const tables = [...page.matchAll(/<!-- words of our own -->\n\n\|.*\n\|.*\n((?:\|.*\n)+)/g)];
  const messages = tables.flatMap(([, body = '']) =>
    body.split('\n').flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)]),
  );
  const fragments = messages.flatMap(([, message = '']) => message.split('…'));
  expect(fragments.length).toBeGreaterThan(10);
  // `was ended by SIGKILL` is told of whatever signal it was.
  const isSaid = (fragment: string) => said.includes(fragment.replace(/ SIGKILL$/, ' ').trim());
  expect(fragments.filter((fragment) => !isSaid(fragment))).toEqual([]);
});
