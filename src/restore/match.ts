import type {Metadata} from '../backup-set/metadata.js';
import {UserError} from '../errors.js';
import type {Finding} from '../finding.js';
import {CommandError, type Host} from '../host/host.js';
import type {ServiceContainer} from '../host/service.js';
import {quoteIdentifier} from '../postgres/failures.js';
import {type Programs, pathOf} from '../postgres/programs.js';
import {majorOf} from '../postgres/version.js';
import type {RestoreRequest} from './request.js';

/** What a backup is compared with. */
export interface Place {
  readonly host: Host;
  readonly programs: Programs;
  readonly request: RestoreRequest;
  /** The service whose data are replaced by a restore in place. */
  readonly replaced?: ServiceContainer;
}

/**
 * Compares what the metadata say of the source with what the host has, before anything is copied: errors are a locale
 * or a library that the server cannot do without, warnings a C library that sorts differently, and a library that the
 * service does not load.
 */
export async function judgeMatch(metadata: Metadata, place: Place): Promise<readonly Finding[]> {
  const {request, replaced} = place;
  const libraries = request.isolate
    ? replaced && (await judgePreloads(metadata, place, replaced))
    : await judgeLibraries(metadata, place);
  const findings = [await judgeLocales(metadata, place), await judgeSorting(metadata, place), libraries];
  return findings.filter((finding) => finding !== undefined);
}

/** A database whose locale is missing lets nobody in: "database locale is incompatible with operating system". */
async function judgeLocales({collations}: Metadata, {host}: Place): Promise<Finding | undefined> {
  const known = await outputOf(host, 'locale', ['-a']);
  // musl has no such program, and takes any name for C.
  if (known === undefined) return undefined;
  const there = new Set(known.split('\n').map(normalised));
  for (const {database, collate, ctype = collate} of collations ?? []) {
    const missing = [collate, ctype].find((name) => !isC(name) && !there.has(normalised(name)));
    if (missing === undefined) continue;
    return {
      level: 'error',
      subject: 'Locale',
      observed: `Database ${JSON.stringify(database)} has the locale ${missing}, which ${host.name} lacks: the restored server would let nobody into it.`,
      cure: `Add it in an earlier step, or in the image (Debian's package locales has the sources): ${host.adviseAsRoot(localedef(missing))}`,
    };
  }
  return undefined;
}

/** `de_DE.UTF-8@euro` is made of the source `de_DE@euro` and the character set `UTF-8`. */
function localedef(locale: string): string {
  const [, place = '', codeset = 'UTF-8', modifier = ''] =
    /^([^.@]*)(?:\.([^@]*))?(@.*)?$/.exec(locale) ?? [];
  return `localedef -i ${place}${modifier} -f ${codeset} ${locale}`;
}

const isC = (name: string) => ['', 'C', 'POSIX'].includes(name);

/** glibc lists `de_DE.utf8` and takes `de_DE.UTF-8` for the same. */
function normalised(name: string): string {
  const [, place = '', codeset = '', rest = ''] = /^([^.@]*)(?:\.([^@]*))?(.*)$/.exec(name.trim()) ?? [];
  return `${place}.${codeset.toLowerCase().replaceAll(/[^a-z0-9]/g, '')}${rest}`;
}

/** The Debian release by its glibc: the suffix of the official images' tags. */
const releases: Readonly<Record<string, string>> = {'2.31': 'bullseye', '2.36': 'bookworm', '2.41': 'trixie'};

/** Indexes on text are in the order of the C library that they were built with; another finds rows missing. */
async function judgeSorting(metadata: Metadata, place: Place): Promise<Finding | undefined> {
  const {host} = place;
  const {collations, libcVersion} = metadata;
  const here = /glibc (\S+)/.exec((await outputOf(host, 'getconf', ['GNU_LIBC_VERSION'])) ?? '')?.[1];
  if (here === undefined || libcVersion === null) return judgeOtherLibrary(metadata, place, here);
  const isOther = (version: string | null) =>
    version !== null && /^2\.\d+$/.test(version) && version !== here;
  const databases = (collations ?? []).filter(
    ({collate, version}) => !isC(collate) && isOther(version ?? libcVersion),
  );
  const [first] = databases;
  if (first === undefined) return undefined;
  const source = first.version ?? libcVersion ?? '';
  const image = releases[source] && `postgres:${majorOf(metadata.serverVersionNumber)}-${releases[source]}`;
  const names = databases.map(({database}) => JSON.stringify(database)).join(', ');
  const cure = reindexing(first.database, majorOf(metadata.serverVersionNumber));
  return {
    level: 'warning',
    subject: 'Collation',
    observed: `Text in ${names} was sorted by glibc ${source}, and ${host.name} has glibc ${here}: indexes on text may miss rows.`,
    cure: `${image ? `An image that fits is ${image}. ` : ''}To use the restored data, run in each, as here in the first: ${cure}`,
  };
}

/** Alpine's C library has no version to compare, and sorts unlike all others (musl sorts every text by bytes). */
async function judgeOtherLibrary(
  {collations, libcVersion, serverVersionNumber}: Metadata,
  {host}: Place,
  here: string | undefined,
): Promise<Finding | undefined> {
  const isMusl = (await host.list('/lib')).some((name) => name.startsWith('ld-musl-'));
  const sorted = (collations ?? []).filter(
    ({collate, version}) => !isSortedByBytes(collate) && !isIcu(version),
  );
  const [first] = sorted;
  if (first === undefined || isMusl === (libcVersion === null) || (!isMusl && here === undefined))
    return undefined;
  const names = sorted.map(({database}) => JSON.stringify(database)).join(', ');
  const major = majorOf(serverVersionNumber);
  const source = isMusl ? `glibc ${libcVersion}` : 'a C library that tells no version, such as Alpine’s';
  return {
    level: 'warning',
    subject: 'Collation',
    observed: `Text in ${names} was sorted by ${source}, and ${host.name} has ${isMusl ? 'Alpine’s (musl)' : `glibc ${here}`}: indexes on text may miss rows.`,
    cure: `Use an image of the source's kind; or run in each, as here in the first: ${reindexing(first.database, major)}`,
  };
}

const isSortedByBytes = (name: string) => isC(name) || /^C\.utf-?8$/i.test(name);

/** ICU's versions look like `153.14`, glibc's like `2.36`. */
const isIcu = (version: string | null) => version !== null && !/^2\.\d+$/.test(version);

/** What puts the indexes of a database right; their version is recorded from 15 on. */
export function reindexing(database: string, major: number): string {
  const name = quoteIdentifier(database);
  const record = major >= 15 ? ` ALTER DATABASE ${name} REFRESH COLLATION VERSION;` : '';
  return `REINDEX DATABASE ${name};${record}`;
}

/** Without isolation the server loads what the source did, and does not start when a library is missing. */
async function judgeLibraries(
  {preloadLibraries}: Metadata,
  {host, programs}: Place,
): Promise<Finding | undefined> {
  const missing = await missingLibraries(host, programs, preloadLibraries ?? []);
  if (missing.length === 0) return undefined;
  return {
    level: 'error',
    subject: 'Libraries',
    observed: `The source preloads ${missing.join(', ')} (shared_preload_libraries), which ${host.name} lacks: the server would not start.`,
    cure: `Use ${imageWith(missing, programs.major)}, or isolate: true, which preloads nothing.`,
  };
}

/** In place, the service goes on with its own configuration, which may lack what the source preloads. */
async function judgePreloads(
  {preloadLibraries}: Metadata,
  {host, programs, request}: Place,
  {dataDirectory}: ServiceContainer,
): Promise<Finding | undefined> {
  const wanted = preloadLibraries ?? [];
  if (wanted.length === 0 || request.postgresqlConf.some((line) => line.includes('shared_preload_libraries')))
    return undefined;
  const args = ['-C', 'shared_preload_libraries', '-D', dataDirectory];
  const configured = (await outputOf(host, pathOf(programs, 'postgres'), args)) ?? '';
  const given = (await host.readText(`${dataDirectory}/postmaster.opts`)) ?? '';
  const preloaded = new Set(`${configured},${given}`.split(/[^\w$/.-]+/));
  const missing = wanted.filter((library) => !preloaded.has(library));
  if (missing.length === 0) return undefined;
  const absent = await missingLibraries(host, programs, missing);
  return {
    level: 'warning',
    subject: 'Libraries',
    observed: `The source preloads ${missing.join(', ')}, and the service does not: what needs that fails in the restored data.`,
    cure: `${absent.length > 0 ? `Use ${imageWith(absent, programs.major)}, and set` : 'Set'} postgresql-conf: shared_preload_libraries = '${wanted.join(', ')}'`,
  };
}

/** Those libraries of a list that a host does not have; `$libdir/` and `.so` may be left out. */
export async function missingLibraries(
  host: Host,
  programs: Programs,
  libraries: readonly string[],
): Promise<readonly string[]> {
  if (libraries.length === 0) return [];
  const directory = (await outputOf(host, pathOf(programs, 'pg_config'), ['--pkglibdir']))?.trim();
  if (directory === undefined) return [];
  const there = new Set(await host.list(directory));
  const fileOf = (library: string) => `${library.replace(/^\$libdir\//, '').replace(/\.so$/, '')}.so`;
  const isSimple = (library: string) => !library.replace(/^\$libdir\//, '').includes('/');
  return libraries.filter((library) => isSimple(library) && !there.has(fileOf(library)));
}

/** Images that bring an extension, by the start of its library's name. */
const images: readonly (readonly [RegExp, (major: number) => string])[] = [
  [/postgis|address_standardizer/, (major) => `postgis/postgis:${major}-3.5`],
  [/timescaledb/, (major) => `timescale/timescaledb:latest-pg${major}`],
  [/^(\$libdir\/)?vector/, (major) => `pgvector/pgvector:pg${major}`],
];

/** The image that would fit, in words. */
export function imageWith(libraries: readonly string[], major: number): string {
  const known = images.find(([pattern]) => libraries.some((library) => pattern.test(library)));
  return known
    ? `an image that has it, such as ${known[1](major)}`
    : `an image made of postgres:${major} with the extension's package installed`;
}

async function outputOf(host: Host, program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await host.run({program, args})).stdout;
  } catch (error) {
    if (error instanceof CommandError || error instanceof UserError) return undefined;
    throw error;
  }
}
