import {damaged} from './digest.js';

/** What we use of a `backup_label` (xlogbackup.c, build_backup_content). */
export interface BackupLabel {
  readonly startLsn: string;
  /** The WAL segment that recovery starts in. */
  readonly startSegment: string;
  readonly fromStandby: boolean;
  readonly timeline: number;
  /** What an incremental backup builds on; undefined: it is a full one. */
  readonly incrementalFrom?: {readonly startLsn: string; readonly timeline: number};
}

/** Reads a `backup_label`. Throws a UserError when it is none. */
export function parseBackupLabel(text: string): BackupLabel {
  const start = /^START WAL LOCATION: ([0-9A-F]+\/[0-9A-F]+) \(file ([0-9A-F]{24})\)$/m.exec(text);
  if (!start?.[1] || !start[2]) throw damaged('backup_label', 'it has no START WAL LOCATION');
  const from = /^INCREMENTAL FROM LSN: ([0-9A-F]+\/[0-9A-F]+)$/m.exec(text)?.[1];
  if (from === undefined && /^INCREMENTAL FROM/m.test(text))
    throw damaged('backup_label', 'it does not tell what this incremental backup builds on');
  const fromTimeline = Number(/^INCREMENTAL FROM TLI: (\d+)$/m.exec(text)?.[1] ?? 0);
  return {
    startLsn: start[1],
    startSegment: start[2],
    fromStandby: /^BACKUP FROM: standby$/m.test(text),
    timeline: Number(/^START TIMELINE: (\d+)$/m.exec(text)?.[1] ?? Number.parseInt(start[2].slice(0, 8), 16)),
    ...(from !== undefined && {incrementalFrom: {startLsn: from, timeline: fromTimeline}}),
  };
}

/** Throws a UserError for the label of an incremental backup, which is no data directory by itself. */
export function requireFull({incrementalFrom}: BackupLabel): void {
  if (incrementalFrom === undefined) return;
  throw damaged(
    'backup_label',
    `this is an incremental backup, which needs the one that starts at ${incrementalFrom.startLsn}, and its metadata, which name that one, are not here (else: pg_combinebackup)`,
  );
}
