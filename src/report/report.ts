import {setOutput, summary} from '@actions/core';
import type {BackupResult} from '../backup/backup.js';
import {info} from '../log.js';
import {formatConninfo} from '../postgres/conninfo.js';
import {highest} from '../restore/proof.js';
import type {Restored, RestoreResult} from '../restore/restore.js';
import {summarize} from './summary.js';

/** Everything that the action's steps can tell later steps. */
export const outputNames = [
  'backup-name',
  'backup-directory',
  'artifact-id',
  'artifact-url',
  'artifact-digest',
  'size-bytes',
  'duration-seconds',
  'start-lsn',
  'end-lsn',
  'timeline',
  'system-identifier',
  'server-version',
  'data-directory',
  'host',
  'port',
  'connection-string',
  'recovered-lsn',
  'restore-seconds',
  'backup-age-seconds',
  'checks-passed',
  'proof',
] as const;

/** Outputs by name; those that a mode does not have are left out. */
export type Outputs = Partial<Record<(typeof outputNames)[number], string | number>>;

/** Tells what a step did: outputs, the job summary, and a last line in the log. */
export async function report(result: BackupResult | RestoreResult): Promise<void> {
  for (const [name, value] of Object.entries(outputsOf(result))) setOutput(name, value);
  if (process.env.GITHUB_STEP_SUMMARY) await summary.addRaw(summarize(result), true).write();
  info(lastLine(result));
}

/** The outputs of a result. */
export function outputsOf(result: BackupResult | RestoreResult): Outputs {
  if (result.dryRun)
    return result.mode === 'backup'
      ? {'backup-name': result.plan.request.name}
      : {'backup-name': result.backup.name};
  return result.mode === 'backup' ? backupOutputs(result) : restoreOutputs(result);
}

function backupOutputs({metadata, directory, stored}: Extract<BackupResult, {dryRun: false}>): Outputs {
  return {
    'backup-name': metadata.name,
    'backup-directory': directory,
    ...(stored.artifactId !== undefined && {'artifact-id': stored.artifactId}),
    ...(stored.artifactUrl !== undefined && {'artifact-url': stored.artifactUrl}),
    ...(stored.artifactDigest !== undefined && {'artifact-digest': stored.artifactDigest}),
    'size-bytes': metadata.sizeBytes,
    'duration-seconds': metadata.durationSeconds,
    'start-lsn': metadata.startLsn,
    'end-lsn': metadata.endLsn,
    timeline: metadata.timeline,
    'system-identifier': metadata.systemIdentifier,
    'server-version': metadata.serverVersion,
  };
}

function restoreOutputs(result: Restored): Outputs {
  const {server, control, request, backupAgeSeconds} = result;
  const proof = highest(result.reached);
  const reachable = {host: '127.0.0.1', port: server.port};
  return {
    'backup-name': result.backup.name,
    'data-directory': server.target.dataDirectory,
    ...(request.keepRunning && {
      ...reachable,
      'connection-string': formatConninfo({
        host: reachable.host,
        port: String(server.port),
        user: server.user,
        dbname: request.checkDatabase,
      }),
    }),
    'server-version':
      result.backup.metadata?.serverVersion ?? server.programs.version.replace(/^.*\(PostgreSQL\) /, ''),
    'system-identifier': control.systemIdentifier,
    timeline: control.timeline,
    'recovered-lsn': result.recovery.replayedLsn,
    'restore-seconds': result.restoreSeconds.toFixed(3),
    ...(backupAgeSeconds !== undefined && {'backup-age-seconds': backupAgeSeconds}),
    'checks-passed': result.checks.map(({name}) => name).join(','),
    ...(proof !== undefined && {proof}),
  };
}

function lastLine(result: BackupResult | RestoreResult): string {
  if (result.dryRun) return 'Dry run: nothing was changed.';
  if (result.mode === 'backup') {
    const {metadata, stored} = result;
    return `Backed up ${megabytes(metadata.dataSizeBytes)} as ${megabytes(metadata.sizeBytes)} in ${metadata.durationSeconds.toFixed(1)} s: ${stored.location}`;
  }
  return `Restored ${result.backup.name} in ${result.restoreSeconds.toFixed(1)} s, proven: ${highest(result.reached)}`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
