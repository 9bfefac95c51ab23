import {spawnSync} from 'node:child_process';
import {globSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {build} from 'esbuild';
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
  writeFileSync('dist/index.js', loadingLate(readFileSync('dist/index.js', 'utf8')));
  await build({
    entryPoints: globSync('dist/*.js'),
    outdir: 'dist',
    allowOverwrite: true,
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    charset: 'ascii',
    format: 'esm',
    platform: 'node',
    target: 'node24',
  });
}

/**
 * Packages that files need at their top and few steps use, each by what only its main module has in it. They are half of
 * what a start has to run: @actions/core has a client of HTTP (with all of undici) for tokens of OpenID Connect.
 */
const latePackages = {'@actions/http-client': 'class HttpClient {', 'age-encryption': 'class Decrypter {'};

/** The bundle, with the modules of those packages run by whoever first takes something of them. */
function loadingLate(bundle: string): string {
  const [, ...modules] = bundle.split(/^\/\*{3}\/ (\d+):$/m);
  let text = bundle;
  for (const [name, sign] of Object.entries(latePackages)) {
    const ids = modules.filter((_, index) => index % 2 === 0 && modules[index + 1]?.includes(sign));
    const [id, ...others] = ids;
    const late = text.replaceAll(
      new RegExp(`^(.*\\bvar \\w+) = (__nccwpck_require__\\(${id}\\));$`, 'gm'),
      '$1 = loadedLate(() => $2);',
    );
    if (others.length > 0 || late === text)
      throw new Error(`${name} is not where it was in the bundle: ${ids}`);
    text = late;
  }
  return `${text}\nfunction loadedLate(load) { return new Proxy({}, {get: (_, name) => load()[name]}); }\n`;
}

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
