import {describe, expect, test} from 'vitest';
import {awaitedFile, tellEarlyEnd} from '../../src/restore/recovery/recovery-failure.js';
import {lastAskedSegment, parseRecoveryLog} from '../../src/restore/recovery/recovery-log.js';
import {type BackupReach, requireInReach, requireStop} from '../../src/restore/recovery/recovery-target.js';
import type {RecoveryRequest, RecoveryTarget} from '../../src/restore/request.js';

const recovery = (target?: RecoveryTarget, more: Partial<RecoveryRequest> = {}): RecoveryRequest => ({
  inclusive: true,
  timeline: 'latest',
  action: 'promote',
  ...(target && {target}),
  ...more,
});

/** As PostgreSQL writes them, whatever the line begins with. */
const log = (...messages: readonly string[]) =>
  messages.map((message) => `2026-11-22 08:00:00.123 UTC [42] LOG:  ${message}\n`).join('');

describe('the log of a recovery that stopped', () => {
  const time = '2026-11-22 08:00:00.5+00';
  const kinds: readonly {target: RecoveryTarget; aim: string; inclusive: string; exclusive?: string}[] = [
    {
      target: {kind: 'xid', value: String(2n ** 32n + 742n)},
      aim: 'XID 742',
      inclusive: `after commit of transaction 742, time ${time}`,
      exclusive: `before abort of transaction 742, time ${time}`,
    },
    {
      target: {kind: 'lsn', value: '0/3000060'},
      aim: 'WAL location (LSN) "0/3000060"',
      inclusive: 'after WAL location (LSN) "0/3000060"',
      exclusive: 'before WAL location (LSN) "0/3000098"',
    },
    {
      target: {kind: 'time', value: '2026-11-22T13:30:00.4+05:30'},
      aim: '2026-11-22 08:00:00.4+00',
      inclusive: `before commit of transaction 742, time ${time}`,
      exclusive: 'before commit of transaction 742, time 2026-11-22 08:00:00.4+00',
    },
    {
      target: {kind: 'name', value: 'it "is"'},
      aim: '"it "is""',
      inclusive: `at restore point "it "is"", time ${time}`,
    },
    {
      target: {kind: 'immediate', value: 'immediate'},
      aim: 'earliest consistent point',
      inclusive: 'after reaching consistency',
    },
  ];

  test.each(kinds)('is that of the target: $target', ({target, aim, inclusive, exclusive}) => {
    const parsed = (stop: string) =>
      parseRecoveryLog(log(`starting point-in-time recovery to ${aim}`, `recovery stopping ${stop}`));
    expect(requireStop(recovery(target), parsed(inclusive))?.text).toBe(inclusive);
    const without = recovery(target, {inclusive: false});
    if (exclusive !== undefined) expect(requireStop(without, parsed(exclusive))?.text).toBe(exclusive);
  });

  test.each(kinds)('is refused when it is that of another one: $target', ({target, aim, inclusive}) => {
    const refused = (...messages: readonly string[]) =>
      expect(() => requireStop(recovery(target), parseRecoveryLog(log(...messages)))).toThrow(
        'was to stop at',
      );
    refused('starting archive recovery');
    refused(`starting point-in-time recovery to ${aim}`);
    refused('starting point-in-time recovery to XID 9', `recovery stopping ${inclusive}`);
    refused(
      `starting point-in-time recovery to ${aim}`,
      'recovery stopping after commit of transaction 9, time 2020-01-01 00:00:00+00',
    );
  });

  test('asks for nothing without a target', () => {
    expect(requireStop(recovery(), parseRecoveryLog(''))).toBeUndefined();
  });
});

describe('a target within reach', () => {
  const reach: BackupReach = {
    startLsn: '0/2000028',
    endLsn: '0/2000100',
    timeline: 1,
    selfContained: true,
    takenAt: new Date('2026-11-22T08:00:00Z'),
    finishedAt: new Date('2026-11-22T08:10:00Z'),
  };
  const lsn = (value: string) => recovery({kind: 'lsn', value}, {walDirectory: '/archive'});
  const time = (value: string) => recovery({kind: 'time', value});

  test('is an LSN from the end of the backup on', () => {
    expect(() => requireInReach(lsn('0/20000FF'), reach)).toThrow('The earliest that this backup can be');
    expect(requireInReach(lsn('0/2000100'), reach)).toBeUndefined();
    expect(requireInReach(lsn('FFFFFFFF/0'), reach)).toBeUndefined();
  });

  test('is not an LSN after the end of the backup without an archive', () => {
    const alone = (value: string) => requireInReach(recovery({kind: 'lsn', value}), reach);
    expect(() => alone('0/2000101')).toThrow('there is no archive to recover from');
    expect(alone('0/2000100')).toBeUndefined();
  });

  test('is a time after the backup, for certain only once it was finished', () => {
    expect(() => requireInReach(time('2026-11-22 07:59:59.999999+00'), reach)).toThrow(
      'The earliest that this backup can be recovered to is 2026-11-22 08:10:00+00.',
    );
    expect(requireInReach(time('2026-11-22 08:00:00+00'), reach)).toContain('PostgreSQL tells');
    expect(requireInReach(time('2026-11-22 08:09:59+00'), reach)).toContain('PostgreSQL tells');
    expect(requireInReach(time('2026-11-22 08:10:00+00'), reach)).toBeUndefined();
  });

  test('is not refused by the clock of a runner alone, which may be off by any time', () => {
    const {takenAt: _, ...known} = reach;
    expect(requireInReach(time('2026-11-22 02:00:00+00'), known)).toContain('PostgreSQL tells');
    expect(requireInReach(time('2026-11-22 08:10:00+00'), known)).toBeUndefined();
  });

  test('is an LSN from the start of the backup on, where its end is not known', () => {
    const known = {...reach, isEndUnknown: true};
    expect(() => requireInReach(lsn('0/2000027'), known)).toThrow('after LSN 0/2000028');
    expect(requireInReach(lsn('0/2000028'), known)).toBeUndefined();
    const alone = (value: string) => requireInReach(recovery({kind: 'lsn', value}), known);
    expect(alone('0/20000FF')).toBeUndefined();
    expect(() => alone('0/2000101')).toThrow('the end of the WAL in the backup (0/2000100)');
  });

  test('is not known where nothing tells when the backup was made', () => {
    const {takenAt: _, finishedAt: __, ...rest} = reach;
    expect(requireInReach(time('2000-01-01 00:00:00+00'), rest)).toBeUndefined();
  });
});

describe('a recovery that ended before its target', () => {
  const ended = [
    'restored log file "000000010000000000000005" from archive',
    'redo done at 0/5000100 system usage: CPU: user: 0.00 s',
    'last completed transaction was at log time 2026-11-22 08:00:00.5+00',
  ];
  const fatal =
    '2026-11-22 08:00:00 UTC [42] FATAL:  recovery ended before configured recovery target was reached\n';
  const target = {kind: 'xid', value: '742'} as const;
  const asked = '00000002.history\n000000010000000000000005\n000000010000000000000006\n';

  test('is told with how far it came, and what it lacked', () => {
    const traces = {
      recovery: recovery(target, {walDirectory: '/archive'}),
      log: log(...ended) + fatal,
      asked,
    };
    const {message = '', cure = ''} = tellEarlyEnd(traces) ?? {};
    for (const text of ['transaction 742', '0/5000100', '2026-11-22 08:00:00.5+00'])
      expect(message).toContain(text);
    expect(message).toContain('000000010000000000000006, which did not come');
    expect(cure).toContain('Add the WAL from 000000010000000000000006 on to /archive');
  });

  test('is told with the damage, when all that was asked for came', () => {
    const damage = 'invalid magic number 0000 in log segment 000000010000000000000005, offset 0';
    const text = log(...ended.slice(0, 1), damage) + fatal;
    const all = asked.split('\n').slice(0, 2).join('\n');
    const told = tellEarlyEnd({recovery: recovery(target), log: text, asked: all});
    expect(told?.message).toContain(`in which the WAL breaks off: ${damage}`);
    expect(told?.cure).toContain('Set wal-directory or restore-command');
  });

  test('is nothing else', () => {
    expect(tellEarlyEnd({recovery: recovery(target), log: log(...ended), asked})).toBeUndefined();
    expect(tellEarlyEnd({recovery: recovery(), log: fatal, asked})).toBeUndefined();
  });

  test('waits for the file that it asked for, unless that came', () => {
    expect(awaitedFile({log: log(...ended), asked})).toBe('000000010000000000000006');
    expect(awaitedFile({log: log(...ended), asked: '000000010000000000000005\n'})).toBeUndefined();
    expect(awaitedFile({log: '', asked: ''})).toBeUndefined();
    expect(lastAskedSegment('', parseRecoveryLog(''))).toBeUndefined();
  });
});
