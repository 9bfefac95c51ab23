import {AsyncLocalStorage} from 'node:async_hooks';
import {EOL} from 'node:os';

/** A file that is on its way. */
interface Upload {
  readonly fileName: string;
  readonly sizeBytes: number;
  nextLineAt: number;
}

const current = new AsyncLocalStorage<Upload>();

// @actions/artifact 6.2.1 writes this line for every 8 MiB: 6,400 of them for 50 GiB.
const progressLine = /^Uploaded bytes (\d+)\r?\n$/;

/** Uploads within `thinProgress`; progress lines that come out of `work` are those of this file. */
export function withProgressOf<T>(
  {fileName, sizeBytes}: {readonly fileName: string; readonly sizeBytes: number},
  work: () => Promise<T>,
): Promise<T> {
  return current.run({fileName, sizeBytes, nextLineAt: 0}, work);
}

/**
 * Replaces the artifact client's progress lines on standard output, while `work` runs, by one every
 * `everySeconds` per file that says the file's name and how much of it is stored. All other output passes.
 */
export async function thinProgress<T>(everySeconds: number, work: () => Promise<T>): Promise<T> {
  const {stdout} = process;
  const {write} = stdout;
  const thinned = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    const loadedBytes = typeof chunk === 'string' ? progressLine.exec(chunk)?.[1] : undefined;
    const text = loadedBytes === undefined ? chunk : lineFor(Number(loadedBytes), everySeconds);
    return Reflect.apply(write, stdout, [text, ...rest]);
  };
  stdout.write = thinned;
  try {
    return await work();
  } finally {
    // Somebody else may have put a wrapper over this one; theirs must stay.
    if (stdout.write === thinned) stdout.write = write;
  }
}

/** Empty when it is not time for a line yet, or when it cannot be told whose progress this is. */
function lineFor(loadedBytes: number, everySeconds: number): string {
  const upload = current.getStore();
  if (upload === undefined) return '';
  const now = performance.now();
  if (now < upload.nextLineAt) return '';
  upload.nextLineAt = now + everySeconds * 1000;
  const percent = upload.sizeBytes === 0 ? 100 : Math.floor((100 * loadedBytes) / upload.sizeBytes);
  return `${upload.fileName}: ${percent} % of ${upload.sizeBytes} bytes uploaded${EOL}`;
}
