import {createHash} from 'node:crypto';
import {damaged} from './digest.js';
import {type ManifestFile, readManifestFile} from './manifest-file.js';

export type {ManifestFile} from './manifest-file.js';

/** A stretch of WAL that a backup needs, on one timeline. */
export interface WalRange {
  readonly timeline: number;
  readonly startLsn: string;
  readonly endLsn: string;
}

/** What a `backup_manifest` tells (PostgreSQL manual, "Backup Manifest Format"; versions 1 and 2). */
export interface Manifest {
  /** Bytes of all files of the cluster, tablespaces included, without WAL. */
  readonly dataSizeBytes: number;
  readonly fileCount: number;
  readonly timeline: number;
  readonly startLsn: string;
  readonly endLsn: string;
  /** Seconds precision; undefined when the manifest does not tell when its backup_label was written. */
  readonly takenAt?: Date;
  /** A 64-bit number, as text; from version 17 on. */
  readonly systemIdentifier?: string;
  /** By path. */
  readonly files: ReadonlyMap<string, ManifestFile>;
  readonly walRanges: readonly WalRange[];
}

/**
 * Reads a `backup_manifest` as strictly as PostgreSQL does (parse_manifest.c), its own checksum included. Throws a
 * UserError that says what is wrong with it.
 */
export function parseManifest(text: string): Manifest {
  const {files: listed, ranges, systemIdentifier} = readFields(text);
  const files = new Map<string, ManifestFile>();
  for (const value of listed) {
    const file = readManifestFile(value);
    if (files.has(file.path)) throw wrong(`it lists ${JSON.stringify(file.path)} twice`);
    files.set(file.path, file);
  }
  const walRanges = ranges.map(readRange);
  const [first, last] = [walRanges[0], walRanges.at(-1)];
  if (!first || !last) throw wrong('it names no range of WAL');
  requireOwnChecksum(text);
  const takenAt = timeOf(files.get('backup_label')?.lastModified);
  return {
    dataSizeBytes: [...files.values()].reduce((sum, file) => sum + file.sizeBytes, 0),
    fileCount: files.size,
    // The ranges of a backup that saw a promotion are listed with the newest timeline first.
    timeline: Math.max(first.timeline, last.timeline),
    startLsn: smallest(walRanges.map((range) => range.startLsn)),
    endLsn: largest(walRanges.map((range) => range.endLsn)),
    ...(takenAt && {takenAt}),
    ...(systemIdentifier !== undefined && {systemIdentifier}),
    files,
    walRanges,
  };
}

const wrong = (reason: string) => damaged('backup_manifest', reason);

const versionField = 'PostgreSQL-Backup-Manifest-Version';
const topFields = [versionField, 'System-Identifier', 'Files', 'WAL-Ranges', 'Manifest-Checksum'];

interface Fields {
  readonly files: readonly unknown[];
  readonly ranges: readonly unknown[];
  readonly systemIdentifier?: string;
}

function readFields(text: string): Fields {
  const value = readJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong('it is not a JSON object');
  const fields = value as Partial<Record<string, unknown>>;
  const [first] = Object.keys(fields);
  if (first !== versionField) throw wrong(`it does not begin with its version, ${versionField}`);
  const version = fields[versionField];
  if (!Number.isInteger(version)) throw wrong('its version is not a whole number');
  if (version !== 1 && version !== 2)
    throw wrong(`its version is ${version}, which this version of the action does not know`);
  const strange = Object.keys(fields).find((name) => !topFields.includes(name));
  if (strange !== undefined) throw wrong(`it has a field ${JSON.stringify(strange)}, which no manifest has`);
  const systemIdentifier = fields['System-Identifier'];
  if (version === 2 && !/^\d{1,20}$/.test(String(systemIdentifier)))
    throw wrong('its System-Identifier is not a whole number');
  const list = (name: string): readonly unknown[] => {
    const items = fields[name] ?? [];
    if (!Array.isArray(items)) throw wrong(`its ${name} are not a list`);
    return items;
  };
  return {
    files: list('Files'),
    ranges: list('WAL-Ranges'),
    ...(version === 2 && {systemIdentifier: String(systemIdentifier)}),
  };
}

function readJson(text: string): unknown {
  try {
    // The identifier has 64 bits, of which a number of JavaScript's would keep 53. Within a string its name cannot
    // stand like this: the quotation marks would have backslashes.
    return JSON.parse(
      text.replace(/"System-Identifier"\s*:\s*\d+/, (field) => field.replace(/\d+$/, '"$&"')),
    );
  } catch {
    throw wrong('it is not complete JSON');
  }
}

function readRange(value: unknown): WalRange {
  const fields = (value ?? {}) as Partial<Record<string, unknown>>;
  const strange = Object.keys(fields).find((name) => !['Timeline', 'Start-LSN', 'End-LSN'].includes(name));
  if (strange !== undefined)
    throw wrong(`a WAL range has a field ${JSON.stringify(strange)}, which none has`);
  const {Timeline: timeline, 'Start-LSN': startLsn, 'End-LSN': endLsn} = fields;
  for (const [name, field] of Object.entries({Timeline: timeline, 'Start-LSN': startLsn, 'End-LSN': endLsn}))
    if (field === undefined) throw wrong(`a WAL range lacks ${name}`);
  if (!Number.isInteger(timeline) || Number(timeline) < 1 || Number(timeline) > 0xffffffff)
    throw wrong('the Timeline of a WAL range is not a timeline');
  if (!isLsn(startLsn)) throw wrong('the Start-LSN of a WAL range is not an LSN');
  if (!isLsn(endLsn)) throw wrong('the End-LSN of a WAL range is not an LSN');
  if (lsnPosition(endLsn) < lsnPosition(startLsn)) throw wrong('a WAL range ends before it starts');
  return {timeline: Number(timeline), startLsn, endLsn};
}

const isLsn = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i.test(value);

/** The last line holds the SHA-256 of all that stands before it (parse_manifest.c, verify_manifest_checksum). */
function requireOwnChecksum(text: string): void {
  if (!text.endsWith('\n')) throw wrong('its last line has no end: it was cut');
  const lastLine = text.lastIndexOf('\n', text.length - 2) + 1;
  if (lastLine === 0) throw wrong('it has one line only, and its checksum stands in a line of its own');
  const recorded = /^"Manifest-Checksum": ?"([0-9a-fA-F]{64})"\s*\}\s*$/.exec(text.slice(lastLine).trim());
  if (!recorded?.[1]) throw wrong('its last line is not its own checksum, Manifest-Checksum');
  const found = createHash('sha256').update(text.slice(0, lastLine)).digest('hex');
  if (found !== recorded[1].toLowerCase())
    throw wrong(`its own checksum is ${recorded[1]}, but its text has ${found}: it was changed`);
}

/** Undefined for what is no time: PostgreSQL reads it as any text (parse_manifest.c). */
function timeOf(text: string | undefined): Date | undefined {
  const time = new Date(text ?? Number.NaN);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** The byte position that an LSN such as `0/2000028` stands for. */
export function lsnPosition(lsn: string): bigint {
  const [high = '0', low = '0'] = lsn.split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

/** A byte position as an LSN. */
export function formatLsn(position: bigint): string {
  return [position >> 32n, position & 0xffffffffn].map((half) => half.toString(16).toUpperCase()).join('/');
}

const smallest = (lsns: readonly string[]) =>
  lsns.reduce((a, b) => (lsnPosition(b) < lsnPosition(a) ? b : a));
const largest = (lsns: readonly string[]) => lsns.reduce((a, b) => (lsnPosition(b) > lsnPosition(a) ? b : a));
