import {UserError} from '../errors.js';
import type {Collation, Tablespace} from '../postgres/facts.js';
import {problemOfName} from './naming.js';
import type {Sizes} from './sizes.js';

/** One file of a backup as it is stored. */
export interface BackupFile {
  /** Relative to the backup's directory, with `/`: `base.tar.zst`. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  /** The artifacts that it was cut into, in their order (file-parts.ts); undefined: it is stored whole. */
  readonly parts?: readonly FilePart[];
}

/** A part of a file that is stored by itself. */
export type FilePart = Pick<BackupFile, 'sizeBytes' | 'sha256'>;

/** How the files of a backup are encrypted. */
export interface EncryptionFacts {
  /** age-encryption.org/v1 */
  readonly format: 'age';
  /** How many keys open each file; 0 where it is a passphrase. */
  readonly recipients: number;
  /** The fields of the metadata that are encrypted, too, as JSON in a file of that format, in base64. */
  readonly sealed: string;
}

/** The backup that an incremental one holds the changes since, and what it is known by again. */
export interface ParentLink {
  readonly name: string;
  /** What its store calls it (`CatalogEntry.id`); with artifacts this tells the run. */
  readonly id: string;
  /** SHA-256 of its `backup_manifest`, lower-case hexadecimal: another backup of the same name has another. */
  readonly manifestSha256: string;
  /** Where it starts: the changes since then are in the incremental backup. */
  readonly startLsn: string;
  /** The one that it starts on; it may have ended on a later one. */
  readonly timeline: number;
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
  /** The version of the source's C library, whose collations text is sorted by: `2.36`. */
  readonly libcVersion: string | null;
  readonly preloadLibraries: readonly string[] | null;
  /** Bytes of the cluster's files before compression, as the manifest adds them up. */
  readonly dataSizeBytes: number;
  /** How those bytes are divided; undefined in the first metadata files. */
  readonly sizes?: Sizes | undefined;
  /** Bytes of all `files`. */
  readonly sizeBytes: number;
  readonly files: readonly BackupFile[];
  /** How `files` are encrypted; undefined: they are not. */
  readonly encryption?: EncryptionFacts;
  /** What an incremental backup builds on; undefined: it is a full one. */
  readonly parent?: ParentLink;
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
  return {...unknownBefore, ...value} as unknown as Metadata;
}

/** Fields that the first metadata files do not have. */
const unknownBefore = {libcVersion: null, preloadLibraries: null} as const;

type Check = (value: unknown) => boolean;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText: Check = (value) => typeof value === 'string';
const isCount: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const isSeconds: Check = (value) => typeof value === 'number' && value >= 0;
const isFlag: Check = (value) => typeof value === 'boolean';
const isLsn: Check = (value) => typeof value === 'string' && /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/.test(value);
/** Whether a value is a time as text, such as `2026-11-22T01:00:00.000Z`. */
export const isTime: Check = (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value));
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const orAbsent =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
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

const isBase64: Check = (value) => typeof value === 'string' && /^[A-Za-z0-9+/]+={0,2}$/.test(value);

const isSha256: Check = (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
const isName: Check = (value) => typeof value === 'string' && problemOfName(value) === undefined;

const isFile = record({
  name: (value) => isText(value) && isInside(String(value)),
  sizeBytes: isCount,
  sha256: isSha256,
  parts: orAbsent(listOf(record({sizeBytes: isCount, sha256: isSha256}))),
});

const isParent = record({
  name: isName,
  id: isText,
  manifestSha256: isSha256,
  startLsn: isLsn,
  timeline: isCount,
});

const isShare = record({oid: isText, name: orNull(isText), sizeBytes: isCount});

const shape: Record<Exclude<keyof Metadata, 'schemaVersion'>, Check> = {
  name: isName,
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
  collations: orNull(
    listOf(record({database: isText, collate: isText, ctype: orAbsent(isText), version: orNull(isText)})),
  ),
  libcVersion: orAbsent(orNull(isText)),
  preloadLibraries: orAbsent(orNull(listOf(isText))),
  dataSizeBytes: isCount,
  sizes: orAbsent(record({databases: listOf(isShare), tablespaces: listOf(isShare)})),
  sizeBytes: isCount,
  files: listOf(isFile),
  encryption: orAbsent(record({format: oneOf('age'), recipients: isCount, sealed: isBase64})),
  parent: orAbsent(isParent),
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
