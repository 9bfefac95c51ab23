const mebibyte = 2 ** 20;
const smallestPartBytes = 8 * mebibyte;

/** The largest object, and how many parts it may have (Amazon S3 User Guide, "Multipart upload limits"). */
export const largestObjectBytes = 5 * 2 ** 40;
const mostParts = 10_000;

/** What parts on their way may take up together, as long as two of them fit. */
const memoryBytes = 64 * mebibyte;

/** How an object travels: in parts of one size but for the last, as Cloudflare R2 asks, several at once. */
export interface Parts {
  readonly partBytes: number;
  readonly atOnce: number;
}

/** What is put in one piece, which is held in memory. */
export const wholeBytes = memoryBytes;

/** Parts for an object of so many bytes: 8 MiB up to 78 GiB, larger ones from there on, up to 525 MiB for 5 TiB. */
export function partsFor(sizeBytes: number): Parts {
  const needed = Math.ceil(sizeBytes / mostParts / mebibyte) * mebibyte;
  const partBytes = Math.max(smallestPartBytes, needed);
  return {partBytes, atOnce: Math.max(2, Math.floor(memoryBytes / partBytes))};
}
