import {UserError} from '../errors.js';

/** Seconds since a backup was finished. */
export function ageSeconds(finishedAt: string | Date): number {
  return Math.max(0, Math.round((Date.now() - new Date(finishedAt).getTime()) / 1000));
}

/** Refuses a backup that is older than `max-backup-age`; undefined: nobody knows how old it is. */
export function refuseOld(
  finishedAt: string | Date | undefined,
  maxBackupAgeSeconds: number | undefined,
): void {
  if (maxBackupAgeSeconds === undefined) return;
  const age = finishedAt === undefined ? undefined : ageSeconds(finishedAt);
  if (finishedAt !== undefined && new Date(finishedAt).getTime() > Date.now() + 3_600_000) {
    throw new UserError(
      `The backup says that it was finished at ${new Date(finishedAt).toISOString()}, which is in the future.`,
      'Check the clocks of the machines: max-backup-age cannot be judged.',
    );
  }
  if (age !== undefined && age <= maxBackupAgeSeconds) return;
  throw new UserError(
    age === undefined
      ? 'max-backup-age is set, and nothing in the backup tells when it was made.'
      : `The newest backup that fits is ${hours(age)} old; max-backup-age allows ${hours(maxBackupAgeSeconds)}.`,
    'Look at the runs of the workflow that makes the backups: the last ones failed or did not start.',
  );
}

const hours = (seconds: number) =>
  seconds < 300
    ? `${seconds} seconds`
    : seconds < 7200
      ? `${Math.ceil(seconds / 60)} minutes`
      : `${(seconds / 3600).toFixed(1)} hours`;
