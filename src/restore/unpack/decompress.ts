import {PassThrough} from 'node:stream';
import type {Archive} from '../../backup-set/archive.js';
import {decompress} from '../../backup-set/decompress.js';
import {wholeTar} from '../../backup-set/tar-end.js';
import type {Host} from '../../host/host.js';

/** An archive on its way to tar. */
export interface Decompressed {
  /** The program that decompresses it there, where the host has it. */
  readonly codec?: string;
  /** A piece of 64 KiB or more is gone when the next one is asked for. */
  readonly stream: AsyncIterable<Buffer>;
}

/**
 * Has an archive decompressed: by the host's own program, which keeps the bytes out of this process, else here. What
 * comes by here uncompressed must be whole and no larger than `limitBytes`. Throws a UserError where nothing can
 * decompress it.
 */
export async function decompressFor(
  archive: Archive,
  stream: AsyncIterable<Buffer>,
  {host, runner, limitBytes}: {host: Host; runner: Host; limitBytes: number | undefined},
): Promise<Decompressed> {
  const {name, codec} = archive;
  const whole = (tar: AsyncIterable<Buffer>) => ({stream: wholeTar(name, tar, limitBytes)});
  if (codec === 'none') return whole(stream);
  if (await host.findOnPath(codec)) return {codec, stream};
  const output = new PassThrough();
  // An error of either side reaches the reader, which then ends tar.
  decompress({...archive, bytes: stream}, {runner, output}).catch((error: Error) => output.destroy(error));
  return whole(output);
}
