import {createHash} from 'node:crypto';

/** The lines of a manifest ahead of its checksum, closed by that checksum as PostgreSQL does it. */
export function closeManifest(text: string): string {
  return `${text}"Manifest-Checksum": "${createHash('sha256').update(text).digest('hex')}"}\n`;
}

/** A `backup_manifest` of these files and WAL ranges, in PostgreSQL's layout. */
export function manifestText(
  files: readonly object[] = [],
  ranges: readonly object[] = [{Timeline: 1, 'Start-LSN': '0/2000028', 'End-LSN': '0/2000100'}],
  systemIdentifier?: string,
): string {
  const list = (items: readonly object[]) => items.map((item) => `${JSON.stringify(item)}`).join(',\n');
  const version = systemIdentifier === undefined ? 1 : 2;
  const identifier = systemIdentifier === undefined ? '' : `"System-Identifier": ${systemIdentifier},\n`;
  return closeManifest(
    `{ "PostgreSQL-Backup-Manifest-Version": ${version},\n${identifier}"Files": [\n${list(files)}\n],\n"WAL-Ranges": [\n${list(ranges)}\n],\n`,
  );
}

/** Changes a manifest and gives it a right checksum again, as somebody would who wants to hide it. */
export function changeManifest(text: string, change: (text: string) => string): string {
  return closeManifest(change(text.slice(0, text.lastIndexOf('"Manifest-Checksum"'))));
}
