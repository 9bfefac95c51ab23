import {spawnSync} from 'node:child_process';
import {globSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {build} from 'esbuild';
import {splitLate} from './late-modules.ts';
import {mergeLicenses} from './licenses.ts';

/**
 * Makes dist/: index.js, the files that it loads when it needs them (`import()` in src), and the licenses of all that
 * is in them. Every start parses what it loads, and V8 keeps two bytes for each character of a file that has one beyond
 * Latin-1; so blanks and comments go, and what is not ASCII is escaped.
 */
async function main(): Promise<void> {
  rmSync('dist', {recursive: true, force: true});
  // A name for each file: they would all be written to one otherwise, and the last would win.
  const args = ['build', 'src/main.ts', '--out', 'dist', '--license', '[id].licenses.txt'];
  const {status} = spawnSync('ncc', args, {stdio: 'inherit'});
  if (status !== 0) throw new Error(`ncc ended with status ${status}.`);
  joinLicenses();
  const {bundle, late} = splitLate(readFileSync('dist/index.js', 'utf8'), latePackages);
  writeFileSync('dist/index.js', bundle);
  writeFileSync('dist/late.cjs', late);
  await build({...smaller, format: 'esm', entryPoints: globSync('dist/*.js'), outdir: 'dist'});
  await build({...smaller, format: 'cjs', entryPoints: ['dist/late.cjs'], outfile: 'dist/late.cjs'});
}

const smaller = {
  allowOverwrite: true,
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none',
  charset: 'ascii',
  platform: 'node',
  target: 'node24',
} as const;

/**
 * By what only their main module has in it. @actions/core has a client of HTTP, and with it all of undici, for tokens of
 * OpenID Connect: together with age half of what a start would have to read and run.
 */
const latePackages = {'@actions/http-client': 'class HttpClient {', 'age-encryption': 'class Decrypter {'};

function joinLicenses(): void {
  const files = globSync('dist/*.licenses.txt').sort();
  const {packages} = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lockfile;
  const licenses = Object.entries(packages).map(([path, {license = ''}]) => ({
    name: path.split('node_modules/').at(-1) ?? '',
    license,
  }));
  const texts = files.map((file) => readFileSync(file, 'utf8'));
  writeFileSync('dist/licenses.txt', mergeLicenses(texts, licenses));
  for (const file of files) rmSync(file);
}

/** What is read of package-lock.json: a package for each path below node_modules. */
interface Lockfile {
  readonly packages: Readonly<Record<string, {readonly license?: string}>>;
}

await main();
