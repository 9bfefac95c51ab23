import {mkdir, readdir, readlink} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import type {Command, Host} from '../host/host.js';

/** The directories of tablespaces in a plain backup, by oid: what the links in `pg_tblspc` lead to. */
export async function plainTablespaces(directory: string): Promise<ReadonlyMap<string, string>> {
  const links = join(directory, 'pg_tblspc');
  const found = new Map<string, string>();
  for (const oid of await readdir(links).catch(() => [])) {
    // In-place tablespaces are directories; they travel with the data directory.
    const target = await readlink(join(links, oid)).catch(() => undefined);
    if (target !== undefined && /^\d+$/.test(oid)) found.set(oid, resolve(links, target));
  }
  return found;
}

/**
 * The command that writes a plain data directory as a tar stream, in the layout of `base.tar`: without the links to
 * `tablespaces`, whose files are written apart.
 */
export function tarOfData(
  directory: string,
  tablespaces: Iterable<string>,
  options: readonly string[] = [],
): Command {
  const links = [...tablespaces].map((oid) => `--exclude=./pg_tblspc/${oid}`);
  return tarOf(directory, ['--anchored', '--no-wildcards', ...links, ...options]);
}

/** The command that writes a tablespace's directory as a tar stream, in the layout of `<oid>.tar`. */
export function tarOfTablespace(directory: string, options: readonly string[] = []): Command {
  return tarOf(directory, options);
}

/** GNU's format, because pax headers would be noise to other readers; owners are set by who extracts. */
function tarOf(directory: string, options: readonly string[]): Command {
  return {program: 'tar', args: ['--create', '--format=gnu', `--directory=${directory}`, ...options, '.']};
}

/**
 * Packs a plain backup into tar archives for a store that keeps files and no directories: `base.tar.zst` and
 * `<oid>.tar.zst` (`.gz` where the runner has no zstd), restorable like a tar backup. `target` must not exist.
 */
export async function packPlain(host: Host, directory: string, target: string): Promise<void> {
  await mkdir(target, {mode: 0o700});
  const zstd = (await host.findOnPath('zstd')) !== undefined;
  const suffix = zstd ? 'tar.zst' : 'tar.gz';
  const compress = (name: string) => [
    `--file=${join(target, `${name}.${suffix}`)}`,
    zstd ? '--use-compress-program=zstd -1 -T0' : '--gzip',
  ];
  const tablespaces = await plainTablespaces(directory);
  await host.run(tarOfData(directory, tablespaces.keys(), compress('base')));
  for (const [oid, path] of tablespaces) await host.run(tarOfTablespace(path, compress(oid)));
}
