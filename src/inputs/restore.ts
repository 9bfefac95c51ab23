import {resolve} from 'node:path';
import {isPattern, latestVerified, problemOfName} from '../backup-set/naming.js';
import type {Check, RestoreRequest} from '../restore/request.js';
import {readMajor, readSlot} from './backup.js';
import {connectionInputs, readConnection} from './connection.js';
import {readDecryption} from './encryption.js';
import {readRequiredAttestation, requireAttestationInput} from './provenance.js';
import {type InputReader, readContainer, readMapping, readSeconds} from './reader.js';
import {readRecovery, recoveryInputs, targetInputNames} from './recovery.js';
import type {RunContext} from './run-context.js';

/** The inputs that belong to restore mode alone. */
export const restoreInputs = [
  'run-id',
  'repository',
  'data-directory',
  ...recoveryInputs,
  'standby',
  'postgresql-conf',
  'isolate',
  'listen-port',
  'start-timeout',
  'checks',
  'check-sql',
  'check-database',
  'max-backup-age',
  requireAttestationInput,
  'in-place',
  'keep-running',
] as const;

/** Reads the inputs of restore mode. */
export function readRestore(reader: InputReader, context: RunContext): RestoreRequest {
  const isStandby = reader.flag('standby', false);
  const container = readContainer(reader);
  const inPlace = readInPlace(reader, container);
  const user = isStandby ? undefined : reader.text('user');
  const age = readSeconds(reader, 'max-backup-age');
  const requiredAttestation = readRequiredAttestation(reader, context);
  const slot = isStandby ? readSlot(reader) : undefined;
  if (isStandby) refuseForStandby(reader);
  return {
    mode: 'restore',
    backupName: readWantedName(reader),
    decryption: readDecryption(reader, context),
    ...(requiredAttestation && {requiredAttestation}),
    pgVersion: readMajor(reader),
    dataDirectory: readDataDirectory(reader, context, container !== undefined),
    ...(container !== undefined && {container}),
    inPlace,
    tablespaceMapping: readMapping(reader, 'tablespace-mapping'),
    recovery: readRecovery(reader, context),
    ...(isStandby && {primary: readConnection(reader, context)}),
    ...(slot !== undefined && {slot}),
    postgresqlConf: readPostgresqlConf(reader),
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
  return request.primary ? [] : [...connectionInputs.filter((name) => name !== 'user'), 'slot'];
}

/** A standby goes on along its primary's newest timeline without end, and cannot be written to. */
function refuseForStandby(reader: InputReader): void {
  for (const name of [...targetInputNames, 'recovery-target-action', 'recovery-target-timeline']) {
    if (reader.text(name) !== undefined)
      reader.reject(
        name,
        'a standby replays all that its primary writes: it goes without standby: true only',
      );
  }
  if (reader.text('isolate')?.toLowerCase() === 'true')
    reader.reject('isolate', 'a standby follows its primary, so that it cannot be isolated: leave it out');
}

/** The name of the backup that is looked for: exact, a pattern, `latest`, or `latest-verified`. */
export function readWantedName(reader: InputReader): string {
  const wanted = reader.text('backup-name') ?? 'latest';
  const problem =
    wanted === 'latest' || wanted === latestVerified
      ? undefined
      : problemOfName(isPattern(wanted) ? wanted.replaceAll(/[*?]/g, 'x') : wanted);
  if (problem !== undefined) reader.reject('backup-name', `${JSON.stringify(wanted)} ${problem}`);
  return wanted;
}

/** In place the server is the service's own, so that these have nothing to say. */
const notInPlace = ['data-directory', 'listen-port', 'keep-running', 'standby'] as const;

function readInPlace(reader: InputReader, container: string | undefined): boolean {
  const inPlace = reader.flag('in-place', false);
  if (!inPlace) return false;
  if (container === undefined)
    reader.reject(
      'in-place',
      'it replaces the data of a service: set container: ${{ job.services.postgres.id }}',
    );
  if (reader.text('recovery-target-action') === 'pause')
    reader.reject('recovery-target-action', 'with in-place the service is opened for writing: promote');
  for (const name of notInPlace) {
    if (reader.text(name) !== undefined)
      reader.reject(name, 'it does not go with in-place, which uses the service’s own directory and port');
  }
  return true;
}

function readDataDirectory(
  reader: InputReader,
  {workspace, temporaryDirectory}: RunContext,
  isInContainer: boolean,
): string {
  const given = reader.text('data-directory');
  if (isInContainer && given !== undefined && !given.startsWith('/'))
    reader.reject(
      'data-directory',
      `${JSON.stringify(given)} is not an absolute path, which it is in a container`,
    );
  // pg_ctl hands its paths to a shell, within double quotes (pg_ctl.c, start_postmaster).
  if (given !== undefined && /["$`\\\n\r!]/.test(given)) {
    reader.reject('data-directory', `${JSON.stringify(given)} must not contain " $ \` \\ ! or a line break`);
  }
  if (given !== undefined) return resolve(workspace, given);
  return isInContainer ? '/var/lib/postgresql/restored' : resolve(temporaryDirectory, 'pgdata');
}

/** A line that leads the server to other data would have it start on them, and recover and change them. */
function readPostgresqlConf(reader: InputReader): readonly string[] {
  const lines = reader.lines('postgresql-conf');
  const other = lines.find((line) => /^data_directory\b/i.test(line));
  if (other !== undefined) {
    reader.reject(
      'postgresql-conf',
      `${JSON.stringify(other)} would start the server on other data than those that are restored: use data-directory`,
    );
  }
  return lines;
}

const allChecks: readonly Check[] = ['manifest', 'dump', 'checksums', 'amcheck'];

function readChecks(reader: InputReader): readonly Check[] {
  const names = reader.lines('checks').flatMap((line) => line.split(/[\s,]+/));
  if (names.length === 0) return ['manifest'];
  for (const name of names) {
    if (!allChecks.some((check) => check === name))
      reader.reject('checks', `${JSON.stringify(name)} is not one of ${allChecks.join(', ')}`);
  }
  if (names.includes('amcheck')) refuseAmcheck(reader);
  return allChecks.filter((check) => names.includes(check));
}

/** Its extension has to be installed, which a server in recovery does not allow. */
function refuseAmcheck(reader: InputReader): void {
  if (reader.text('standby')?.toLowerCase() !== 'true') return;
  reader.reject('checks', 'amcheck installs its extension, which a server with standby: true does not allow');
}
