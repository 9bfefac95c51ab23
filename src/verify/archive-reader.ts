import {Writable} from 'node:stream';
import type {Archive} from '../backup-set/archive.js';
import {complaintOf, decompress} from '../backup-set/decompress.js';
import {DamageError, damaged} from '../backup-set/digest.js';
import {giveBack} from '../backup-set/give-back.js';
import {type ContentSink, type TarMember, TarReader} from '../backup-set/tar.js';
import {tooLarge} from '../backup-set/tar-end.js';
import {UserError} from '../errors.js';
import {CommandError, type Host, wasKilled} from '../host/host.js';

/** How an archive is read. */
export interface ArchiveReading {
  readonly runner: Host;
  readonly bytes: AsyncIterable<Buffer>;
  /** Bytes after which it is taken for a bomb; what is in it was promised to be less. */
  readonly mostBytes: number;
  /** Is told of each member, and returns what takes its content. */
  readonly visit: (member: TarMember) => ContentSink | undefined;
}

/** Reads an archive to its end, and writes nothing. Throws a UserError that names it when it is damaged. */
export async function readArchive(archive: Archive, reading: ArchiveReading): Promise<void> {
  const {runner, bytes, mostBytes, visit} = reading;
  const tar = new TarReader(archive.name, visit);
  let total = 0;
  const take = (piece: Buffer) => {
    total += piece.length;
    if (total > mostBytes) throw tooLarge(archive.name, mostBytes);
    tar.write(piece);
    // Where nothing was decompressed, the piece is a buffer that the next one is read into.
    if (archive.codec !== 'none') giveBack(piece);
  };
  const output = new Writable({
    // Each piece is done with at once: without this, the program would be asked to wait after each of them.
    highWaterMark: 1 << 20,
    write: (piece: Buffer, _encoding, done) => settle(done, () => take(piece)),
  });
  try {
    await decompress({...archive, bytes}, {runner, output});
  } catch (error) {
    const why = damageOf(archive, error);
    // Where it was cut says more than what the codec complains of.
    if (why !== error && why instanceof DamageError) tar.end();
    throw why;
  }
  tar.end();
}

function settle(done: (error?: Error | null) => void, work: () => void): void {
  let failure: unknown = null;
  try {
    work();
  } catch (error) {
    failure = error;
  }
  done(failure as Error | null);
}

/** What a program, or Node.js, says of an archive that it cannot decompress. */
function damageOf({name, codec}: Archive, error: unknown): unknown {
  if (error instanceof CommandError && wasKilled(error))
    return new UserError(
      `${name} could not be decompressed, and whether it is damaged is not known: ${error.message}`,
      'Run the step again, where memory ran out on a machine with more of it.',
      {cause: error},
    );
  if (error instanceof CommandError) return damaged(name, complaintOf(error.message));
  // zlib's errors have codes such as Z_BUF_ERROR and ZSTD_error_…; the file system's have a system call, too.
  const isCodec = error instanceof Error && 'code' in error && !('syscall' in error) && 'errno' in error;
  return isCodec ? damaged(name, `${codec}: ${error.message}`) : error;
}
