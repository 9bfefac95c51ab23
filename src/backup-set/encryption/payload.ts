import {createCipheriv, createDecipheriv, hkdfSync} from 'node:crypto';

// The payload of the format age-encryption.org/v1 (https://age-encryption.org/v1, "Payload"): pieces of 64 KiB, each
// sealed with ChaCha20-Poly1305 under its number and whether it is the last one. By Node's own cipher, because that of
// the package age-encryption is JavaScript, and takes several times as long (bench/encryption.ts).
const [pieceBytes, tagBytes, keyBytes] = [64 * 1024, 16, 32];
const cipher = 'chacha20-poly1305';

/** Bytes of the number, used once, that stands between header and payload. */
export const nonceBytes = 16;

/** What was encrypted was changed, cut, or put together from pieces. */
export class PayloadError extends Error {}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', keyBytes));
}

/** The nonce of a piece: its number in 11 bytes, and 1 for the last one. */
function pieceNonce(number: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(number, 5, 6);
  nonce.writeUInt8(isLast ? 1 : 0, 11);
  return nonce;
}

/**
 * Gathers pieces of exactly `size` bytes, the last of which may be shorter, also empty. A piece is gone when the next
 * one is asked for.
 */
async function* inPieces(
  bytes: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<{piece: Buffer; number: number; isLast: boolean}> {
  const piece = Buffer.allocUnsafeSlow(size);
  let [filled, number] = [0, 0];
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; ) {
      if (filled === size) {
        yield {piece, number, isLast: false};
        [filled, number] = [0, number + 1];
      }
      const part = chunk.subarray(at, at + size - filled);
      piece.set(part, filled);
      filled += part.length;
      at += part.length;
    }
  }
  yield {piece: piece.subarray(0, filled), number, isLast: true};
}

/** Encrypts a stream under a file's key; `nonce` is what goes ahead of it. */
export async function* encryptPayload(
  bytes: AsyncIterable<Uint8Array>,
  {fileKey, nonce}: {readonly fileKey: Uint8Array; readonly nonce: Uint8Array},
): AsyncGenerator<Buffer> {
  const key = payloadKey(fileKey, nonce);
  for await (const {piece, number, isLast} of inPieces(bytes, pieceBytes)) {
    const sealing = createCipheriv(cipher, key, pieceNonce(number, isLast), {authTagLength: tagBytes});
    const sealed = sealing.update(piece);
    sealing.final();
    yield Buffer.concat([sealed, sealing.getAuthTag()]);
  }
}

/** Decrypts a stream under a file's key. Throws a PayloadError, at the latest at the end, when it is not as it was. */
export async function* decryptPayload(
  bytes: AsyncIterable<Uint8Array>,
  {fileKey, nonce}: {readonly fileKey: Uint8Array; readonly nonce: Uint8Array},
): AsyncGenerator<Buffer> {
  const key = payloadKey(fileKey, nonce);
  for await (const {piece, number, isLast} of inPieces(bytes, pieceBytes + tagBytes)) {
    if (piece.length < tagBytes || (number > 0 && piece.length === tagBytes))
      throw new PayloadError('it was cut');
    const opening = createDecipheriv(cipher, key, pieceNonce(number, isLast), {authTagLength: tagBytes});
    opening.setAuthTag(piece.subarray(-tagBytes));
    const opened = opening.update(piece.subarray(0, -tagBytes));
    try {
      opening.final();
    } catch (cause) {
      throw new PayloadError(isLast ? 'it was changed or cut' : 'it was changed', {cause});
    }
    if (opened.length > 0) yield opened;
  }
}
