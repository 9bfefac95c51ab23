import {globSync, readFileSync} from 'node:fs';
import {basename, dirname, join, normalize} from 'node:path';
import {expect, test} from 'vitest';

/** From the ground up: a part may import from itself and from the parts before it. */
const parts = [
  'errors',
  'log',
  'host',
  'postgres',
  'backup-set',
  'store',
  'backup',
  'restore',
  'inputs',
  'report',
  'main',
];

/** The files that may import a package: everybody else goes through what they export. */
const doors: Record<string, RegExp> = {
  '@actions/core': /^src\/(log\.ts|main\.ts|report\/)/,
  '@actions/artifact': /^src\/store\/artifact/,
  '@actions/github': /^src\/store\/artifact/,
  pg: /^src\/postgres\/session\.ts$/,
  'node:child_process': /^src\/host\/local\.ts$/,
};

const root = join(import.meta.dirname, '../..');
const sources = read('src/**/*.ts');
const everything = [...sources, ...read('{test,script,bench}/**/*.ts')];

interface Source {
  readonly path: string;
  readonly text: string;
  /** The text without its comments. */
  readonly code: string;
}

function read(pattern: string): Source[] {
  return globSync(pattern, {cwd: root})
    .sort()
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      return {path, text, code: text.replaceAll(/\/\*\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')};
    });
}

/** What a file imports or re-exports, as written. */
function importsOf({code}: Source): string[] {
  return [...code.matchAll(/\b(?:from|import)\s+'([^']+)'/g)].map(([, specifier = '']) => specifier);
}

/** `src/store/store.ts` is of `store`, `src/log.ts` of `log`. */
function partOf(path: string): string {
  return basename(path.split('/')[1] ?? '', '.ts');
}

test('there are sources to look at', () => {
  expect(sources.map(({path}) => path)).toContain('src/main.ts');
});

test('every file belongs to a part of the design', () => {
  expect(sources.map(({path}) => path).filter((path) => !parts.includes(partOf(path)))).toEqual([]);
});

test('a part imports only from itself and from the parts below it', () => {
  const wrong = sources.flatMap((source) => {
    const own = partOf(source.path);
    return importsOf(source)
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => partOf(normalize(join(dirname(source.path), specifier.replace(/\.js$/, '.ts')))))
      .filter(
        (other) => parts.indexOf(other) > parts.indexOf(own) || (own === 'restore' && other === 'backup'),
      )
      .map((other) => `${source.path} imports from ${other}`);
  });
  expect(wrong).toEqual([]);
});

test.for(Object.entries(doors))('%s has one door', ([name, door]) => {
  const users = sources.filter((source) => importsOf(source).includes(name)).map(({path}) => path);
  expect(users.filter((path) => !door.test(path))).toEqual([]);
  expect(users).not.toEqual([]);
});

test('only main ends the process or fails the step', () => {
  const wrong = sources.filter(
    ({path, code}) => path !== 'src/main.ts' && /\bprocess\.exit\b|\bsetFailed\b/.test(code),
  );
  expect(wrong.map(({path}) => path)).toEqual([]);
});

test('nothing is imported at run time, which would split dist into several files', () => {
  expect(sources.filter(({code}) => /\bimport\s*\(/.test(code)).map(({path}) => path)).toEqual([]);
});

test('no module is replaced in a test', () => {
  expect(everything.filter(({code}) => /\bvi\s*\.\s*(do)?mock\b/i.test(code)).map(({path}) => path)).toEqual(
    [],
  );
});

test('names say what is inside', () => {
  const empty = /(^|[/.-])(utils?|helpers?|common|managers?|types)([/.-]|$)/i;
  expect(everything.map(({path}) => path).filter((path) => empty.test(path))).toEqual([]);
});

test('no file is longer than 280 lines', () => {
  const long = sources.filter(({text}) => text.trimEnd().split('\n').length > 280);
  expect(long.map(({path}) => path)).toEqual([]);
});

test('every export of src has a doc comment', () => {
  const bare = sources.flatMap(({path, text}) => {
    const lines = text.split('\n');
    return lines
      .map((line, index) => ({line, before: lines[index - 1]?.trim() ?? ''}))
      .filter(({line}) => /^export (?!\{|type \{|\*)/.test(line))
      .filter(({before}) => !before.endsWith('*/'))
      .map(({line}) => `${path}: ${line}`);
  });
  expect(bare).toEqual([]);
});
