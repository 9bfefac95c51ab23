import {damaged} from './digest.js';

/** What we use of a `backup_label` (xlogbackup.c, build_backup_content). */
export interface BackupLabel {
  readonly startLsn: string;
  /** The WAL segment that recovery starts in. */
  readonly startSegment: string;
  readonly fromStandby: boolean;
  readonly timeline: number;
}

/** Reads a `backup_label`. Throws a UserError when it is none, or that of an incremental backup. */
export function parseBackupLabel(text: string): BackupLabel {
  const start = /^START WAL LOCATION: ([0-9A-F]+\/[0-9A-F]+) \(file ([0-9A-F]{24})\)$/m.exec(text);
  if (!start?.[1] || !start[2]) throw damaged('backup_label', 'it has no START WAL LOCATION');
  if (/^INCREMENTAL FROM LSN:/m.test(text)) {
    throw damaged(
      'backup_label',
      'this is an incremental backup, which needs pg_combinebackup and the backups that it builds on',
    );
  }
  return {
    startLsn: start[1],
    startSegment: start[2],
    fromStandby: /^BACKUP FROM: standby$/m.test(text),
    timeline: Number(/^START TIMELINE: (\d+)$/m.exec(text)?.[1] ?? Number.parseInt(start[2].slice(0, 8), 16)),
  };
}
