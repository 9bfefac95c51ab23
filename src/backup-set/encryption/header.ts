import {damaged} from '../digest.js';

const intro = 'age-encryption.org/v1\n';
const armorIntro = '-----BEGIN AGE';
/** A recipient takes some 100 bytes, one against quantum computers 1.6 kB. */
const mostHeaderBytes = 2 ** 20;

/** An encrypted file as its beginning tells, and the rest of it. */
export interface OpenedHeader {
  /** From the first byte to the end of the line of the checksum. */
  readonly header: Buffer;
  /** What keys fit, in their order: `X25519`, `ssh-ed25519`, `ssh-rsa`, `scrypt`. */
  readonly types: readonly string[];
  /** All bytes behind the header. To be closed by who does not read it to its end. */
  readonly rest: AsyncGenerator<Buffer>;
}

/** Reads the header of an encrypted file. Throws a UserError when it is none. */
export async function readHeader(name: string, bytes: AsyncIterable<Uint8Array>): Promise<OpenedHeader> {
  const iterator = bytes[Symbol.asyncIterator]();
  try {
    let head = Buffer.alloc(0);
    let end = endOfHeader(head);
    while (end === undefined) {
      const {done, value} = await iterator.next();
      if (!done) head = Buffer.concat([head, value]);
      refuseOther(name, head, done === true);
      end = endOfHeader(head);
    }
    const header = head.subarray(0, end);
    const types = [...header.toString('latin1').matchAll(/^-> (\S+)/gm)].map(([, type = '']) => type);
    return {header, types, rest: restOf(head.subarray(end), iterator)};
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
}

/** Behind the line of the checksum, `--- ` and 43 characters; undefined when that has not come yet. */
function endOfHeader(head: Buffer): number | undefined {
  const mark = head.indexOf('\n--- ');
  const end = mark < 0 ? -1 : head.indexOf('\n', mark + 1);
  return end < 0 ? undefined : end + 1;
}

function refuseOther(name: string, head: Buffer, isEnd: boolean): void {
  const text = head.subarray(0, intro.length).toString('latin1');
  if (text.startsWith(armorIntro))
    throw damaged(name, 'it is armored text (age --armor), and only files without armor are read');
  if (!intro.startsWith(text) || (isEnd && head.length === 0))
    throw damaged(name, head.length === 0 ? 'it is empty' : 'it is not encrypted with age');
  if (isEnd) throw damaged(name, 'it was cut within its header');
  if (head.length > mostHeaderBytes) throw damaged(name, 'it has a header without end');
}

async function* restOf(first: Buffer, iterator: AsyncIterator<Uint8Array>): AsyncGenerator<Buffer> {
  try {
    if (first.length > 0) yield first;
    for (let next = await iterator.next(); !next.done; next = await iterator.next())
      yield Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
  } finally {
    await iterator.return?.();
  }
}
