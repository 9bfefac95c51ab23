import type {Metadata} from '../../src/backup-set/metadata.js';

/** A version that no machine has. */
const major = 99;

/** Of a backup that was never taken, of a server of that version. */
export const madeUpMetadata: Metadata = {
  schemaVersion: 1,
  name: 'nightly',
  label: 'nightly',
  startedAt: '2026-11-22T02:17:00.000Z',
  finishedAt: '2026-11-22T02:18:00.000Z',
  durationSeconds: 60,
  startLsn: '0/2000028',
  endLsn: '0/2000120',
  timeline: 1,
  systemIdentifier: '7000000000000000001',
  serverVersion: `${major}.1`,
  serverVersionNumber: major * 10_000 + 1,
  clientVersion: `pg_basebackup (PostgreSQL) ${major}.1`,
  format: 'tar',
  walMethod: 'stream',
  compression: 'none',
  tablespaces: [],
  bootstrapSuperuser: 'postgres',
  requiredSettings: null,
  selfContained: true,
  fromStandby: false,
  dataChecksums: null,
  collations: null,
  libcVersion: null,
  preloadLibraries: null,
  dataSizeBytes: 1,
  sizeBytes: 0,
  files: [],
  warnings: [],
};
