import type {BackupResult} from '../backup/backup.js';
import {highest} from '../backup-set/proof.js';
import type {Restored} from '../restore/restore.js';
import type {Result} from './story.js';
import {age} from './units.js';

/** The last line of the log, which says it all. */
export function lastLine(result: Result): string {
  if (result.dryRun) return 'Dry run: nothing was changed.';
  switch (result.mode) {
    case 'backup':
      return ofBackup(result);
    case 'restore':
      return ofRestore(result);
    case 'verify': {
      const {files, bytes, walSegments, seconds} = result.checked;
      return `Verified ${result.backup.name} in ${seconds.toFixed(1)} s (${files} files, ${megabytes(bytes)}, ${walSegments} WAL segments), proven: ${highest(result.reached) ?? 'names and sizes only'}`;
    }
    case 'prepare': {
      const {role, shown, lines} = result.plan;
      const what = shown.length + lines.length === 0 ? 'was ready: nothing was changed' : 'is ready';
      return `The role ${JSON.stringify(role)} ${what}${result.proof.replicates ? ', proven by a replication connection' : ''}.`;
    }
  }
}

function ofBackup({metadata, stored}: Extract<BackupResult, {dryRun: false}>): string {
  const {dataSizeBytes, sizeBytes, durationSeconds, selfContained} = metadata;
  const lack = selfContained ? '' : ', without WAL';
  return `Backed up ${megabytes(dataSizeBytes)} as ${megabytes(sizeBytes)} in ${durationSeconds.toFixed(1)} s: ${stored.location}${lack}; not proven yet`;
}

function ofRestore({backup, restoreSeconds, reached, backupAgeSeconds}: Restored): string {
  const old = backupAgeSeconds === undefined ? '' : `; it is ${age(backupAgeSeconds)} old`;
  return `Restored ${backup.name} in ${restoreSeconds.toFixed(1)} s, proven: ${highest(reached)}${old}`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
