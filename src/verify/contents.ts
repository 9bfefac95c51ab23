import {type BackupLabel, parseBackupLabel, requireFull} from '../backup-set/backup-label.js';
import {lsnPosition, type Manifest} from '../backup-set/manifest.js';
import type {Metadata, ParentLink} from '../backup-set/metadata.js';
import {readTablespaceMap} from '../backup-set/tablespace-map.js';
import type {ContentSink} from '../backup-set/tar.js';
import type {Problems} from './problems.js';

/** A backup_label has some hundred bytes; nobody makes a tablespace_map this long. */
const mostBytes = 1 << 20;

const kept = ['PG_VERSION', 'backup_label', 'tablespace_map', 'global/pg_control'] as const;

/** The small files of a backup that are not only compared but understood. */
export class Contents {
  readonly #pieces = new Map<string, Buffer[]>();

  /** Returns what keeps a file's content besides what else is done with it. */
  keep(path: string, sizeBytes: number, sink: ContentSink | undefined): ContentSink | undefined {
    if (!kept.some((name) => name === path) || sizeBytes > mostBytes) return sink;
    const pieces: Buffer[] = [];
    this.#pieces.set(path, pieces);
    return {
      write: (bytes) => {
        pieces.push(Buffer.from(bytes));
        sink?.write(bytes);
      },
      end: () => sink?.end(),
    };
  }

  /** The bytes of a file; undefined when it was not found. */
  bytes(name: (typeof kept)[number]): Buffer | undefined {
    const pieces = this.#pieces.get(name);
    return pieces && Buffer.concat(pieces);
  }

  /** The text of a file. */
  text(name: (typeof kept)[number]): string | undefined {
    return this.bytes(name)?.toString('utf8');
  }

  /** The major version that made the cluster. */
  get major(): number | undefined {
    const version = Number(this.text('PG_VERSION')?.trim());
    return Number.isInteger(version) ? version : undefined;
  }

  /** Whether `pg_control` is of a machine with the high byte first: its version is a small number (PG_CONTROL_VERSION). */
  get isBigEndian(): boolean {
    const control = this.bytes('global/pg_control');
    if (!control || control.length < 12) return false;
    return control.readUInt32BE(8) < 1 << 16 && control.readUInt32LE(8) >= 1 << 16;
  }

  /** The first field of `pg_control` (pg_control.h, ControlFileData). */
  get systemIdentifier(): string | undefined {
    const control = this.bytes('global/pg_control');
    return control && control.length >= 8 ? control.readBigUInt64LE(0).toString() : undefined;
  }
}

/** What the small files of a backup are compared with. */
export interface Expected {
  readonly manifest: Manifest;
  readonly metadata: Metadata | undefined;
  /** The tablespaces whose files are there. */
  readonly tablespaces: readonly string[];
}

/** Compares what the small files say with each other, with manifest and metadata. */
export async function checkContents(
  contents: Contents,
  {manifest, metadata, tablespaces}: Expected,
  problems: Problems,
): Promise<void> {
  await checkLabel(contents, {manifest, metadata}, problems);
  checkIdentifiers(contents.systemIdentifier, {manifest, metadata}, problems);
  const map = contents.text('tablespace_map');
  // A plain backup has links instead, also when it travelled as archives.
  if (map === undefined) return;
  const mapped = [...readTablespaceMap(map).keys()];
  for (const oid of mapped.filter((one) => !tablespaces.includes(one)))
    problems.add(`tablespace ${oid}`, 'it is missing, and tablespace_map names it');
  for (const oid of tablespaces.filter((one) => !mapped.includes(one)))
    problems.add(`tablespace ${oid}`, 'it is there, but tablespace_map does not name it');
}

async function checkLabel(
  contents: Contents,
  {manifest: {walRanges, startLsn}, metadata}: Pick<Expected, 'manifest' | 'metadata'>,
  problems: Problems,
): Promise<void> {
  const text = contents.text('backup_label');
  // The manifest of every backup lists it; a server that starts without it runs on corrupt data.
  if (text === undefined) return problems.add('backup_label', 'it is missing');
  const label = await problems.collect(() => parseBackupLabel(text));
  if (!label) return undefined;
  await checkBase(label, metadata?.parent, problems);
  const first = walRanges.find((range) => range.startLsn === startLsn);
  if (lsnPosition(label.startLsn) !== lsnPosition(startLsn) || label.timeline !== first?.timeline)
    problems.add(
      'backup_label',
      `recovery starts at ${label.startLsn} of timeline ${label.timeline}, but by backup_manifest at ${startLsn} of timeline ${first?.timeline}`,
    );
  return undefined;
}

/** The metadata name what an incremental backup builds on, and its own label where that one starts. */
async function checkBase(
  label: BackupLabel,
  parent: ParentLink | undefined,
  problems: Problems,
): Promise<void> {
  const {incrementalFrom: from} = label;
  if (parent === undefined) await problems.collect(() => requireFull(label));
  else if (from === undefined)
    problems.add('backup_label', `it is of a full backup, but by the metadata it builds on ${parent.name}`);
  else if (lsnPosition(from.startLsn) !== lsnPosition(parent.startLsn) || from.timeline !== parent.timeline)
    problems.add(
      'backup_label',
      `it builds on a backup that starts at ${from.startLsn} of timeline ${from.timeline}, but by the metadata on ${parent.name}, which starts at ${parent.startLsn} of timeline ${parent.timeline}`,
    );
}

function checkIdentifiers(
  ofControl: string | undefined,
  {manifest, metadata}: Pick<Expected, 'manifest' | 'metadata'>,
  problems: Problems,
): void {
  if (ofControl === undefined) return;
  const others = [
    ['backup_manifest', manifest.systemIdentifier],
    ['the metadata', metadata?.systemIdentifier],
  ] as const;
  for (const [source, identifier] of others)
    if (identifier !== undefined && identifier !== ofControl)
      problems.add(
        'global/pg_control',
        `the system identifier in it is ${ofControl}, but ${identifier} in ${source}`,
      );
}
