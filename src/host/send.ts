import {PassThrough} from 'node:stream';
import type {Command, Host} from './host.js';

/**
 * Runs a command that writes a tar stream on one host, and extracts that in a directory of another. Ends when both
 * have, so that nothing still writes when the caller cleans up. Throws what the first of them throws.
 */
export async function sendTar(
  from: Host,
  command: Command,
  to: {readonly host: Host; readonly directory: string},
): Promise<void> {
  const stream = new PassThrough();
  const reading = from.run(command, {stdout: stream});
  // The reader must not wait for more when the writer failed.
  reading.catch((error: Error) => stream.destroy(error));
  const writing = to.host.extract(stream, to.directory);
  await Promise.allSettled([writing, reading]);
  await Promise.all([writing, reading]);
}
