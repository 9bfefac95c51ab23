import {mkdir, readdir, readFile, rename, rm, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {messageOf, UserError} from '../errors.js';
import {makeDirectories} from '../host/directories.js';
import {type Command, CommandError, type Host} from '../host/host.js';
import {group, info, warning} from '../log.js';
import {explain} from '../postgres/failures.js';
import {progressLines, readLine} from './pg-basebackup.js';
import {type BackupPlan, compressAfterwards} from './plan.js';

/** What taking a backup told, besides the files. */
export interface Taken {
  /** The text of `backup_manifest`. */
  readonly manifest: string;
  readonly warnings: readonly string[];
}

/**
 * Runs pg_basebackup into the plan's partial directory and renames that when it is whole, so that no half backup
 * ever bears a backup's name. On failure everything that was written is removed: the plan made sure that nothing
 * was there before.
 */
export async function takeBackup(plan: BackupPlan, host: Host, command: Command): Promise<Taken> {
  const {partialDirectory, finalDirectory, tablespacesDirectory, tablespaceMapping} = plan;
  await claim(partialDirectory);
  try {
    const warnings = await group('pg_basebackup', () => runBasebackup(host, command));
    const manifest = await requireManifest(partialDirectory);
    await requireFiles(plan);
    for (const next of await compressAfterwards(plan, host)) await host.run(next);
    await rename(partialDirectory, finalDirectory);
    return {manifest, warnings};
  } catch (error) {
    await removeAll([partialDirectory, tablespacesDirectory, ...tablespaceMapping.values()]);
    throw error instanceof CommandError
      ? explain('The backup failed', error, plan.request.connection)
      : error;
  }
}

/** Makes the directory, unless somebody else did: of two backups of one name, one goes on. */
async function claim(directory: string): Promise<void> {
  await makeDirectories(dirname(directory));
  await mkdir(directory, {mode: 0o700}).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw cause;
    throw new UserError(
      `${directory} exists: another backup of this name is being taken, or one was killed.`,
      `If none is being taken: rm -r '${directory}'`,
      {cause},
    );
  });
}

/** What cannot be removed is a warning, so that the failure itself is told. */
async function removeAll(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    await rm(directory, {recursive: true, force: true, maxRetries: 3}).catch((error: unknown) => {
      warning(`${directory} could not be removed: ${messageOf(error)}`);
    });
  }
}

async function runBasebackup(host: Host, command: Command): Promise<readonly string[]> {
  const warnings: string[] = [];
  const progress = progressLines(Date.now);
  await host.run(command, {
    onErrorLine(text) {
      const line = readLine(text);
      if (line?.kind === 'message') info(line.text);
      if (line?.kind === 'progress') {
        const shown = progress(line.doneBytes, line.totalBytes);
        if (shown !== undefined) info(shown);
      }
      if (line?.kind === 'warning') {
        warnings.push(line.text);
        warning(`pg_basebackup: ${line.text}`);
      }
    },
  });
  return warnings;
}

/** pg_basebackup writes the manifest last and under another name until it is whole. */
async function requireManifest(directory: string): Promise<string> {
  try {
    return await readFile(join(directory, 'backup_manifest'), 'utf8');
  } catch (cause) {
    throw incomplete('wrote no backup_manifest', cause);
  }
}

/** Status 0 and a manifest are not enough: an archive that is missing or empty makes no backup. */
async function requireFiles({request, partialDirectory}: BackupPlan): Promise<void> {
  const names = await readdir(partialDirectory);
  const needed =
    request.format === 'plain'
      ? ['PG_VERSION', 'backup_label']
      : ['base.tar', ...(request.walMethod === 'stream' ? ['pg_wal.tar'] : [])];
  for (const name of needed) {
    if (!names.some((found) => found === name || found.startsWith(`${name}.`)))
      throw incomplete(`wrote no ${name}`);
  }
  for (const name of names.filter((found) => /\.tar(\.\w+)?$/.test(found))) {
    if ((await stat(join(partialDirectory, name))).size === 0) throw incomplete(`wrote an empty ${name}`);
  }
}

function incomplete(what: string, cause?: unknown): UserError {
  return new UserError(
    `pg_basebackup ended with status 0 but ${what}: the backup is not complete.`,
    'Check that the pg_basebackup on PATH is PostgreSQL’s own, then run again.',
    {cause},
  );
}
