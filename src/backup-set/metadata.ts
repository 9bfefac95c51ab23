import {UserError} from '../errors.js';
import type {Collation, Tablespace} from '../postgres/facts.js';
import {problemOfName} from './naming.js';

/** One file of a backup as it is stored. */
export interface BackupFile {
  /** Relative to the backup's directory, with `/`: `base.tar.zst`. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/**
 * What we know of a backup: `<directory>/<backup-name>.json`. It is stored last, on every storage; a backup of
 * ours without it does not exist. Null marks what the role was not allowed
 * to see; tablespaces are then empty.
 */
export interface Metadata {
  readonly schemaVersion: 1;
  readonly name: string;
  readonly label: string;
  /** ISO 8601 in UTC. */
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly durationSeconds: number;
  readonly startLsn: string;
  readonly endLsn: string;
  readonly timeline: number;
  /** A 64-bit number, as text. */
  readonly systemIdentifier: string;
  /** `15.18 (Debian 15.18-0+deb12u1)` */
  readonly serverVersion: string;
  /** `150018` */
  readonly serverVersionNumber: number;
  /** `pg_basebackup (PostgreSQL) 15.18` */
  readonly clientVersion: string;
  readonly format: 'tar' | 'plain';
  readonly walMethod: 'stream' | 'fetch' | 'none';
  /** In the syntax of `pg_basebackup --compress`, or `pigz`. */
  readonly compression: string;
  readonly tablespaces: readonly Tablespace[];
  readonly bootstrapSuperuser: string | null;
  /** Settings that recovery on a hot standby must not undercut, by name. */
  readonly requiredSettings: Readonly<Record<string, string>> | null;
  /** Whether the backup carries all WAL that it needs. */
  readonly selfContained: boolean;
  readonly fromStandby: boolean;
  readonly dataChecksums: boolean | null;
  readonly collations: readonly Collation[] | null;
  /** Bytes of the cluster's files before compression, as the manifest adds them up. */
  readonly dataSizeBytes: number;
  /** Bytes of all `files`. */
  readonly sizeBytes: number;
  readonly files: readonly BackupFile[];
  /** What pg_basebackup warned of, such as special files that it skipped. */
  readonly warnings: readonly string[];
}

/** The metadata file's text. */
export function formatMetadata(metadata: Metadata): string {
  return `${JSON.stringify(metadata, null, 2)}\n`;
}

/** Reads a metadata file. Throws a UserError that names `source` when it is not one that we understand. */
export function parseMetadata(text: string, source: string): Metadata {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(source, 'it is not JSON', cause);
  }
  if (!isRecord(value)) throw damaged(source, 'it is not a JSON object');
  if (value.schemaVersion !== 1) {
    throw new UserError(
      `${source} has schemaVersion ${JSON.stringify(value.schemaVersion)}; this version of the action reads 1.`,
      'Restore with the version of the action that made the backup, or with a newer one.',
    );
  }
  const wrong = Object.entries(shape).filter(([key, isRight]) => !isRight(value[key]));
  if (wrong.length > 0)
    throw damaged(source, `these fields are missing or wrong: ${wrong.map(([key]) => key).join(', ')}`);
  return value as unknown as Metadata;
}

type Check = (value: unknown) => boolean;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText: Check = (value) => typeof value === 'string';
const isCount: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isSeconds: Check = (value) => typeof value === 'number' && value >= 0;
const isFlag: Check = (value) => typeof value === 'boolean';
const isLsn: Check = (value) => typeof value === 'string' && /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/.test(value);
const isTime: Check = (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value));
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const oneOf =
  (...allowed: string[]): Check =>
  (value) =>
    allowed.includes(String(value));
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const record =
  (fields: Record<string, Check>): Check =>
  (value) =>
    isRecord(value) && Object.entries(fields).every(([key, check]) => check(value[key]));

const isFile = record({
  name: (value) => isText(value) && isInside(String(value)),
  sizeBytes: isCount,
  sha256: (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value),
});

const shape: Record<Exclude<keyof Metadata, 'schemaVersion'>, Check> = {
  name: (value) => typeof value === 'string' && problemOfName(value) === undefined,
  label: isText,
  startedAt: isTime,
  finishedAt: isTime,
  durationSeconds: isSeconds,
  startLsn: isLsn,
  endLsn: isLsn,
  timeline: isCount,
  systemIdentifier: isText,
  serverVersion: isText,
  serverVersionNumber: isCount,
  clientVersion: isText,
  format: oneOf('tar', 'plain'),
  walMethod: oneOf('stream', 'fetch', 'none'),
  compression: isText,
  tablespaces: listOf(
    record({oid: (value) => /^\d+$/.test(String(value)), path: isText, sizeBytes: orNull(isCount)}),
  ),
  bootstrapSuperuser: orNull(isText),
  requiredSettings: orNull((value) => isRecord(value) && Object.values(value).every(isText)),
  selfContained: isFlag,
  fromStandby: isFlag,
  dataChecksums: orNull(isFlag),
  collations: orNull(listOf(record({database: isText, collate: isText, version: orNull(isText)}))),
  dataSizeBytes: isCount,
  sizeBytes: isCount,
  files: listOf(isFile),
  warnings: listOf(isText),
};

/** A metadata file may come from a stranger: its file names must not lead out of the backup. */
function isInside(name: string): boolean {
  return (
    !name.startsWith('/') &&
    !name.includes('\0') &&
    !name.split('/').some((part) => part === '..' || part === '')
  );
}

function damaged(source: string, reason: string, cause?: unknown): UserError {
  return new UserError(
    `${source} is not a backup's metadata file: ${reason}.`,
    'Restore another backup, or delete that file to restore this one without its metadata.',
    {cause},
  );
}
