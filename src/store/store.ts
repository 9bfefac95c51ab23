import type {Catalog, CatalogEntry, Leftover} from '../backup-set/catalog.js';
import type {BackupFile, Metadata, ParentLink} from '../backup-set/metadata.js';
import type {Evidence} from '../backup-set/proof-file.js';
import type {ReportFiles} from '../backup-set/report-file.js';
import type {BackupSource} from '../backup-set/source.js';
import type {Wanted} from './choose.js';

/** A finished backup on this runner's disk. */
export interface LocalBackup {
  readonly name: string;
  /** Where it stays; the metadata file is beside it, not in it. */
  readonly directory: string;
  /** Holds the files that `metadata.files` names; another than `directory` for a plain backup packed to travel. */
  readonly filesDirectory: string;
  readonly metadata: Metadata;
}

/** Where a stored backup can be seen: what the outputs `artifact-*` tell. */
export interface StoredBackup {
  /** For people: `directory backups/…`, `artifacts of run 42`. */
  readonly location: string;
  readonly artifactId?: string;
  readonly artifactUrl?: string;
  readonly artifactDigest?: string;
}

/** A stored backup that was found, before its files are read. */
export interface FoundBackup {
  readonly name: string;
  readonly location: string;
  /** Undefined when somebody made the backup by hand with pg_basebackup. */
  readonly metadata?: Metadata;
  /** SHA-256 of the metadata file as it is stored, lower-case hexadecimal; a proof refers to it. */
  readonly metadataSha256?: string;
  /** The text of that file; an attestation is about it. */
  readonly metadataText?: string;
  /** Where its files can be read as they are; undefined where they have to be copied to this runner first. */
  readonly source?: BackupSource;
  /** Bytes that lie on this runner's disk at most while its files are read, where they come to it by `fetch`. */
  readonly fetchedBytes?: number;
  /** Makes the files readable; what it had to copy lies under `scratchDirectory`. */
  fetch(scratchDirectory: string): Promise<FetchedBackup>;
  /**
   * Brings one of the files that its metadata name into a directory that exists, and returns its path there. Throws a
   * UserError when it is not there as it was stored.
   */
  fetchFile(file: BackupFile, directory: string): Promise<string>;
}

/** A backup whose files can be read. */
export interface FetchedBackup {
  readonly name: string;
  readonly location: string;
  readonly source: BackupSource;
  readonly metadata?: Metadata;
  readonly metadataSha256?: string;
}

/** Who can read artifacts: everybody, those who may read the repository, or nobody could tell. */
export type Exposure = 'public' | 'private' | 'unknown';
/** What is known of a backup that is still to be made. */
export interface Expected {
  readonly name: string;
  /** No file of it will be larger. */
  readonly mostBytes: number;
  /** An empty directory for what has to lie on the disk, where anything has. */
  readonly partsDirectory: string;
}

/** How a store takes backups while they are made. */
export interface Receiving {
  /** A backup of no more data is whole before it is stored, and stays on the runner; undefined: none is. */
  readonly aboveBytes?: number;
  /** What the store itself may have on the disk at a time. */
  readonly diskBytes: number;
  /** A backup must not have more; undefined: any. */
  readonly mostBytes?: number;
  /** Begins to store a backup. Throws a UserError when it cannot. */
  begin(expected: Expected): Promise<Receiver>;
}

/** Takes a backup while it is being made. */
export interface Receiver {
  /**
   * Takes a file to its end, several at the same time, and returns what arrived. A rejection of `bytes` is passed on.
   * Throws a UserError when the file is not stored whole.
   */
  put(name: string, bytes: AsyncIterable<Buffer>): Promise<BackupFile>;
  /** Stores the metadata, and with it the backup begins to exist. Throws a UserError when that fails. */
  finish(metadata: Metadata): Promise<StoredBackup>;
  /** Removes all that was put; what cannot be removed is a warning. */
  abandon(): Promise<void>;
}

/** Where backups are kept. Chosen once, in `main`. */
export interface Store {
  /** False where a plain-format backup must travel as tar archives. */
  readonly takesDirectories: boolean;
  /** The largest file that can be stored; undefined: any. */
  readonly largestFileBytes?: number;
  /** Who could read what is stored here in plain text; absent where the user decides that. */
  readonly exposure?: () => Promise<Exposure>;
  /** Throws a UserError when a backup of this name cannot be stored, before any work is done. */
  checkName(name: string): Promise<void>;
  /** Absent where a backup must be whole before it is stored. */
  readonly receiving?: Receiving;
  /** Stores every file, the metadata last. Throws a UserError when anything is not stored whole. */
  save(backup: LocalBackup): Promise<StoredBackup>;
  /**
   * Finds a backup by exact name, by a pattern with `*` and `?` (the newest that matches), the newest of all
   * (`latest`), or the newest whose restore was proven (`latest-verified`); where a time is given, the newest of them
   * that was finished by then (choose.ts). Throws a UserError that lists what is there when nothing fits.
   */
  find(wanted: Wanted): Promise<FoundBackup>;
  /**
   * Finds the backup that an incremental one builds on; whether it is that one still, who asks compares (chain.ts).
   * Throws a UserError when there is none of that name.
   */
  findParent(link: Pick<ParentLink, 'name' | 'id'>): Promise<FoundBackup>;
  /**
   * Lists every complete backup, with the best of the proofs beside it. What a metadata file tells never changes, so a
   * store for which each is a request asks for those alone that it has not seen (catalog-facts.ts): listing 1,000
   * backups costs a few requests. Throws a UserError when it cannot be known what is there; a metadata file that is
   * not understood is one of `unreadable`.
   */
  list(): Promise<Catalog>;
  /**
   * What there is besides, for the trend in a report; absent where it would cost requests. What cannot be read is left
   * out, and nothing is told of it.
   */
  readonly history?: () => Promise<readonly CatalogEntry[]>;
  /**
   * Removes a backup that was listed. The metadata go first, in one step that leaves a mark by which the rest is known
   * as ours: no half backup is ever listed, and an interruption makes a leftover. One that is gone already is none
   * the worse. Throws a UserError when something of it is left.
   */
  remove(entry: CatalogEntry): Promise<void>;
  /** Removes a leftover that was listed, unless it is a backup again. Throws a UserError when something is left. */
  removeLeftover(leftover: Leftover): Promise<void>;
  /**
   * Stores `<backup-name>.proof.json`, unless there is a proof that says more of the same backup; damage in any case.
   * Returns what was stored (proof-file.ts, successor); undefined: nothing.
   */
  saveProof(evidence: Evidence): Promise<Evidence | undefined>;
  /**
   * Stores small files beside a backup, text by name, in the place of older ones: `<backup-name>.<mode>.report.html`
   * (backup-set/report-file.ts). Throws a UserError when one is not stored.
   */
  saveReport(files: ReportFiles): Promise<void>;
}
