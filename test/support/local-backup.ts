import {createHash} from 'node:crypto';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {onTestFinished} from 'vitest';
import type {Metadata} from '../../src/backup-set/metadata.js';
import type {LocalBackup} from '../../src/store/store.js';

/** Contents by file name. */
export type Files = Readonly<Record<string, string | Buffer>>;

/** The files of a small backup: no archives, but a store does not look inside. */
export const someFiles: Files = {
  'base.tar.zst': 'the cluster',
  '16406.tar.zst': 'a tablespace',
  'pg_wal.tar': 'the write-ahead log',
  backup_manifest: '{"PostgreSQL-Backup-Manifest-Version": 2}',
};

/** Metadata that fit the files; `finishedAt` is an ISO 8601 time. */
export function metadataOf(name: string, files: Files, finishedAt = '2026-11-22T01:00:09Z'): Metadata {
  const described = Object.entries(files).map(([fileName, content]) => ({
    name: fileName,
    sizeBytes: Buffer.byteLength(content),
    sha256: createHash('sha256').update(content).digest('hex'),
  }));
  return {
    schemaVersion: 1,
    name,
    label: 'a test',
    startedAt: '2026-11-22T01:00:00Z',
    finishedAt,
    durationSeconds: 9,
    startLsn: '0/2000028',
    endLsn: '0/2000120',
    timeline: 1,
    systemIdentifier: '7391837482910384756',
    serverVersion: '18.1',
    serverVersionNumber: 180001,
    clientVersion: 'pg_basebackup (PostgreSQL) 18.1',
    format: 'tar',
    walMethod: 'stream',
    compression: 'client-zstd',
    tablespaces: [],
    bootstrapSuperuser: 'postgres',
    requiredSettings: null,
    selfContained: true,
    fromStandby: false,
    dataChecksums: true,
    libcVersion: '2.36',
    preloadLibraries: [],
    collations: null,
    dataSizeBytes: 1000,
    sizeBytes: described.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0),
    files: described,
    warnings: [],
  };
}

/** A finished backup on disk, below `root` if given; removed after the test. */
export function backupOf(name: string, files: Files = someFiles, root = tmpdir()): LocalBackup {
  const path = mkdtempSync(join(root, 'backup-'));
  onTestFinished(() => rmSync(path, {recursive: true}));
  for (const [fileName, content] of Object.entries(files)) writeFileSync(join(path, fileName), content);
  return {name, directory: path, filesDirectory: path, metadata: metadataOf(name, files)};
}
