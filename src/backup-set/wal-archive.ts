import type {FileHandle} from 'node:fs/promises';
import {UserError} from '../errors.js';
import {readTarHeader, tarBlockBytes} from './tar-header.js';

/**
 * Tells up to where a `pg_wal.tar` that is being written stays as it is. pg_basebackup writes a segment's header with
 * size 0 and fills the segment with zeros, goes back to write the WAL, and last writes the header with the size
 * (walmethods.c of 13 to 18, tar_open_for_write and tar_close): a member whose header tells a size is finished.
 * `from` is where a member starts.
 */
export async function finishedSegments(file: FileHandle, from: number, sizeBytes: number): Promise<number> {
  const block = Buffer.alloc(tarBlockBytes);
  let end = from;
  while (end + tarBlockBytes <= sizeBytes) {
    await file.read(block, 0, tarBlockBytes, end);
    const contentBytes = contentOf(block);
    if (contentBytes === undefined) break;
    const next = end + tarBlockBytes + Math.ceil(contentBytes / tarBlockBytes) * tarBlockBytes;
    if (next > sizeBytes) break;
    end = next;
  }
  return end;
}

/** After each segment comes a member that says so, which is empty (walmethods.c, mark_file_as_archived). */
const isDone = /^archive_status\/[^/]+\.done$/;

/** Undefined for what is not finished: a header that is being written, or the archive's end mark, too. */
function contentOf(block: Buffer): number | undefined {
  try {
    const {name, sizeBytes} = readTarHeader('pg_wal.tar', block, 'its beginning');
    return sizeBytes > 0 || isDone.test(name) ? sizeBytes : undefined;
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
