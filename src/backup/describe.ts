import {describeFiles} from '../backup-set/digest.js';
import {seal} from '../backup-set/encryption/sealed.js';
import {parseManifest} from '../backup-set/manifest.js';
import type {BackupFile, Metadata} from '../backup-set/metadata.js';
import {sizesOf as sharesOf} from '../backup-set/sizes.js';
import {formatCompression} from './compression.js';
import type {BackupPlan} from './plan.js';

/** What taking a backup told, besides the files. */
export interface Taken {
  /** The text of `backup_manifest`. */
  readonly manifest: string;
  readonly warnings: readonly string[];
  readonly startedAt: Date;
  /** The files that were described as they were encrypted or stored; undefined: they are yet to be looked at. */
  readonly files: readonly BackupFile[] | undefined;
}

/** Describes a backup that is whole: what the server, the manifest and the files tell. */
export async function describeBackup(plan: BackupPlan, taken: Taken): Promise<Metadata> {
  const {request, server, client, partialDirectory, encryption} = plan;
  const {startedAt} = taken;
  const finishedAt = new Date();
  const manifest = parseManifest(taken.manifest);
  const {startLsn, endLsn, timeline, dataSizeBytes} = manifest;
  const names = (server.collations ?? []).flatMap(({oid, database}) =>
    oid === undefined ? [] : [[oid, database] as const],
  );
  const metadata: Metadata = {
    schemaVersion: 1,
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
    clientVersion: client.programs.version,
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
    libcVersion: server.libcVersion,
    preloadLibraries: server.preloadLibraries,
    dataSizeBytes,
    ...(plan.parent && {parent: plan.parent.link}),
    sizes: sharesOf(manifest, new Map(names)),
    warnings: taken.warnings,
    ...(taken.files ? addUp(taken.files) : await sizesOf(partialDirectory)),
  };
  return encryption ? seal(metadata, encryption) : metadata;
}

/** The part of the metadata that is read from the files of a directory. */
export async function sizesOf(directory: string): Promise<Sizes> {
  return addUp(await describeFiles(directory));
}

type Sizes = Pick<Metadata, 'files' | 'sizeBytes'>;

function addUp(files: readonly BackupFile[]): Sizes {
  return {files, sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0)};
}
