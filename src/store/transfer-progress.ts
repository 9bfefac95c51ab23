import {info} from '../log.js';

const everyMilliseconds = 10_000;

/** Tells every ten seconds how much of a file has travelled. The returned function takes the bytes since the last call. */
export function transferProgress(
  fileName: string,
  sizeBytes: number,
  done: 'uploaded' | 'downloaded',
): (bytes: number) => void {
  let travelled = 0;
  let nextLineAt = performance.now() + everyMilliseconds;
  return (bytes) => {
    travelled += bytes;
    const now = performance.now();
    if (now < nextLineAt) return;
    nextLineAt = now + everyMilliseconds;
    const percent = sizeBytes === 0 ? 100 : Math.floor((100 * travelled) / sizeBytes);
    info(`${fileName}: ${percent} % of ${sizeBytes} bytes ${done}`);
  };
}
