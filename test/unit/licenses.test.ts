import {expect, test} from 'vitest';
import {mergeLicenses} from '../../script/licenses.ts';

const known = [
  {name: 'one', license: 'MIT'},
  {name: '@scope/two', license: 'Apache-2.0'},
  {name: 'three', license: 'ISC'},
];

test('each package is in the one text once, with its own license', () => {
  const first = 'one\nMIT\nAs you like.\n\nWith two parts.\n\n@scope/two\nApache-2.0\nSee there.\n';
  const second = '@scope/two\nApache-2.0\nSee there.\n\nthree\nISC\n';
  expect(mergeLicenses([first, second], known)).toBe(
    '@scope/two\nApache-2.0\nSee there.\n\none\nMIT\nAs you like.\n\nWith two parts.\n\nthree\nISC\n',
  );
});

test('two versions of a package with different texts are both there', () => {
  const merged = mergeLicenses(['one\nMIT\n(c) 2001\n', 'one\nMIT\n(c) 2002\n'], known);
  expect(merged).toBe('one\nMIT\n(c) 2001\n\none\nMIT\n(c) 2002\n');
});

test('lines of a license that look like a package, and are none, are text', () => {
  const text = 'one\nMIT\nfour\nMIT\n';
  expect(mergeLicenses([text], known)).toBe(text);
});

test('a text of something else is refused', () => {
  expect(() => mergeLicenses(['<html>\n'], known)).toThrow('no package that is known: <html>');
});
