import type {Command} from '../host/host.js';
import {type Programs, pathOf} from '../postgres/programs.js';
import {type ChosenCompression, compressionArgs} from './compression.js';
import type {BackupRequest} from './request.js';

/** What of pg_basebackup's command line is not in the request. */
export interface BaseBackupFacts {
  readonly programs: Programs;
  readonly compression: ChosenCompression;
  /** Every tablespace of a plain backup, old path to new. */
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  readonly targetDirectory: string;
  /** Without a password. */
  readonly conninfo: string;
  /** Where the client finds the manifest of the backup that an incremental one builds on. */
  readonly parentManifest?: string;
  /** The files do not stay: nothing is gained by waiting until the disk has them. */
  readonly isStreamed: boolean;
}

/** The command that takes the backup. Long options, because they read as prose in the log. */
export function pgBasebackup(request: BackupRequest, facts: BaseBackupFacts): Command {
  const args = [
    `--pgdata=${facts.targetDirectory}`,
    `--format=${request.format}`,
    `--wal-method=${request.walMethod}`,
    `--checkpoint=${request.checkpoint}`,
    `--label=${request.label}`,
    `--manifest-checksums=${request.manifestChecksums}`,
    ...compressionArgs(facts.compression, facts.programs.major),
    ...[...facts.tablespaceMapping].map(
      ([from, to]) => `--tablespace-mapping=${escapeMapping(from)}=${escapeMapping(to)}`,
    ),
    '--progress',
    '--verbose',
    '--no-password',
    `--dbname=${facts.conninfo}`,
  ];
  if (request.maxRate !== undefined) args.push(`--max-rate=${request.maxRate}`);
  if (request.slot !== undefined) args.push(`--slot=${request.slot}`);
  // What it writes is removed again; the encrypted files are brought to disk instead (backup-set/encryption/files.ts).
  if (request.encryption || facts.isStreamed) args.push('--no-sync');
  if (facts.parentManifest !== undefined) args.push(`--incremental=${facts.parentManifest}`);
  if (request.writeRecoveryConf) args.push('--write-recovery-conf');
  return {program: pathOf(facts.programs, 'pg_basebackup'), args};
}

const escapeMapping = (path: string) => path.replaceAll('=', '\\=');

/** What a line that pg_basebackup writes to standard error is. */
export type ProgressLine =
  | {readonly kind: 'progress'; readonly doneBytes: number; readonly totalBytes: number}
  | {readonly kind: 'warning'; readonly text: string}
  | {readonly kind: 'message'; readonly text: string};

/** Reads a line of pg_basebackup's `--progress --verbose` (pg_basebackup.c, progress_report). */
export function readLine(line: string): ProgressLine | undefined {
  const progress = /^\s*(\d+)\/(\d+) kB \(\d+%\)/.exec(line);
  if (progress) {
    return {kind: 'progress', doneBytes: Number(progress[1]) * 1024, totalBytes: Number(progress[2]) * 1024};
  }
  const text = line.trim();
  if (text === '') return undefined;
  const warning = /^(?:pg_basebackup: )?(?:WARNING|warning): +(.*)$/.exec(text);
  return warning?.[1] ? {kind: 'warning', text: warning[1]} : {kind: 'message', text};
}

/**
 * Makes a function that turns progress into a line every few seconds, for a log that has no cursor: percent,
 * bytes, MB/s since the last line. `now` is in milliseconds.
 */
export function progressLines(
  now: () => number,
  intervalSeconds = 5,
): (doneBytes: number, totalBytes: number) => string | undefined {
  let last = {time: now(), bytes: 0};
  return (doneBytes, totalBytes) => {
    const time = now();
    const seconds = (time - last.time) / 1000;
    if (seconds < intervalSeconds) return undefined;
    const rate = (doneBytes - last.bytes) / seconds / 1e6;
    last = {time, bytes: doneBytes};
    const percent = totalBytes > 0 ? Math.min(100, Math.floor((100 * doneBytes) / totalBytes)) : 0;
    return `${String(percent).padStart(3)} %  ${formatMegabytes(doneBytes)} of ${formatMegabytes(totalBytes)}  ${rate.toFixed(0)} MB/s`;
  };
}

const formatMegabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
