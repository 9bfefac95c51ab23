import {resolve} from 'node:path';
import {parseTimestamp} from '../postgres/timestamp.js';
import type {RecoveryRequest, RecoveryTarget} from '../restore/request.js';
import type {InputReader} from './reader.js';
import type {RunContext} from './run-context.js';

const targetInputs = {
  'recovery-target-time': 'time',
  'recovery-target-lsn': 'lsn',
  'recovery-target-xid': 'xid',
  'recovery-target-name': 'name',
  'recovery-target': 'immediate',
} as const satisfies Record<string, RecoveryTarget['kind']>;

/** The inputs that name a target. */
export const targetInputNames: readonly string[] = Object.keys(targetInputs);

/** The inputs that say how far recovery goes, and where archived WAL comes from. */
export const recoveryInputs = [
  ...targetInputNames,
  'recovery-target-inclusive',
  'recovery-target-timeline',
  'recovery-target-action',
  'wal-directory',
  'restore-command',
] as const;

/** Reads the inputs of recovery. */
export function readRecovery(reader: InputReader, {workspace}: RunContext): RecoveryRequest {
  const target = readTarget(reader);
  const walDirectory = reader.text('wal-directory');
  const restoreCommand = reader.text('restore-command');
  if (walDirectory !== undefined && restoreCommand !== undefined) {
    reader.reject('wal-directory', 'it and restore-command are both set: archived WAL comes from one place');
  }
  if (restoreCommand !== undefined && /[\n\r]/.test(restoreCommand))
    reader.reject('restore-command', 'it must be one line');
  return {
    ...(target && {target}),
    inclusive: readInclusive(reader, target),
    timeline: readTimeline(reader),
    action: readAction(reader, target),
    ...(walDirectory !== undefined && {walDirectory: resolve(workspace, walDirectory)}),
    ...(restoreCommand !== undefined && {restoreCommand}),
  };
}

/** What PostgreSQL takes, and what it would refuse only when the backup is extracted (xlogrecovery.c, check_…). */
const targetForms: Readonly<
  Record<RecoveryTarget['kind'], readonly [isRight: (value: string) => boolean, allowed: string]>
> = {
  time: [
    (value) => parseTimestamp(value) !== undefined,
    'a time with a zone, such as 2026-11-22 08:00:00+00 or 2026-11-22T08:00:00Z',
  ],
  lsn: [(value) => /^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/.test(value), 'an LSN such as 0/3000060'],
  xid: [isTransactionId, 'a transaction id, such as 742 (pg_current_xact_id() tells it)'],
  name: [
    // NAMEDATALEN of a restore point: MAXFNAMELEN in xlog_internal.h, less the end mark.
    (value) => Buffer.byteLength(value) <= 63 && !/\p{Cc}/u.test(value),
    'the name of a restore point: one line of 63 bytes at most',
  ],
  immediate: [(value) => value === 'immediate', 'immediate'],
};

/** With its epoch or without; 0, 1 and 2 are nobody's, and PostgreSQL reads a leading 0 as octal. */
function isTransactionId(value: string): boolean {
  return /^[1-9]\d{0,19}$/.test(value) && BigInt(value) < 2n ** 64n && BigInt(value) % 2n ** 32n >= 3n;
}

function readTarget(reader: InputReader): RecoveryTarget | undefined {
  const given = Object.entries(targetInputs).flatMap(([name, kind]) => {
    const value = reader.text(name);
    if (value === undefined) return [];
    const [isRight, allowed] = targetForms[kind];
    if (!isRight(value)) reader.reject(name, `${JSON.stringify(value)} is not ${allowed}`);
    return [{name, kind, value}];
  });
  const [first, second] = given;
  if (second) reader.reject(second.name, `${first?.name} is set too, and recovery has one target at most`);
  return first && {kind: first.kind, value: first.value};
}

function readInclusive(reader: InputReader, target: RecoveryTarget | undefined): boolean {
  const inclusive = reader.flag('recovery-target-inclusive', true);
  if (!inclusive && !['time', 'lsn', 'xid'].includes(target?.kind ?? ''))
    reader.reject(
      'recovery-target-inclusive',
      'false belongs to recovery-target-time, -lsn or -xid: PostgreSQL ignores it for anything else',
    );
  return inclusive;
}

function readTimeline(reader: InputReader): string {
  const allowed = 'latest, current or a number from 1';
  const text = reader.matching('recovery-target-timeline', /^(latest|current|[1-9]\d{0,9})$/, allowed);
  if (Number(text) > 2 ** 32 - 1) reader.reject('recovery-target-timeline', `${text} is not ${allowed}`);
  return text ?? 'latest';
}

function readAction(reader: InputReader, target: RecoveryTarget | undefined): RecoveryRequest['action'] {
  const action = reader.choice('recovery-target-action', ['promote', 'pause'], 'promote');
  if (action === 'pause' && target === undefined)
    reader.reject('recovery-target-action', 'pause needs a target to pause at');
  if (action === 'pause' && /\bamcheck\b/.test(reader.text('checks') ?? ''))
    reader.reject(
      'recovery-target-action',
      'pause leaves the copy in recovery, where amcheck cannot install its extension: promote',
    );
  return action;
}
