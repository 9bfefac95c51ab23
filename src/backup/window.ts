import {randomUUID} from 'node:crypto';
import type {Host} from '../host/host.js';
import {warning} from '../log.js';

/** Bytes on the disk after which pg_basebackup has to wait for the store; its WAL comes on top. */
export const windowBytes = 24 * 2 ** 20;

/** What lies on the disk at a time while a backup is streamed: the window, what is on its way out, segments of WAL. */
export const streamedBytes = 90e6;

/** For how long, on a busy machine, nobody may look how full the disk is. */
const blindSeconds = 0.5;
/** Of --max-rate (pg_basebackup.c, MAX_RATE_UPPER): 1 GB/s. */
const mostKilobytesPerSecond = 1_048_576;

/**
 * The `--max-rate` at which a small disk does not fill up before pg_basebackup is held back: the server, not this
 * machine, keeps to it. What the user asked for where that is slower, or where the disk has room for any rate.
 */
export function rateWithin(
  {freeBytes, storeDiskBytes}: {readonly freeBytes: number; readonly storeDiskBytes: number},
  asked: string | undefined,
): string | undefined {
  const spareBytes = Math.max(freeBytes - windowBytes - storeDiskBytes, 2 ** 22);
  const kilobytesPerSecond = Math.floor(spareBytes / blindSeconds / 1024);
  const most = asked === undefined ? mostKilobytesPerSecond : bytesPerSecondOf(asked) / 1024;
  return kilobytesPerSecond < most ? `${kilobytesPerSecond}k` : asked;
}

/** Of a rate as `--max-rate` takes it: `32M`, `500k`, or kilobytes without a unit. */
export function bytesPerSecondOf(rate: string): number {
  return Number.parseFloat(rate) * (rate.endsWith('M') ? 2 ** 20 : 2 ** 10);
}

/** A file system in memory, which every Linux machine has; in a container of Docker's it has 64 MB. */
const memory = '/dev/shm';
const leastBytes = 60e6;

/**
 * Where the files of a backup pass through while it is streamed. What is going to be encrypted stays in memory, so that
 * no disk ever holds it in plain text; a warning tells where the runner has no such place.
 */
export async function chooseWindow(
  runner: Host,
  {onDisk, isEncrypted}: {readonly onDisk: string; readonly isEncrypted: boolean},
): Promise<string> {
  if (!isEncrypted) return onDisk;
  const isThere = (await runner.look(memory)).endsWith('directory');
  if (isThere && (await runner.freeBytes(memory)) >= leastBytes)
    return `${memory}/pg-basebackup-action-${randomUUID()}.partial`;
  warning(
    `${memory} has no room: what is on its way to be encrypted passes through ${onDisk} in plain text.`,
  );
  return onDisk;
}
