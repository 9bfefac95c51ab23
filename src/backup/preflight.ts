import {openEncryption} from '../backup-set/encryption/encryption.js';
import {messageOf, PassingError, UserError} from '../errors.js';
import {attempt, type Finding, failuresOf, findingOf, refuseErrors, showFindings} from '../finding.js';
import type {Claim} from '../host/claim.js';
import type {Host} from '../host/host.js';
import {type Answers, askServer, nothingBySql, type ServerFacts} from '../postgres/facts.js';
import {explain} from '../postgres/failures.js';
import {type Installer, packageOf} from '../postgres/install.js';
import {type Client, findClient, listClients, type Vantage} from '../postgres/programs.js';
import {majorOf} from '../postgres/version.js';
import {judgeAttestation} from '../provenance/attest.js';
import type {Store} from '../store/store.js';
import {findExposure} from './exposure.js';
import {holePuncher} from './hole-puncher.js';
import {judge, managedService} from './judge.js';
import {chooseParent, type Parent} from './parent.js';
import {type BackupPlan, planBackup} from './plan.js';
import type {BackupRequest} from './request.js';

/** What a backup works with. */
export interface BackupSurroundings {
  /** Where the backup ends up. */
  readonly runner: Host;
  /** Where pg_basebackup may run; the first that has a fitting one is taken. */
  readonly vantages: readonly [Vantage, ...Vantage[]];
  readonly store: Store;
  /** Records what is written. */
  readonly claim: Claim;
  /** Waits; throws when the run is cancelled meanwhile. */
  readonly pause: (seconds: number) => Promise<void>;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
  /** Gets a client that the runner lacks; undefined where none may be installed. */
  readonly installer?: Installer;
}

/** A backup that can be taken. */
export interface Ready {
  readonly plan: BackupPlan;
  /** None of them is an error. */
  readonly findings: readonly Finding[];
}

/**
 * Makes sure, before anything is written, that a backup can succeed, and decides how it is taken. Shows all that was
 * found. Throws a HinderedError, a UserError, that names everything that stands in the way at once.
 */
export async function preflight(request: BackupRequest, surroundings: BackupSurroundings): Promise<Ready> {
  const {runner, vantages, store, installer} = surroundings;
  // Meanwhile, since it takes as long as the server does to answer; why it fails is told by findClient.
  const listing = listClients(vantages[0]);
  const [canStream, answers, name, encryption, exposure] = await Promise.all([
    canPunchHoles(runner),
    askServer(vantages[0].connection, request.stallTimeoutSeconds),
    attempt('Name', () => store.checkName(request.name)),
    attempt('Encryption', async () => request.encryption && openEncryption(request.encryption, runner)),
    findExposure(request, store),
    listing.catch(() => undefined),
  ]);
  const dataBytes = 'readiness' in answers.sql ? answers.sql.readiness.dataBytes : null;
  const mayStream = canStream && isStreamable(request, store, dataBytes);
  const early = [...exposure, ...judgeAttestation(request.attestation)];
  const judged = [...early, ...(await judgeAnswers(answers, request, {...surroundings, mayStream}))];
  const isHindered =
    'finding' in name || 'finding' in encryption || judged.some(({level}) => level === 'error');
  const acquisition = {
    wanted: request.pgVersion,
    // Nothing is installed for a backup that cannot be taken.
    dryRun: request.dryRun || isHindered,
    listing,
    ...(installer && {installer}),
  };
  const version = versionOf(answers);
  const client =
    version === undefined
      ? undefined
      : await attempt('Client', () => findClient(vantages, majorOf(version), acquisition));
  const server = serverOf(answers);
  const base = server && !isHindered ? await findBase(request, {server, answers, ...surroundings}) : {};
  const plan =
    server && client && 'value' in client && 'value' in encryption
      ? await attempt('Plan', () =>
          planBackup(request, {
            runner,
            server,
            client: client.value,
            encryption: encryption.value,
            parent: base.parent,
            mayStream,
            dataBytes,
          }),
        )
      : undefined;
  const findings = [
    ...judged,
    ...(base.finding ? [base.finding] : []),
    ...(client && 'value' in client ? noteInstallation(client.value) : []),
    ...failuresOf([name, encryption, client, plan]),
  ];
  await showFindings(findings);
  refuseErrors(findings, 'backup');
  if (plan && 'value' in plan) return {plan: plan.value, findings};
  throw new Error('Nothing stands in the way of the backup, and there is no plan for it.');
}

/** Whether the disk space of what is stored can be given back while the rest is written. */
async function canPunchHoles(runner: Host): Promise<boolean> {
  return (await runner.findOnPath(holePuncher)) !== undefined;
}

/** What an incremental backup builds on, or why it is a full one; neither where a full one was asked for. */
async function findBase(
  {incremental, decryption}: BackupRequest,
  {
    server,
    answers: {sql},
    runner,
    store,
    claim,
  }: BackupSurroundings & {readonly server: ServerFacts; readonly answers: Answers},
): Promise<{readonly parent?: Parent; readonly finding?: Finding}> {
  if (incremental === undefined) return {};
  const summaries = 'readiness' in sql ? sql.readiness.walSummaries : undefined;
  const scratchDirectory = claim.directory;
  return chooseParent({every: incremental, server, summaries, store, decryption, runner, scratchDirectory});
}

/** Whether the store takes this backup while it is taken; a plain one has too many files. */
function isStreamable({format}: BackupRequest, {receiving}: Store, dataBytes: number | null): boolean {
  if (format !== 'tar' || receiving === undefined) return false;
  const {aboveBytes} = receiving;
  return aboveBytes === undefined || (dataBytes ?? 0) > aboveBytes;
}

function versionOf({identity, sql}: Answers): number | undefined {
  if ('versionNumber' in identity) return identity.versionNumber;
  return 'versionNumber' in sql ? sql.versionNumber : undefined;
}

function serverOf({identity, sql}: Answers): ServerFacts | undefined {
  if ('refusal' in identity) return undefined;
  return {
    ...identity,
    ...('facts' in sql ? sql.facts : {...nothingBySql, sqlRefusal: messageOf(sql.refusal)}),
  };
}

async function judgeAnswers(
  answers: Answers,
  request: BackupRequest,
  {runner, vantages, store, mayStream}: BackupSurroundings & {readonly mayStream: boolean},
): Promise<readonly Finding[]> {
  const {identity, sql} = answers;
  const [{connection}] = vantages;
  const {mostBytes} = store.receiving ?? {};
  const largestFileBytes = mayStream && mostBytes !== undefined ? mostBytes : store.largestFileBytes;
  const judged =
    'readiness' in sql
      ? judge({
          ...sql,
          serverMajor: majorOf(sql.versionNumber),
          request: {...request, connection},
          freeBytes: await runner.freeBytes(request.directory),
          isStreamed: mayStream,
          storeDiskBytes: store.receiving?.diskBytes ?? 0,
          ...(largestFileBytes !== undefined && {largestFileBytes}),
        })
      : [];
  if ('refusal' in identity) return withRefusal(judged, identity.refusal, {answers, connection});
  return [
    ...('refusal' in sql ? [noSql(sql.refusal, connection)] : []),
    ...(request.walMethod === 'none' ? [noWal] : []),
    ...judged,
  ];
}

/** Why there is no replication connection; once, where the server's own facts tell it too. */
function withRefusal(
  judged: readonly Finding[],
  thrown: unknown,
  {answers, connection}: {answers: Answers; connection: Vantage['connection']},
): readonly Finding[] {
  const refusal = explain('The server accepts no replication connection', thrown, connection);
  const text = messageOf(thrown);
  const service = managedService(connection.parameters.host, answers);
  if (service !== undefined && /replication|wal ?sender/i.test(text)) {
    const message = `${service} lets nobody take a physical backup: ${text}`;
    return [
      findingOf(
        'Service',
        new UserError(message, 'Use pg_dump, or the snapshots of the service.', {cause: thrown}),
      ),
    ];
  }
  const known = new Set(judged.filter(({level}) => level === 'error').map(({subject}) => subject));
  const isToldBySenders =
    /requested standby connections/.test(text) && (known.has('WAL senders') || known.has('wal_level'));
  const isAboutRole = /replication role to start walsender|permission denied to start WAL sender/.test(text);
  return [
    ...(isToldBySenders ? [] : [findingOf('Replication connection', refusal)]),
    ...judged.filter(({subject}) => !(isAboutRole && subject === 'Role')),
  ];
}

function noteInstallation({programs, host}: Client): readonly Finding[] {
  if (programs.isToBeInstalled === undefined) return [];
  const wanted = packageOf('client', programs.major);
  return [
    {
      level: 'note',
      subject: 'Client',
      observed: `${host.name} lacks one: ${wanted} would be installed.`,
      cure: '',
    },
  ];
}

const noWal: Finding = {
  level: 'warning',
  subject: 'WAL',
  observed:
    'wal-method: none leaves the WAL out: this backup restores only together with an archive that holds it.',
  cure: '',
};

function noSql(thrown: unknown, connection: Vantage['connection']): Finding {
  const explained = explain(
    'No SQL session, so the metadata lacks tablespaces, settings and collations, and less is checked',
    thrown,
    connection,
  );
  return {
    level: 'warning',
    subject: 'SQL',
    observed: explained.message,
    cure:
      explained instanceof PassingError
        ? explained.cure
        : 'Let the role connect to a database too: mode: prepare does it, or the README’s line of pg_hba.conf.',
  };
}
