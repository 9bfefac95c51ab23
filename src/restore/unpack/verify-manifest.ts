import {damaged} from '../../backup-set/digest.js';
import type {Manifest} from '../../backup-set/manifest.js';
import {UserError} from '../../errors.js';
import {CommandError, type Host} from '../../host/host.js';
import {info} from '../../log.js';
import {type Programs, pathOf} from '../../postgres/programs.js';
import type {Extracted} from './examine.js';
import {settleAll} from './settle-all.js';

/** Which files are compared. */
export interface Comparison extends Pick<Extracted, 'dataDirectory' | 'hasWal'> {
  /** Undefined where nothing could read it beforehand: then one process compares all. */
  readonly manifest: Manifest | undefined;
}

/** Compares every file with `backup_manifest`, and the WAL by reading it. Throws a UserError with what was found. */
export async function verifyManifest(
  host: Host,
  programs: Programs,
  {dataDirectory, hasWal, manifest}: Comparison,
): Promise<void> {
  if ((await host.look(`${dataDirectory}/backup_manifest`)) !== 'file') {
    throw new UserError(
      'backup_manifest is missing: nothing tells whether the backup is whole.',
      'Restore another backup, or, to restore this one unproven, leave manifest out of checks (checks: dump).',
    );
  }
  const verify = async (paths: readonly string[], index: number): Promise<readonly string[]> => {
    const parsesWal = hasWal && index === 0;
    const ignored = paths.map((path) => `--ignore=${path}`);
    const args = [...(parsesWal ? [] : ['--no-parse-wal']), ...ignored, dataDirectory];
    return complaints(() => host.run({program: pathOf(programs, 'pg_verifybackup'), args}));
  };
  const said = await settleAll(ignoredBy(manifest, host.cores).map(verify));
  const lines = [...new Set(said.flat())];
  if (lines.length === 0) return;
  for (const line of lines.slice(0, 20)) info(line);
  throw damaged(
    'backup_manifest',
    `pg_verifybackup found files that differ from it:\n${lines.slice(0, 5).join('\n')}`,
  );
}

/** What is said by a program that fails, by lines. Throws a UserError where it was killed, and so has found nothing. */
async function complaints(run: () => Promise<unknown>): Promise<readonly string[]> {
  try {
    await run();
    return [];
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    const {status, stderr, message} = cause;
    if (typeof status === 'string' || status > 128) {
      throw new UserError(
        `Whether the backup is whole is not known: ${message}`,
        'Run the step again, where memory ran out on a machine with more of it.',
        {cause},
      );
    }
    const lines = stderr.trim() || message;
    return lines.split('\n').map((line) => line.replace(/^pg_(verifybackup|waldump): (error: )?/, ''));
  }
}

/** What is left for every process to compare may be that much of all bytes at most. */
const sharedByAll = 0.2;
/** Below it, a second process costs more than it saves. */
const leastBytes = 128 * 2 ** 20;
/** All their names are arguments, of which Linux takes 2 MB, and each file of the cluster is compared with each. */
const mostFiles = 4000;
/** Where there are more cores, disks are what is waited for. */
const mostProcesses = 8;
/** A file of a relation: its name needs no quoting, and names nothing but itself to `--ignore`. */
const relationFile = /^(base|pg_tblspc\/\d{1,10}\/PG_[\d_]{1,16})\/\d{1,10}\/\d{1,10}(\.\d{1,7})?$/;

/**
 * What each of the processes leaves out that compare a backup side by side, for pg_verifybackup itself has one only.
 * The largest files are dealt out, and each process leaves out those of the others; whatever is not dealt out all of
 * them compare. One process, which leaves out nothing, where dealing out would not pay.
 */
export function ignoredBy(manifest: Manifest | undefined, cores: number): readonly (readonly string[])[] {
  const one = [[]];
  if (manifest === undefined || cores < 2 || manifest.dataSizeBytes < leastBytes) return one;
  const largest = [...manifest.files.values()]
    .filter(({path}) => relationFile.test(path))
    .sort((a, b) => b.sizeBytes - a.sizeBytes)
    .slice(0, mostFiles);
  const dealt = largest.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
  if (dealt < manifest.dataSizeBytes * (1 - sharedByAll)) return one;
  const shares = Array.from({length: Math.min(cores, mostProcesses)}, () => ({
    bytes: 0,
    paths: new Set<string>(),
  }));
  for (const {path, sizeBytes} of largest) {
    const smallest = shares.reduce((a, b) => (b.bytes < a.bytes ? b : a));
    smallest.bytes += sizeBytes;
    smallest.paths.add(path);
  }
  return shares.map(({paths}) => largest.map(({path}) => path).filter((path) => !paths.has(path)));
}
