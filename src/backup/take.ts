import {mkdir, readdir, readFile, rename, rm, rmdir, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {messageOf, PassingError, UserError} from '../errors.js';
import type {Claim, HeldMark} from '../host/claim.js';
import {makeDirectories} from '../host/directories.js';
import {type Command, CommandError, type Host} from '../host/host.js';
import {beginStage, noteProgress} from '../journal.js';
import {groupedPhase, info, phase, warning} from '../log.js';
import {openLibpqAccess} from '../postgres/connection.js';
import {explain} from '../postgres/failures.js';
import type {LocalBackup} from '../store/store.js';
import {describeBackup} from './describe.js';
import {encryptBackup, packedDirectory} from './encrypt.js';
import {placeManifest} from './parent.js';
import {pgBasebackup, progressLines, readLine} from './pg-basebackup.js';
import {type BackupPlan, beingTaken, compressAfterwards, refuseTaken} from './plan.js';
import type {BackupRequest} from './request.js';
import type {Witness} from './valve.js';
import {watchdog} from './watchdog.js';

/** What taking a backup works with. */
export interface Taking {
  readonly runner: Host;
  /** Records what is written. */
  readonly claim: Claim;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/**
 * Runs pg_basebackup into the plan's partial directory, describes what it wrote, and renames the directory when that is
 * whole, so that no half backup ever bears a backup's name. On failure everything that was written is removed: the plan
 * made sure that nothing was there before.
 */
export async function takeBackup(plan: BackupPlan, taking: Taking): Promise<LocalBackup> {
  const {partialDirectory, finalDirectory} = plan;
  const {runner, claim} = taking;
  await makeDirectories(dirname(partialDirectory));
  // Of two backups of one name, one goes on.
  const mark = await claim.mark(partialDirectory);
  try {
    // Another one of this name may have ended since the plan was made.
    await refuseTaken(runner, [finalDirectory, `${finalDirectory}.json`, ...tablespacesOf(plan)]);
    await makePartial(partialDirectory);
    return await fill(plan, taking, mark);
  } finally {
    await mark.release();
  }
}

async function fill(plan: BackupPlan, {runner, signal}: Taking, mark: HeldMark): Promise<LocalBackup> {
  const {partialDirectory, finalDirectory, request} = plan;
  const startedAt = new Date();
  try {
    await mark.note([partialDirectory, ...(await makeTablespaces(plan))]);
    const warnings = await groupedPhase('pg_basebackup', () => runBasebackup(plan));
    const manifest = await requireManifest(partialDirectory);
    await requireFiles(plan);
    for (const next of await compressAfterwards(plan, runner))
      await phase('Compress', () => runner.run(next));
    const files = await encryptBackup(plan, {runner, signal});
    const metadata = await phase('Read back', () =>
      describeBackup(plan, {manifest, warnings, startedAt, files}),
    );
    await rename(partialDirectory, finalDirectory);
    return {name: request.name, directory: finalDirectory, filesDirectory: finalDirectory, metadata};
  } catch (error) {
    await removeAll([...tablespacesOf(plan), packedDirectory(finalDirectory), partialDirectory]);
    throw error instanceof CommandError ? explain('The backup failed', error, plan.client.connection) : error;
  }
}

const tablespacesOf = ({tablespacesDirectory, tablespaceMapping}: BackupPlan) => [
  tablespacesDirectory,
  ...tablespaceMapping.values(),
];

/** Makes the directory that is filled. Throws a UserError where there is one already. */
export async function makePartial(directory: string): Promise<void> {
  // One that is empty and has no mark is of a run that was killed as it began.
  await rmdir(directory).catch(() => undefined);
  await mkdir(directory, {mode: 0o700}).catch((cause: NodeJS.ErrnoException) => {
    throw cause.code === 'EEXIST' ? beingTaken(directory) : cause;
  });
}

/** Makes the directories of a plain backup's tablespaces, and returns those that were not there. */
async function makeTablespaces({tablespaceMapping}: BackupPlan): Promise<readonly string[]> {
  const made: string[] = [];
  for (const path of tablespaceMapping.values()) {
    const first = await makeDirectories(path);
    if (first !== undefined) made.push(first);
  }
  return made;
}

/** What cannot be removed is a warning, so that the failure itself is told. */
export async function removeAll(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    await rm(directory, {recursive: true, force: true, maxRetries: 3}).catch((error: unknown) => {
      warning(`${directory} could not be removed: ${messageOf(error)}`);
    });
  }
}

/** Runs pg_basebackup into the plan's partial directory, and returns its warnings. */
export async function runBasebackup(plan: BackupPlan, flow?: Flow): Promise<readonly string[]> {
  const {request, client, partialDirectory} = plan;
  const {host, path, deliver, close} = await client.host.openOutbox(partialDirectory);
  try {
    const access = await openLibpqAccess(client.connection, host);
    try {
      const {conninfo, env} = access;
      const incremental = plan.parent && {parentManifest: await placeManifest(plan.parent, host)};
      const facts = {...plan, ...incremental, programs: client.programs, targetDirectory: path, conninfo};
      const command = {...pgBasebackup(request, facts), env};
      const warnings = await runWatched(command, {host, request, ...(flow && {flow})});
      await deliver();
      return warnings;
    } finally {
      await access.close();
    }
  } finally {
    await close();
  }
}

/** Takes charge of pg_basebackup while its files are taken away. */
export interface Flow {
  readonly attach: (pid: number, witness: Witness) => void;
  /** Aborted: pg_basebackup is ended, and the reason is thrown. */
  readonly signal: AbortSignal;
}

/** Shows what pg_basebackup says, and ends it when it has had nothing from the server for too long. */
async function runWatched(
  command: Command,
  {host, request, flow}: {host: Host; request: BackupRequest; flow?: Flow},
): Promise<readonly string[]> {
  const {checkpoint, stallTimeoutSeconds} = request;
  const warnings: string[] = [];
  const show = progressLines(Date.now);
  const dog = watchdog(stallTimeoutSeconds, () => stalled(stallTimeoutSeconds));
  let receivedBytes = 0;
  const onErrorLine = (text: string) => {
    const line = readLine(text);
    if (line?.kind === 'progress') {
      noteProgress(line.doneBytes);
      const shown = show(line.doneBytes, line.totalBytes);
      if (shown !== undefined) info(shown);
      if (line.doneBytes > receivedBytes) dog.pat();
      receivedBytes = line.doneBytes;
    } else if (line?.kind === 'message') {
      info(line.text);
      const stage = stageOf(line.text);
      if (stage !== undefined) beginStage(stage);
      if (isQuiet(line.text, checkpoint)) dog.rest();
      else dog.pat();
    } else if (line?.kind === 'warning') {
      warnings.push(line.text);
      warning(`pg_basebackup: ${line.text}`);
    }
  };
  try {
    const signal = flow ? AbortSignal.any([dog.signal, flow.signal]) : dog.signal;
    // One that is held back can give no sign of life.
    const onStart = (pid: number) => flow?.attach(pid, {held: dog.rest, released: dog.pat});
    await host.run(command, {onErrorLine, onStart, signal});
  } finally {
    dog.close();
  }
  return warnings;
}

/** What pg_basebackup begins with this message (pg_basebackup.c, BaseBackup); undefined: it goes on. */
function stageOf(message: string): string | undefined {
  if (/waiting for checkpoint to complete/.test(message)) return 'Checkpoint';
  if (/checkpoint completed/.test(message)) return 'Copy';
  if (/write-ahead log end point/.test(message)) return 'End of the WAL';
  return /syncing data to disk/.test(message) ? 'Sync' : undefined;
}

/** A slow checkpoint may take as long as it is set to, and the runner's disk as long as it needs. */
function isQuiet(message: string, checkpoint: BackupRequest['checkpoint']): boolean {
  return (
    /syncing data to disk/.test(message) ||
    (checkpoint === 'spread' && /waiting for checkpoint to complete/.test(message))
  );
}

function stalled(seconds: number): PassingError {
  return new PassingError(
    `pg_basebackup had nothing from the server for ${seconds} s (stall-timeout), and was ended: a client that hangs can hold up the server's checkpoints.`,
    'Look for what lies between: a proxy, a firewall that forgets connections, a server or disk that is overloaded. stall-timeout gives more time.',
  );
}

/** pg_basebackup writes the manifest last and under another name until it is whole. */
export async function requireManifest(directory: string): Promise<string> {
  try {
    return await readFile(join(directory, 'backup_manifest'), 'utf8');
  } catch (cause) {
    throw incomplete('wrote no backup_manifest', cause);
  }
}

/** Status 0 and a manifest are not enough: an archive that is missing or empty makes no backup. */
export async function requireFiles({request, partialDirectory}: BackupPlan): Promise<void> {
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
