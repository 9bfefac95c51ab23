import {createHash} from 'node:crypto';

/** Bytes of each checksum that a manifest may have (checksum_helper.h). */
export const checksumBytes = {NONE: 0, CRC32C: 4, SHA224: 28, SHA256: 32, SHA384: 48, SHA512: 64} as const;

/** How a manifest sums up a file. */
export type ChecksumAlgorithm = keyof typeof checksumBytes;

/** A checksum that is being computed. */
export interface Checksum {
  update(bytes: Uint8Array): void;
  /** Lower-case hexadecimal, as it stands in a manifest. */
  digest(): string;
}

/** Starts a checksum; a CRC32C must be over before the next one starts. */
export type Checksums = (algorithm: Exclude<ChecksumAlgorithm, 'NONE'>) => Checksum;

/** Makes ready to compute checksums. */
export async function loadChecksums(): Promise<Checksums> {
  const crc32c = await loadCrc32c();
  return (algorithm) => (algorithm === 'CRC32C' ? crc32c() : sha(algorithm));
}

/** Makes ready to compute CRC32C, one after the other. */
export async function loadCrc32c(): Promise<() => Checksum> {
  const {createCRC32} = await import('hash-wasm');
  // Castagnoli's polynomial (pg_crc32c.h); that of zlib is another. WebAssembly, because Node has no such function.
  const hasher = await createCRC32(0x82f63b78);
  return () => {
    hasher.init();
    return {
      update: (bytes) => void hasher.update(bytes),
      // PostgreSQL writes the number's bytes as they lie in memory (checksum_helper.c, pg_checksum_final).
      digest: () => Buffer.from(hasher.digest('binary')).reverse().toString('hex'),
    };
  };
}

function sha(algorithm: string): Checksum {
  const hash = createHash(algorithm.toLowerCase());
  return {update: (bytes) => void hash.update(bytes), digest: () => hash.digest('hex')};
}
