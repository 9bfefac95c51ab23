import {globSync, readdirSync, readFileSync} from 'node:fs';
import {basename, dirname, join, normalize} from 'node:path';
import {expect, test} from 'vitest';

/** From the ground up: a part may import from itself and from the parts before it. */
const parts = [
  'errors',
  'journal',
  'log',
  'finding',
  'host',
  'postgres',
  'backup-set',
  'provenance',
  'store',
  'backup',
  'restore',
  'verify',
  'prepare',
  'inputs',
  'storage',
  'report',
  'main',
];

/** They tell of different steps, and take nothing from each other. */
const stories = ['backup', 'restore', 'verify', 'prepare'];

/** The files that may import a package: everybody else goes through what they export. */
const doors: Record<string, RegExp> = {
  '@actions/core': /^src\/(log\.ts|main\.ts|report\/)/,
  '@actions/attest': /^src\/provenance\/attest\.ts$/,
  '@actions/artifact': /^src\/store\/artifact/,
  '@actions/cache': /^src\/(postgres\/package-cache|store\/artifact-facts)\.ts$/,
  '@actions/github': /^src\/store\/artifact/,
  '@aws-sdk/client-s3': /^src\/store\/s3/,
  '@mongodb-js/saslprep': /^src\/postgres\/password\.ts$/,
  'age-encryption': /^src\/backup-set\/encryption\//,
  'hash-wasm': /^src\/backup-set\/checksum\.ts$/,
  pg: /^src\/postgres\/session\.ts$/,
  'node:child_process': /^src\/host\/process\.ts$/,
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
  return [...code.matchAll(/\b(?:(?:from|import)\s+|import\((?:\/\*[^*]*\*\/ )?)'([^']+)'/g)].map(
    ([, specifier = '']) => specifier,
  );
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
        (other) =>
          parts.indexOf(other) > parts.indexOf(own) ||
          (stories.includes(own) && stories.includes(other) && own !== other),
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

/** What is loaded as soon as a file is: itself, and all that it imports other than for its types or at run time. */
function loadedWith(path: string, loaded = new Set<string>()): ReadonlySet<string> {
  if (loaded.has(path)) return loaded;
  loaded.add(path);
  const source = sources.find((one) => one.path === path);
  const code = source?.code.replaceAll(/\b(import|export) type\s[^;]*;/g, '') ?? '';
  for (const [, name = ''] of code.matchAll(/\bfrom '([^']+)'/g))
    loadedWith(name.startsWith('.') ? join(dirname(path), name).replace(/\.js$/, '.ts') : name, loaded);
  return loaded;
}

test('a start loads no client of a storage or of GitHub: each would take longer than all the rest', () => {
  const late = ['@actions/artifact', '@actions/attest', '@actions/cache', '@actions/github'];
  const loaded = loadedWith('src/main.ts');
  expect(loaded).toContain('@actions/core');
  expect(
    [...late, '@aws-sdk/client-s3', '@mongodb-js/saslprep', 'hash-wasm'].filter((name) => loaded.has(name)),
  ).toEqual([]);
});

test('dist is what build makes: all of it ASCII, with a thread that needs nothing else', () => {
  const files = readdirSync(join(root, 'dist')).sort();
  // webpack numbers the files that are loaded when they are needed, by what is in them; ncc names the thread of
  // src/backup/valve-thread.ts by its content, and leaves it as it is.
  const kinds = files.map((name) =>
    name.replace(/^[0-9a-f]{20}\.ts$/, 'thread.ts').replace(/^\d+\.index\.js$/, 'late.js'),
  );
  expect([...new Set(kinds)].sort()).toEqual([
    'index.js',
    // What script/late-modules.ts takes out of index.js.
    'late.cjs',
    'late.js',
    'licenses.txt',
    'package.json',
    'thread.ts',
  ]);
  expect(kinds.filter((kind) => kind === 'thread.ts')).toHaveLength(1);
  const isAscii = (name: string) => readFileSync(join(root, 'dist', name)).every((byte) => byte < 0x80);
  expect(files.filter((name) => /\.c?js$/.test(name) && !isAscii(name))).toEqual([]);
  const thread = files.find((name) => name.endsWith('.ts')) ?? '';
  const code = readFileSync(join(root, 'dist', thread), 'utf8');
  const imported = [...code.matchAll(/\bfrom '([^']+)'/g)].map(([, from]) => from);
  expect(imported).toEqual(['node:fs', 'node:path', 'node:worker_threads']);
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
