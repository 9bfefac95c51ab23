/** Waits for all, also when one fails, so that nothing still works on a failed restore while it is removed. */
export async function settleAll<T extends readonly unknown[]>(
  promises: readonly [...{[K in keyof T]: Promise<T[K]>}],
): Promise<T> {
  await Promise.allSettled(promises);
  return (await Promise.all(promises)) as unknown as T;
}
