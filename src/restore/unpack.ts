import {mkdtemp, readFile, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {recognise} from '../backup-set/archive.js';
import {type Manifest, parseManifest} from '../backup-set/manifest.js';
import type {Host} from '../host/host.js';
import {group} from '../log.js';
import {findServerPrograms, type Programs} from '../postgres/programs.js';
import type {FetchedBackup, FoundBackup} from '../store/store.js';
import {refuseOld} from './age.js';
import {type PassedCheck, timed} from './checks.js';
import {
  type Extracted,
  examine,
  refuseTablespaceCreation,
  requireWal,
  rewriteTablespaceMap,
  verifyManifest,
} from './examine.js';
import {extract} from './extract.js';
import type {ProofLevel} from './proof.js';
import type {RestoreRequest} from './request.js';
import {checkSpace, type Target} from './target.js';

/** What unpacking works with. */
export interface Unpacking {
  readonly request: RestoreRequest;
  readonly target: Target;
  /** Where the server will run. */
  readonly host: Host;
  /** Where the backup's files arrive. */
  readonly runner: Host;
  readonly temporaryDirectory: string;
}

/** A backup that lies in the data directory, proven as far as its files can prove it. */
export interface Unpacked {
  readonly backup: FetchedBackup;
  readonly extracted: Extracted;
  readonly programs: Programs;
  /** Undefined when the backup has none, which is refused unless `checks` leaves it out. */
  readonly manifest: Manifest | undefined;
  readonly checks: readonly PassedCheck[];
  readonly reached: readonly ProofLevel[];
}

/** Fetches a backup, extracts it, and compares it with metadata and manifest. Nothing is started. */
export async function unpack(found: FoundBackup, unpacking: Unpacking): Promise<Unpacked> {
  const scratch = await mkdtemp(join(unpacking.temporaryDirectory, 'pg-fetch-'));
  try {
    return await unpackFrom(await found.fetch(scratch), unpacking);
  } finally {
    await rm(scratch, {recursive: true, force: true, maxRetries: 3});
  }
}

async function unpackFrom(backup: FetchedBackup, unpacking: Unpacking): Promise<Unpacked> {
  const {request, target, host, runner} = unpacking;
  const {dataDirectory} = target;
  const files = await recognise(backup.directory);
  const early = await readManifest(() =>
    readFile(join(backup.directory, 'backup_manifest'), 'utf8').catch(() => undefined),
  );
  await checkSpace(target, host, early?.dataSizeBytes);

  const directories = await group('Extract', () => extract({request, backup, files, target, host, runner}));
  const extracted = await examine({host, dataDirectory, files}, directories);
  requireWal(extracted, request);
  const manifest = early ?? (await readManifest(() => host.readText(`${dataDirectory}/backup_manifest`)));
  refuseOld(backup.metadata?.finishedAt ?? manifest?.takenAt, request);

  const programs = await findServerPrograms(host, extracted.major, request.pgVersion);
  const verified = request.checks.includes('manifest');
  const checks = verified ? [await timed('manifest', () => verifyManifest(host, programs, extracted))] : [];
  await refuseTablespaceCreation({host, programs}, extracted, manifest?.endLsn);
  await rewriteTablespaceMap(host, dataDirectory, directories);
  const reached: ProofLevel[] = [
    ...(backup.metadata ? (['transferred'] as const) : []),
    ...(verified ? (['manifest-verified'] as const) : []),
  ];
  return {backup, extracted, programs, manifest, checks, reached};
}

async function readManifest(read: () => Promise<string | undefined>): Promise<Manifest | undefined> {
  const text = await read();
  return text === undefined ? undefined : parseManifest(text);
}
