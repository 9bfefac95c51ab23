import {describeFiles} from '../backup-set/digest.js';
import {parseManifest} from '../backup-set/manifest.js';
import type {BackupFile} from '../backup-set/metadata.js';
import type {LocalBackup} from '../store/store.js';
import {formatCompression} from './compression.js';
import type {BackupPlan} from './plan.js';
import type {Taken} from './take.js';

/** Describes a finished backup: what the server, the manifest and the files tell. */
export async function describeBackup(plan: BackupPlan, taken: Taken, startedAt: Date): Promise<LocalBackup> {
  const {request, server, programs, finalDirectory} = plan;
  const finishedAt = new Date();
  const {startLsn, endLsn, timeline, dataSizeBytes} = parseManifest(taken.manifest);
  const metadata = {
    schemaVersion: 1 as const,
    name: request.name,
    label: request.label,
    startedAt: startedAt.toISOString(),
    finishedAt: finishedAt.toISOString(),
    durationSeconds: (finishedAt.getTime() - startedAt.getTime()) / 1000,
    startLsn,
    endLsn,
    timeline,
    systemIdentifier: server.systemIdentifier,
    serverVersion: server.version,
    serverVersionNumber: server.versionNumber,
    clientVersion: programs.version,
    format: request.format,
    walMethod: request.walMethod,
    compression: formatCompression(plan.compression),
    tablespaces: server.tablespaces ?? [],
    bootstrapSuperuser: server.bootstrapSuperuser,
    requiredSettings: server.requiredSettings,
    selfContained: request.walMethod !== 'none',
    fromStandby: server.isStandby ?? false,
    dataChecksums: server.dataChecksums,
    collations: server.collations,
    dataSizeBytes,
    warnings: taken.warnings,
    ...(await sizesOf(finalDirectory)),
  };
  return {name: request.name, directory: finalDirectory, filesDirectory: finalDirectory, metadata};
}

/** The part of the metadata that is read from the files of a directory. */
export async function sizesOf(directory: string): Promise<{files: readonly BackupFile[]; sizeBytes: number}> {
  const files = await describeFiles(directory);
  return {files, sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0)};
}
