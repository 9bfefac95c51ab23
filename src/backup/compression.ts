import {UserError} from '../errors.js';
import {CommandError, type Host, shell} from '../host/host.js';
import {type Client, type Programs, pathOf} from '../postgres/programs.js';
import type {BackupRequest, Compression} from './request.js';

/** How a backup will be compressed: by pg_basebackup, or by pigz once the archives are on disk. */
export type ChosenCompression = Compression | {readonly method: 'pigz'};

/** What is known when the codec is chosen. */
interface Circumstances {
  /** Compresses what pg_basebackup itself does not. */
  readonly runner: Host;
  readonly client: Client;
  readonly serverMajor: number;
  /** The archives are stored as pg_basebackup writes them: nothing can compress them afterwards. */
  readonly isStreamed: boolean;
}

/**
 * Chooses what `compress: auto` stands for: zstd with a worker for each core where the client has it (15+), else
 * gzip on all cores by pigz, else pg_basebackup's own gzip, which uses one. Throws a UserError when what was asked
 * for cannot be had from this client and server.
 */
export async function chooseCompression(
  request: BackupRequest,
  circumstances: Circumstances,
): Promise<ChosenCompression> {
  if (request.compress !== 'auto') return allowed(request.compress, circumstances);
  // A plain backup is written as files, which pg_basebackup does not compress.
  if (request.format === 'plain') return {method: 'none'};
  const {runner, client, isStreamed} = circumstances;
  const {host, programs} = client;
  if (programs.isToBeInstalled && programs.major >= 15) return fastZstd(host.cores);
  if (programs.major >= 15 && (await hasZstd(host, programs))) return fastZstd(host.cores);
  if (!isStreamed && (await runner.findOnPath('pigz'))) return {method: 'pigz'};
  return {method: 'gzip'};
}

/** zstd's level 2 is smaller than gzip's default and takes 8 % longer than level 1; a worker for each core. */
function fastZstd(cores: number): Compression {
  return {method: 'zstd', where: 'client', detail: cores > 1 ? `level=2,workers=${cores}` : 'level=2'};
}

/** Whether the program was built with zstd: then it is linked against this function of libzstd. */
async function hasZstd(host: Host, programs: Programs): Promise<boolean> {
  try {
    // busybox's grep sees nothing behind a NUL; `-c` reads to the end, so that nobody is left with a broken pipe.
    const script = `tr -d '\\000' < "$1" | grep -c -F ZSTD_compressStream2`;
    await host.run(shell(script, [pathOf(programs, 'pg_basebackup')]));
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.status === 1) return false;
    throw error;
  }
}

function allowed(compression: Compression, {client: {programs}, serverMajor}: Circumstances): Compression {
  const asked = formatCompression(compression);
  if (
    programs.major < 15 &&
    (!['none', 'gzip'].includes(compression.method) || compression.where === 'server')
  ) {
    throw new UserError(
      `compress: ${asked} needs a pg_basebackup of PostgreSQL 15 or newer; ${programs.version} was found.`,
      'Set compress to auto, gzip or none, or install a newer client (it can back up older servers).',
    );
  }
  if (compression.where === 'server' && serverMajor < 15) {
    throw new UserError(
      `compress: ${asked} needs a server of PostgreSQL 15 or newer; this one is ${serverMajor}.`,
      `Set compress: ${asked.replace('server-', 'client-')}, which compresses on the runner.`,
    );
  }
  return compression;
}

/** In pg_basebackup's syntax, or `pigz`: `client-zstd:level=1,workers=4`. */
export function formatCompression(compression: ChosenCompression): string {
  if (compression.method === 'pigz') return 'pigz';
  const {where, method, detail} = compression;
  return `${where ? `${where}-` : ''}${method}${detail ? `:${detail}` : ''}`;
}

/** The options of pg_basebackup for a codec: 13 and 14 know gzip only, and another syntax. */
export function compressionArgs(compression: ChosenCompression, clientMajor: number): readonly string[] {
  const {method} = compression;
  if (method === 'none' || method === 'pigz') return [];
  if (clientMajor >= 15) return [`--compress=${formatCompression(compression)}`];
  const level = compression.detail?.replace('level=', '');
  return level === undefined ? ['--gzip'] : [`--compress=${level}`];
}
