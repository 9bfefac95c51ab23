/** The directory of each extracted tablespace, by oid. */
export type TablespaceDirectories = ReadonlyMap<string, string>;

/**
 * Reads a `tablespace_map`: a line `<oid> <path>` for each tablespace, with backslashes before line breaks and
 * backslashes of a path (xlog.c, do_pg_backup_start; xlogrecovery.c, read_tablespace_map).
 */
export function readTablespaceMap(text: string): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const [, oid = '', path = ''] of text.matchAll(/^(\d+) ((?:[^\\\n\r]|\\[\s\S])+)$/gm)) {
    map.set(oid, path.replaceAll(/\\([\s\S])/g, '$1'));
  }
  return map;
}

/** Writes a `tablespace_map`, which PostgreSQL turns into links when it starts on a backup. */
export function formatTablespaceMap(map: ReadonlyMap<string, string>): string {
  return [...map].map(([oid, path]) => `${oid} ${path.replaceAll(/[\\\n\r]/g, '\\$&')}\n`).join('');
}
