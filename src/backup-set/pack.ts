import {copyFile, readdir, readlink} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import type {Command, Host} from '../host/host.js';
import {manifestName} from './manifest-text.js';

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

/** An archive of a plain backup, and the command that writes it. */
export interface PackCommand {
  /** `base.tar.zst` */
  readonly name: string;
  readonly command: Command;
}

/**
 * The commands that pack a plain backup into tar archives: `base.tar.zst` and `<oid>.tar.zst` (`.gz` where the runner
 * has no zstd), restorable like a tar backup. They write to standard output, or to a file in `target`.
 */
export async function packCommands(
  host: Host,
  directory: string,
  target?: string,
): Promise<readonly PackCommand[]> {
  const zstd = (await host.findOnPath('zstd')) !== undefined;
  const nameOf = (stem: string) => `${stem}.${zstd ? 'tar.zst' : 'tar.gz'}`;
  const options = (name: string) => [
    // The manifest ahead of the files that it lists, and WAL in its order: so verification needs to read once.
    '--sort=name',
    `--file=${target === undefined ? '-' : join(target, name)}`,
    zstd ? '--use-compress-program=zstd -1 -T0' : '--gzip',
  ];
  const tablespaces = await plainTablespaces(directory);
  const base = nameOf('base');
  return [
    {name: base, command: tarOfData(directory, tablespaces.keys(), options(base))},
    ...[...tablespaces].map(([oid, path]) => {
      const name = nameOf(oid);
      return {name, command: tarOfTablespace(path, options(name))};
    }),
  ];
}

/**
 * Packs a plain backup for a store that keeps files and no directories. `target` is an empty directory. The manifest is
 * beside the archives, too: it is all that an incremental backup of this one needs.
 */
export async function packPlain(host: Host, directory: string, target: string): Promise<void> {
  for (const {command} of await packCommands(host, directory, target)) await host.run(command);
  await copyFile(join(directory, manifestName), join(target, manifestName));
}
