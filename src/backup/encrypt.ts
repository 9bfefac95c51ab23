import {mkdir, rename, rm} from 'node:fs/promises';
import {type Encrypting, encryptFiles, encryptOutput} from '../backup-set/encryption/files.js';
import type {BackupFile} from '../backup-set/metadata.js';
import {packCommands} from '../backup-set/pack.js';
import {UserError} from '../errors.js';
import {CommandError, type Host} from '../host/host.js';
import {groupedPhase, info} from '../log.js';
import type {BackupPlan} from './plan.js';

/** What encrypting a backup works with. */
interface Work {
  readonly runner: Host;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/**
 * Encrypts a backup that pg_basebackup has finished, within its partial directory, so that nothing of it is left in
 * plain text; a plain backup becomes archives on the way. Returns its files; undefined: it is not to be encrypted.
 */
export async function encryptBackup(
  plan: BackupPlan,
  work: Work,
): Promise<readonly BackupFile[] | undefined> {
  const {encryption, request, partialDirectory} = plan;
  if (encryption === undefined) return undefined;
  return groupedPhase('Encrypt', async () => {
    const begin = performance.now();
    const encrypting = {...work, encryption};
    const files = await (request.format === 'tar'
      ? encryptFiles(partialDirectory, encrypting)
      : packEncrypted(plan, encrypting)
    ).catch((error: unknown) => {
      throw explainFull(error, request.directory);
    });
    const bytes = files.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
    const seconds = (performance.now() - begin) / 1000;
    info(
      `${files.length} files, ${(bytes / 1e6).toFixed(1)} MB, encrypted for ${describeKeys(encryption)} in ${seconds.toFixed(1)} s by ${encryption.by}`,
    );
    return files;
  });
}

function explainFull(error: unknown, directory: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const told = error instanceof CommandError ? error.stderr : '';
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && !/no space left|quota exceeded/i.test(told)) return error;
  return new UserError(
    `The disk of ${directory} is full: while a file is encrypted it is there twice.`,
    'Set directory to a larger disk, compress the backup more, or free space in an earlier step.',
    {cause: error},
  );
}

/** For people: `2 recipients`, `a passphrase`. */
export function describeKeys({recipients}: {readonly recipients: number}): string {
  if (recipients === 0) return 'a passphrase';
  return recipients === 1 ? '1 recipient' : `${recipients} recipients`;
}

/** Packs a data directory and its tablespaces without a plain archive, and puts the archives in its place. */
async function packEncrypted(
  {partialDirectory, finalDirectory, tablespacesDirectory, tablespaceMapping}: BackupPlan,
  work: Work & Encrypting,
): Promise<readonly BackupFile[]> {
  const directory = packedDirectory(finalDirectory);
  await mkdir(directory, {mode: 0o700});
  const files: BackupFile[] = [];
  for (const {name, command} of await packCommands(work.runner, partialDirectory))
    files.push(await encryptOutput(command, {...work, directory, name}));
  for (const path of [partialDirectory, tablespacesDirectory, ...tablespaceMapping.values()])
    await rm(path, {recursive: true, force: true, maxRetries: 3});
  await rename(directory, partialDirectory);
  return files;
}

/** Where the archives of a plain backup are made. */
export function packedDirectory(finalDirectory: string): string {
  return `${finalDirectory}.packed`;
}
