import type {Manifest} from './manifest.js';

/** Bytes of a database or a tablespace in a backup, before compression. */
export interface Share {
  readonly oid: string;
  /** Null where the role could not see it. */
  readonly name: string | null;
  readonly sizeBytes: number;
}

/** How a backup's data are divided, as the manifest adds them up; largest first. */
export interface Sizes {
  readonly databases: readonly Share[];
  /** `pg_default` has all that is in no other one. */
  readonly tablespaces: readonly Share[];
}

/** A name by its oid. */
export type Names = ReadonlyMap<string, string>;

/** Oids of the tablespaces that every cluster has (pg_tablespace.dat). */
const defaultTablespace = '1663';
const globalTablespace = '1664';

/**
 * Adds up the files of a manifest by database and by tablespace (PostgreSQL manual, "Database File Layout"). What is
 * in no database (shared catalogs, WAL status) counts for a tablespace alone.
 */
export function sizesOf({files}: Pick<Manifest, 'files'>, databaseNames: Names): Sizes {
  const databases = new Map<string, number>();
  const tablespaces = new Map<string, number>();
  const add = (map: Map<string, number>, oid: string, bytes: number) =>
    map.set(oid, (map.get(oid) ?? 0) + bytes);
  for (const {path, sizeBytes} of files.values()) {
    const [, space, inSpace] = /^pg_tblspc\/(\d+)\/PG_[^/]+\/(\d+)\//.exec(path) ?? [];
    const database = inSpace ?? /^base\/(\d+)\//.exec(path)?.[1];
    if (database !== undefined) add(databases, database, sizeBytes);
    add(tablespaces, space ?? (path.startsWith('global/') ? globalTablespace : defaultTablespace), sizeBytes);
  }
  const names = new Map([
    [defaultTablespace, 'pg_default'],
    [globalTablespace, 'pg_global'],
  ]);
  return {databases: sharesOf(databases, databaseNames), tablespaces: sharesOf(tablespaces, names)};
}

function sharesOf(bytes: ReadonlyMap<string, number>, names: Names): readonly Share[] {
  return [...bytes]
    .map(([oid, sizeBytes]) => ({oid, name: names.get(oid) ?? null, sizeBytes}))
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes);
}
