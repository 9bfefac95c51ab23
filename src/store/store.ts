import type {Metadata} from '../backup-set/metadata.js';

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

/** A stored backup that was found, before its files are here. */
export interface FoundBackup {
  readonly name: string;
  readonly location: string;
  /** Undefined when somebody made the backup by hand with pg_basebackup. */
  readonly metadata?: Metadata;
  /** Brings the files to this runner; what it had to copy lies under `scratchDirectory`. */
  fetch(scratchDirectory: string): Promise<FetchedBackup>;
}

/** A backup whose files are on this runner. */
export interface FetchedBackup {
  readonly name: string;
  readonly location: string;
  readonly directory: string;
  readonly metadata?: Metadata;
}

/** Where backups are kept. Chosen once, in `main`. */
export interface Store {
  /** False where a plain-format backup must travel as tar archives. */
  readonly takesDirectories: boolean;
  /** Throws a UserError when a backup of this name cannot be stored, before any work is done. */
  checkName(name: string): Promise<void>;
  /** Stores every file, the metadata last. Throws a UserError when anything is not stored whole. */
  save(backup: LocalBackup): Promise<StoredBackup>;
  /**
   * Finds a backup by exact name, by a pattern with `*` and `?` (the newest that matches), or the newest of all
   * (`latest`). Throws a UserError that lists what is there when nothing fits.
   */
  find(wanted: string): Promise<FoundBackup>;
}
