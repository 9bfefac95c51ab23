import {damaged} from './digest.js';
import {
  hasContent,
  isExtension,
  kindOf,
  mostExtensionBytes,
  type Overrides,
  readExtension,
  readTarHeader,
  shownName,
  type TarMember,
  tarBlockBytes,
} from './tar-header.js';

export {shownName, type TarMember} from './tar-header.js';

/** Takes the content of a member as it is read. */
export interface ContentSink {
  /** The bytes are gone when this returns. */
  write(bytes: Buffer): void;
  end(): void;
}

const zeros = Buffer.alloc(tarBlockBytes);

/**
 * Reads a tar archive as it passes by and keeps nothing of it. Its methods throw a UserError that names the archive
 * where it is none, or is cut.
 *
 * Not tar-stream: that does not tell an archive without its end mark from a whole one, nor one that goes on behind it,
 * and it holds on to its buffers for so long that 2 GB take 60 MiB more.
 */
export class TarReader {
  readonly #archive: string;
  readonly #visit: (member: TarMember) => ContentSink | undefined;
  readonly #block = Buffer.alloc(tarBlockBytes);
  /** Bytes of the header that are there. */
  #filled = 0;
  /** Bytes of content, and then of padding, that are still to come. */
  #left = 0;
  #padding = 0;
  #sink: ContentSink | undefined;
  #endBlocks = 0;
  #current = 'its beginning';
  #overrides: Overrides = {};

  /** `visit` is told of each member, and returns what takes its content. */
  constructor(archive: string, visit: (member: TarMember) => ContentSink | undefined) {
    this.#archive = archive;
    this.#visit = visit;
  }

  /** Takes the next piece of the archive, of any length. */
  write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at += this.#take(bytes.subarray(at));
  }

  /** Is called when there are no more pieces. */
  end(): void {
    if (this.#left + this.#padding + this.#filled > 0)
      throw damaged(this.#archive, `it was cut: it ends within ${this.#current}`);
    if (this.#endBlocks < 2)
      throw damaged(
        this.#archive,
        `it was cut: its end mark, 1024 bytes of zeros, is missing behind ${this.#current}`,
      );
  }

  /** Takes as much as the state can, and returns how much that was. */
  #take(bytes: Buffer): number {
    if (this.#left > 0) {
      const part = bytes.subarray(0, this.#left);
      this.#sink?.write(part);
      this.#left -= part.length;
      if (this.#left === 0) this.#sink?.end();
      return part.length;
    }
    if (this.#padding > 0) {
      const skipped = Math.min(this.#padding, bytes.length);
      this.#padding -= skipped;
      return skipped;
    }
    const copied = bytes.copy(this.#block, this.#filled);
    this.#filled += copied;
    if (this.#filled === tarBlockBytes) {
      this.#filled = 0;
      this.#startMember();
    }
    return copied;
  }

  #startMember(): void {
    if (this.#block.equals(zeros)) {
      this.#endBlocks += 1;
      return;
    }
    if (this.#endBlocks > 0) throw damaged(this.#archive, 'there is more behind its end mark');
    const {type, name, sizeBytes} = readTarHeader(this.#archive, this.#block, this.#current);
    if (isExtension(type)) {
      this.#left = sizeBytes;
      this.#sink = this.#keepExtension(type, sizeBytes);
    } else {
      const {name: whole = name, sizeBytes: size = sizeBytes} = this.#overrides;
      this.#overrides = {};
      this.#left = hasContent(type) ? size : 0;
      const member = {name: whole, kind: kindOf(type, whole), sizeBytes: this.#left};
      this.#current = shownName(whole);
      this.#sink = this.#visit(member);
    }
    this.#padding = (tarBlockBytes - (this.#left % tarBlockBytes)) % tarBlockBytes;
    if (this.#left === 0) this.#sink?.end();
  }

  /** A header that says something of the member that follows. */
  #keepExtension(type: string, sizeBytes: number): ContentSink {
    if (sizeBytes > mostExtensionBytes)
      throw damaged(this.#archive, `the name of the member after ${this.#current} has ${sizeBytes} bytes`);
    const pieces: Buffer[] = [];
    return {
      write: (bytes) => pieces.push(Buffer.from(bytes)),
      end: () => {
        const told = readExtension(this.#archive, type, Buffer.concat(pieces));
        this.#overrides = {...this.#overrides, ...told};
      },
    };
  }
}
