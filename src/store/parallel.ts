/** How many at once, and what stops them. */
export interface ParallelOptions {
  readonly limit: number;
  readonly signal: AbortSignal;
}

/**
 * Works on several items at once, in their order. Rejects at the first failure, or with the signal's reason as
 * soon as it is aborted; no further item is begun then, but items in work are not waited for, because a hung
 * connection would hold the failure back.
 */
export async function eachInParallel<T>(
  items: readonly T[],
  {limit, signal}: ParallelOptions,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  let hasFailed = false;
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (hasFailed || signal.aborted) return;
      try {
        await work(item);
      } catch (thrown) {
        hasFailed = true;
        throw thrown;
      }
    }
  };
  await untilAborted(signal, () => Promise.all(Array.from({length: Math.min(limit, items.length)}, worker)));
}

/** Waits for work that cannot be cancelled itself. Rejects with the signal's reason as soon as it is aborted. */
export async function untilAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const {promise: aborted, reject} = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, {once: true});
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
