import {damaged} from './digest.js';
import {TarReader} from './tar.js';

/**
 * Passes an uncompressed tar archive on, and fails with a UserError that names it when it does not go on to its end
 * mark (two blocks of zeros, POSIX pax) and no further: tar takes an archive that was cut between two members, or
 * within its end mark, for a whole one. Only headers are looked at, so that this costs next to nothing. Also fails as
 * soon as more than `limitBytes` have come.
 */
export async function* wholeTar(
  name: string,
  chunks: AsyncIterable<Buffer>,
  limitBytes = Number.POSITIVE_INFINITY,
): AsyncGenerator<Buffer> {
  const tar = new TarReader(name, () => undefined);
  let total = 0;
  for await (const chunk of chunks) {
    total += chunk.length;
    if (total > limitBytes) throw tooLarge(name, limitBytes);
    tar.write(chunk);
    yield chunk;
  }
  tar.end();
}

/** The refusal of an archive that unpacks to more than it may. */
export function tooLarge(name: string, limitBytes: number): Error {
  return damaged(
    name,
    `it unpacks to more than ${limitBytes} bytes, and its files have less by backup_manifest: unpacking was stopped`,
  );
}
