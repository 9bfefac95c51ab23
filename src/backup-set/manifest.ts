import {damaged} from './digest.js';

/** What we use of a `backup_manifest` (PostgreSQL manual, "Backup Manifest Format"; versions 1 and 2). */
export interface Manifest {
  /** Bytes of all files of the cluster, tablespaces included, without WAL. */
  readonly dataSizeBytes: number;
  readonly fileCount: number;
  readonly timeline: number;
  readonly startLsn: string;
  readonly endLsn: string;
  /** Seconds precision; undefined when the manifest lists no backup_label. */
  readonly takenAt?: Date;
}

interface ManifestText {
  readonly Files: readonly {
    readonly Path?: string;
    readonly Size: number;
    readonly 'Last-Modified'?: string;
  }[];
  readonly 'WAL-Ranges': readonly {
    readonly Timeline: number;
    readonly 'Start-LSN': string;
    readonly 'End-LSN': string;
  }[];
}

/** Reads a `backup_manifest`. Throws a UserError when it is cut or is not one. */
export function parseManifest(text: string): Manifest {
  const {Files: files, 'WAL-Ranges': ranges} = readJson(text);
  const [first, last] = [ranges[0], ranges.at(-1)];
  if (!first || !last) throw damaged('backup_manifest', 'it names no range of WAL');
  const label = files.find((file) => file.Path === 'backup_label')?.['Last-Modified'];
  return {
    dataSizeBytes: files.reduce((sum, file) => sum + file.Size, 0),
    fileCount: files.length,
    // The ranges of a backup that saw a promotion are listed with the newest timeline first.
    timeline: Math.max(first.Timeline, last.Timeline),
    startLsn: smallest(ranges.map((range) => range['Start-LSN'])),
    endLsn: largest(ranges.map((range) => range['End-LSN'])),
    ...(label !== undefined && {takenAt: new Date(label)}),
  };
}

function readJson(text: string): ManifestText {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged('backup_manifest', 'it is not complete JSON');
  }
  if (!isManifestText(value)) throw damaged('backup_manifest', 'it lacks Files or WAL-Ranges');
  return value;
}

function isManifestText(value: unknown): value is ManifestText {
  const {Files: files, 'WAL-Ranges': ranges} = (value ?? {}) as Partial<Record<string, unknown>>;
  return (
    Array.isArray(files) &&
    files.every((file) => Number.isSafeInteger(file?.Size)) &&
    Array.isArray(ranges) &&
    ranges.every(
      (range) =>
        isLsn(range?.['Start-LSN']) && isLsn(range?.['End-LSN']) && Number.isInteger(range?.Timeline),
    )
  );
}

const isLsn = (value: unknown) => typeof value === 'string' && /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i.test(value);

/** The byte position that an LSN such as `0/2000028` stands for. */
export function lsnPosition(lsn: string): bigint {
  const [high = '0', low = '0'] = lsn.split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

const smallest = (lsns: readonly string[]) =>
  lsns.reduce((a, b) => (lsnPosition(b) < lsnPosition(a) ? b : a));
const largest = (lsns: readonly string[]) => lsns.reduce((a, b) => (lsnPosition(b) > lsnPosition(a) ? b : a));
