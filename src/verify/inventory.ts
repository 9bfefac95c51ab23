import type {Checksums} from '../backup-set/checksum.js';
import type {Manifest, ManifestFile} from '../backup-set/manifest.js';
import {type ContentSink, shownName} from '../backup-set/tar.js';
import type {Problems} from './problems.js';

/**
 * What pg_verifybackup leaves out of its comparison (pg_verifybackup.c, main): WAL is verified apart, and the others
 * may be written after the backup, as by `pg_basebackup --write-recovery-conf`.
 */
const ignored = [
  'backup_manifest',
  'pg_wal',
  'postgresql.auto.conf',
  'recovery.signal',
  'standby.signal',
] as const;

/** Whether a path, or a directory that it is in, is not compared with the manifest. */
export function isIgnored(path: string): boolean {
  return ignored.some((name) => path === name || path.startsWith(`${name}/`));
}

/** Compares the files of a backup with its manifest: names, sizes, checksums. */
export class Inventory {
  readonly #files: Manifest['files'];
  readonly #checksums: Checksums;
  readonly #problems: Problems;
  readonly #seen = new Set<string>();
  /** Bytes of the files that were compared. */
  bytes = 0;

  constructor(
    {files}: Manifest,
    {checksums, problems}: {readonly checksums: Checksums; readonly problems: Problems},
  ) {
    this.#files = files;
    this.#checksums = checksums;
    this.#problems = problems;
  }

  /** How many files were found. */
  get count(): number {
    return this.#seen.size;
  }

  /** Notes a file, and returns what compares its content; undefined: nothing more can be known of it. */
  open(path: string, sizeBytes: number): ContentSink | undefined {
    if (isIgnored(path)) return undefined;
    const shown = shownName(path);
    const file = this.#files.get(path);
    if (!file) {
      this.#problems.add(shown, 'it is there, but backup_manifest does not list it');
      return undefined;
    }
    if (this.#seen.has(path)) this.#problems.add(shown, 'it is there twice');
    this.#seen.add(path);
    this.bytes += sizeBytes;
    if (sizeBytes !== file.sizeBytes) {
      this.#problems.add(shown, `it has ${sizeBytes} bytes, but ${file.sizeBytes} in backup_manifest`);
      return undefined;
    }
    return this.#compare(shown, file);
  }

  #compare(shown: string, {algorithm, checksum: listed}: ManifestFile): ContentSink | undefined {
    if (algorithm === 'NONE') return undefined;
    const checksum = this.#checksums(algorithm);
    return {
      write: (bytes) => checksum.update(bytes),
      end: () => {
        const found = checksum.digest();
        if (found !== listed)
          this.#problems.add(shown, `its ${algorithm} is ${found}, but ${listed} in backup_manifest`);
      },
    };
  }

  /** The paths of files that the manifest lists and that were not found. */
  missing(): readonly string[] {
    return [...this.#files.keys()].filter((path) => !this.#seen.has(path) && !isIgnored(path));
  }
}
