import type {Writable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {createGunzip, createZstdDecompress} from 'node:zlib';
import {UserError} from '../errors.js';
import type {Host} from '../host/host.js';
import type {Archive, Codec} from './archive.js';

/** What Node.js can decompress by itself. */
const inProcess = {gzip: createGunzip, zstd: createZstdDecompress} as const;

/** An archive as its bytes come in. */
export interface CompressedArchive extends Archive {
  readonly bytes: AsyncIterable<Buffer>;
}

/**
 * Decompresses an archive into `output`, and ends that: by the codec's program where the runner has it, which works on
 * another core, else by Node.js. Throws a UserError where neither can, and a CommandError for an archive that is cut.
 */
export async function decompress(
  {name, codec, bytes}: CompressedArchive,
  {runner, output}: {readonly runner: Host; readonly output: Writable},
): Promise<void> {
  if (codec === 'none') return pipeline(bytes, output);
  if (await runner.findOnPath(codec)) {
    await runner.run(
      {program: codec, args: ['-d', '-c']},
      {stdin: bytes, stdout: output, startsNoOthers: true},
    );
  } else if (codec in inProcess) {
    await pipeline(bytes, inProcess[codec as keyof typeof inProcess](), output);
  } else throw cannot(name, codec);
}

/** What a codec's program or tar complains of, without the name that zstd gives to what it reads, and its blanks. */
export function complaintOf(line: string): string {
  return line
    .replace(/\/\*stdin\*\\ ?: /, '')
    .replaceAll(' : ', ': ')
    .trim();
}

function cannot(name: string, codec: Codec): UserError {
  return new UserError(
    `${name} is compressed with ${codec}, and neither Node.js nor the runner can decompress that.`,
    `Install the program on the runner in an earlier step: sudo apt-get install --yes ${codec}`,
  );
}
