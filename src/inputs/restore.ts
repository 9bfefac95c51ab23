import {resolve} from 'node:path';
import {isPattern, problemOfName} from '../backup-set/naming.js';
import type {Check, RecoveryRequest, RestoreRequest} from '../restore/request.js';
import {readMajor} from './backup.js';
import {connectionInputs, readConnection} from './connection.js';
import {type InputReader, readMapping} from './reader.js';
import type {RunContext} from './run-context.js';

const targetInputs = {
  'recovery-target-time': 'time',
  'recovery-target-lsn': 'lsn',
  'recovery-target-xid': 'xid',
  'recovery-target-name': 'name',
  'recovery-target': 'immediate',
} as const;

/** The inputs that belong to restore mode alone. */
export const restoreInputs = [
  'run-id',
  'repository',
  'github-token',
  'data-directory',
  ...Object.keys(targetInputs),
  'recovery-target-inclusive',
  'recovery-target-timeline',
  'recovery-target-action',
  'wal-directory',
  'restore-command',
  'standby',
  'postgresql-conf',
  'isolate',
  'listen-port',
  'start-timeout',
  'checks',
  'check-sql',
  'check-database',
  'max-backup-age',
  'keep-running',
] as const;

/** Reads the inputs of restore mode. */
export function readRestore(reader: InputReader, context: RunContext): RestoreRequest {
  const isStandby = reader.flag('standby', false);
  const user = isStandby ? undefined : reader.text('user');
  const age = readAge(reader);
  return {
    mode: 'restore',
    backupName: readWantedName(reader),
    pgVersion: readMajor(reader),
    dataDirectory: readDataDirectory(reader, context),
    tablespaceMapping: readMapping(reader, 'tablespace-mapping'),
    recovery: readRecovery(reader, context),
    ...(isStandby && {primary: readConnection(reader, context.environment, context.applicationName)}),
    postgresqlConf: reader.lines('postgresql-conf'),
    isolate: reader.flag('isolate', true) && !isStandby,
    listenPort: reader.integer('listen-port', {min: 1, max: 65535}) ?? 5433,
    startTimeoutSeconds: reader.integer('start-timeout', {min: 1, max: 604_800}) ?? 300,
    checks: readChecks(reader),
    checkSql: reader.lines('check-sql'),
    checkDatabase: reader.text('check-database') ?? 'postgres',
    ...(user !== undefined && {user}),
    ...(age !== undefined && {maxBackupAgeSeconds: age}),
    keepRunning: reader.flag('keep-running', false),
    dryRun: reader.flag('dry-run', false),
  };
}

/** Connection inputs that mean nothing to this restore, so that setting one is a mistake. */
export function connectionInputsOfNoUse(request: RestoreRequest): readonly string[] {
  return request.primary ? [] : connectionInputs.filter((name) => name !== 'user');
}

function readWantedName(reader: InputReader): string {
  const wanted = reader.text('backup-name') ?? 'latest';
  const problem =
    wanted === 'latest'
      ? undefined
      : problemOfName(isPattern(wanted) ? wanted.replaceAll(/[*?]/g, 'x') : wanted);
  if (problem !== undefined) reader.reject('backup-name', `${JSON.stringify(wanted)} ${problem}`);
  return wanted;
}

function readDataDirectory(reader: InputReader, {workspace, temporaryDirectory}: RunContext): string {
  const given = reader.text('data-directory');
  // pg_ctl hands its paths to a shell, within double quotes (pg_ctl.c, start_postmaster).
  if (given !== undefined && /["$`\\\n\r!]/.test(given)) {
    reader.reject('data-directory', `${JSON.stringify(given)} must not contain " $ \` \\ ! or a line break`);
  }
  return given === undefined ? resolve(temporaryDirectory, 'pgdata') : resolve(workspace, given);
}

function readRecovery(reader: InputReader, {workspace}: RunContext): RecoveryRequest {
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
    inclusive: reader.flag('recovery-target-inclusive', true),
    timeline:
      reader.matching('recovery-target-timeline', /^(latest|current|\d+)$/, 'latest, current or a number') ??
      'latest',
    action: reader.choice('recovery-target-action', ['promote', 'pause'], 'promote'),
    ...(walDirectory !== undefined && {walDirectory: resolve(workspace, walDirectory)}),
    ...(restoreCommand !== undefined && {restoreCommand}),
  };
}

const targetForms: Readonly<
  Record<NonNullable<RecoveryRequest['target']>['kind'], readonly [RegExp, string]>
> = {
  time: [/\d.*(Z|UTC|[+-]\d{2}(:?\d{2})?)$/, 'a time with a zone, such as 2026-11-22 08:00:00+00'],
  lsn: [/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/, 'an LSN such as 0/3000060'],
  xid: [/^\d+$/, 'a transaction id'],
  name: [/^[^\n\r]{1,63}$/, 'the name of a restore point'],
  immediate: [/^immediate$/, 'immediate'],
};

function readTarget(reader: InputReader): RecoveryRequest['target'] {
  const given = Object.entries(targetInputs).flatMap(([name, kind]) => {
    const [pattern, allowed] = targetForms[kind];
    const value = reader.matching(name, pattern, allowed);
    return value === undefined ? [] : [{name, kind, value}];
  });
  const [first, second] = given;
  if (second) reader.reject(second.name, `${first?.name} is set too, and recovery has one target at most`);
  return first && {kind: first.kind, value: first.value};
}

const allChecks: readonly Check[] = ['manifest', 'dump', 'checksums', 'amcheck'];

function readChecks(reader: InputReader): readonly Check[] {
  const names = reader.lines('checks').flatMap((line) => line.split(/[\s,]+/));
  if (names.length === 0) return ['manifest'];
  for (const name of names) {
    if (!allChecks.some((check) => check === name))
      reader.reject('checks', `${JSON.stringify(name)} is not one of ${allChecks.join(', ')}`);
  }
  return allChecks.filter((check) => names.includes(check));
}

const ageUnits = {m: 60, h: 3600, d: 86_400, w: 604_800} as const;

function readAge(reader: InputReader): number | undefined {
  const text = reader.matching('max-backup-age', /^\d{1,6}[mhdw]$/, 'an age such as 90m, 26h, 8d or 2w');
  const unit = text?.at(-1) as keyof typeof ageUnits | undefined;
  return text === undefined || unit === undefined ? undefined : Number(text.slice(0, -1)) * ageUnits[unit];
}
