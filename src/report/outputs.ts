import type {BackupResult} from '../backup/backup.js';
import {highest} from '../backup-set/proof.js';
import {formatConninfo} from '../postgres/conninfo.js';
import type {Restored} from '../restore/restore.js';
import type {Verified} from '../verify/verify.js';
import type {Result} from './story.js';

/** Everything that the action's steps can tell later steps. */
export const outputNames = [
  'backup-name',
  'parent-backup',
  'backup-directory',
  'artifact-id',
  'artifact-url',
  'artifact-digest',
  'attestation-url',
  'size-bytes',
  'duration-seconds',
  'start-lsn',
  'end-lsn',
  'timeline',
  'system-identifier',
  'server-version',
  'pruned-backups',
  'data-directory',
  'host',
  'port',
  'connection-string',
  'recovered-lsn',
  'restore-seconds',
  'verify-seconds',
  'files-verified',
  'wal-segments-verified',
  'backup-age-seconds',
  'checks-passed',
  'proof',
  'report-html',
  'report-json',
] as const;

/** Outputs by name; those that a mode does not have are left out. */
export type Outputs = Partial<Record<(typeof outputNames)[number], string | number>>;

/** The outputs of a result. */
export function outputsOf(result: Result): Outputs {
  if (result.mode === 'prepare') return {};
  if (result.dryRun)
    return result.mode === 'backup'
      ? {'backup-name': result.plan.request.name, ...pruneOutputs(result)}
      : {'backup-name': result.backup.name};
  if (result.mode === 'verify') return verifyOutputs(result);
  return result.mode === 'backup' ? backupOutputs(result) : restoreOutputs(result);
}

function pruneOutputs({pruned}: BackupResult): Outputs {
  return pruned ? {'pruned-backups': pruned.gone.join(',')} : {};
}

function backupOutputs(result: Extract<BackupResult, {dryRun: false}>): Outputs {
  const {metadata, directory, stored} = result;
  return {
    'backup-name': metadata.name,
    ...(metadata.parent && {'parent-backup': metadata.parent.name}),
    ...(directory !== undefined && {'backup-directory': directory}),
    ...(stored.artifactId !== undefined && {'artifact-id': stored.artifactId}),
    ...(stored.artifactUrl !== undefined && {'artifact-url': stored.artifactUrl}),
    ...(stored.artifactDigest !== undefined && {'artifact-digest': stored.artifactDigest}),
    ...(result.attestation && {'attestation-url': result.attestation.url}),
    'size-bytes': metadata.sizeBytes,
    'duration-seconds': metadata.durationSeconds,
    'start-lsn': metadata.startLsn,
    'end-lsn': metadata.endLsn,
    timeline: metadata.timeline,
    'system-identifier': metadata.systemIdentifier,
    'server-version': metadata.serverVersion,
    ...pruneOutputs(result),
  };
}

function restoreOutputs(result: Restored): Outputs {
  const {server, control, request, backupAgeSeconds, reachableAt} = result;
  const proof = highest(result.reached);
  return {
    'backup-name': result.backup.name,
    'data-directory': result.dataDirectory,
    ...(reachableAt && {
      ...reachableAt,
      'connection-string': formatConninfo({
        host: reachableAt.host,
        port: String(reachableAt.port),
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

function verifyOutputs({backup, manifest, reached, checked, backupAgeSeconds}: Verified): Outputs {
  const proof = highest(reached);
  const {systemIdentifier} = checked;
  return {
    'backup-name': backup.name,
    ...(backup.metadata && {'server-version': backup.metadata.serverVersion}),
    ...(systemIdentifier !== undefined && {'system-identifier': systemIdentifier}),
    timeline: manifest.timeline,
    'verify-seconds': checked.seconds.toFixed(3),
    'files-verified': checked.files,
    'wal-segments-verified': checked.walSegments,
    ...(backupAgeSeconds !== undefined && {'backup-age-seconds': backupAgeSeconds}),
    ...(proof !== undefined && {proof}),
  };
}
