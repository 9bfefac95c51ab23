import {refuseOld} from '../../backup-set/age.js';
import {type Decryption, openDecryption} from '../../backup-set/encryption/decryption.js';
import type {Metadata} from '../../backup-set/metadata.js';
import {UserError} from '../../errors.js';
import {
  type Attempt,
  attempt,
  type Finding,
  failuresOf,
  findingOf,
  refuseErrors,
  showFindings,
} from '../../finding.js';
import type {Claim} from '../../host/claim.js';
import type {Host} from '../../host/host.js';
import type {ServiceContainer} from '../../host/service.js';
import {noteBackup} from '../../journal.js';
import {info} from '../../log.js';
import {type Installer, packageOf} from '../../postgres/install.js';
import {findServerPrograms, type Programs} from '../../postgres/programs.js';
import {majorOf} from '../../postgres/version.js';
import {requireAttestation} from '../../provenance/require-attestation.js';
import {describeSigner, type Signer} from '../../provenance/verified-attestation.js';
import {type ChainMember, followChain} from '../../store/chain.js';
import type {FoundBackup, Store} from '../../store/store.js';
import {unlock} from '../../store/unlock.js';
import type {Destination} from '../destination.js';
import {judgeMatch} from '../match.js';
import {targetTime} from '../recovery/recovery-target.js';
import type {RestoreRequest} from '../request.js';
import {meetPrimary, type Primary} from '../standby/primary.js';
import {checkFetchSpace, checkSpace, surveyTarget, type Target, unpackedBytes} from '../target.js';
import {surveyChecks} from './check-survey.js';
import {judgeChecks, judgeSource} from './judge.js';
import {judgePort} from './port.js';
import {surveyRecovery} from './recovery-survey.js';

/** What a restore works with. */
export interface RestoreSurroundings {
  /** Where the server will run. */
  readonly host: Host;
  /** Where the backup's files arrive. */
  readonly runner: Host;
  readonly store: Store;
  /** Records what is written; its directory takes files that outlive no step. */
  readonly claim: Claim;
  /** The service whose data are replaced by a restore in place. */
  readonly service?: ServiceContainer;
  /** Gets programs that the runner lacks; undefined where the server runs elsewhere, or none may be installed. */
  readonly installer?: Installer;
}

/** A restore that can begin. */
export interface Ready {
  /** With the directories that are written into. */
  readonly request: RestoreRequest;
  readonly target: Target;
  readonly backup: FoundBackup;
  /** What an incremental backup builds on, the full one first; empty for a full one. */
  readonly parents: readonly ChainMember[];
  /** Opens its files, where they are encrypted. */
  readonly decryption: Decryption;
  /** The server that the restored one will follow, if it shall be a standby. */
  readonly primary: Primary | undefined;
  /** None of them is an error. */
  readonly findings: readonly Finding[];
}

type Judging = RestoreSurroundings & {readonly destination: Destination};

/**
 * Makes sure, before anything is fetched or written, that a restore can succeed, as far as that can be known. Shows
 * all that was found. Throws a HinderedError, a UserError, that names everything that stands in the way at once.
 */
export async function preflight(asked: RestoreRequest, judging: Judging): Promise<Ready> {
  const {host, runner, destination} = judging;
  const placed = await attempt('Service', () => destination.place(asked));
  const request = resultOf(placed) ?? asked;
  const surveyed = resultOf(placed) && (await surveyTarget(request, host));
  const opened = await attempt('Keys', () => openDecryption(request.decryption, runner));
  const decryption = resultOf(opened);
  const found = decryption && (await attempt('Backup', () => findTrusted(request, {...judging, decryption})));
  const {backup, notes = []} = (found && resultOf(found)) ?? {};
  const chain = backup && (await attempt('Chain', () => findParents(backup, request, judging)));
  const parents = (chain && resultOf(chain)) ?? [];
  const target = surveyed?.target;
  if (backup && target) show([...parents, backup], target, host);
  const early = [
    ...failuresOf([placed]),
    ...(surveyed?.findings ?? []),
    ...failuresOf([opened, found, chain]),
    ...notes,
    ...(await judgeRequest(request, judging)),
    ...(backup ? judgeBackup(backup, request) : []),
    ...(backup && target ? await judgeSpace([...parents, backup], target, judging) : []),
  ];
  // Nothing is installed for a backup that cannot be restored.
  const trying = {...request, dryRun: request.dryRun || hasError(early)};
  const further = await lookFurther(trying, backup && decryption && {backup, decryption}, judging);
  const findings = [...early, ...further.findings];
  await showFindings(findings);
  refuseErrors(findings, 'restore');
  if (backup && decryption && target)
    return {request, target, backup, parents, decryption, primary: further.primary, findings};
  throw new Error('Nothing stands in the way of the restore, and something that it needs is not there.');
}

/** A backup, and who attests it; nothing of one that lacks the attestation that it must have is decrypted. */
async function findTrusted(
  {backupName, recovery, requiredAttestation: required}: RestoreRequest,
  {store, runner, claim, decryption}: Judging & Pick<Ready, 'decryption'>,
): Promise<{readonly backup: FoundBackup; readonly notes: readonly Finding[]}> {
  const found = await store.find({name: backupName, finishedBy: targetTime(recovery)});
  noteBackup(found);
  const checking = {runner, scratchDirectory: claim.directory};
  const signer = required && (await requireAttestation(found, required, checking));
  const notes = signer ? [noteSigner(signer)] : [];
  return {backup: await unlock(found, decryption), notes};
}

/** What a backup builds on; each has an attestation of its own, where one must have it. */
async function findParents(
  backup: FoundBackup,
  {requiredAttestation: required}: RestoreRequest,
  {store, runner, claim}: Judging,
): Promise<readonly ChainMember[]> {
  const parents = await followChain(backup, store);
  const checking = {runner, scratchDirectory: claim.directory};
  for (const parent of parents) if (required) await requireAttestation(parent, required, checking);
  return parents;
}

function noteSigner(signer: Signer): Finding {
  return {level: 'note', subject: 'Attestation', observed: describeSigner(signer), cure: ''};
}

/** What takes programs of the host, or a look at another server and at archived WAL. */
async function lookFurther(
  request: RestoreRequest,
  found: Pick<Ready, 'backup' | 'decryption'> | undefined,
  judging: Judging,
): Promise<Pick<Ready, 'primary' | 'findings'>> {
  const metadata = found?.backup.metadata;
  const byMetadata = metadata ? await judgeByMetadata(metadata, request, judging) : [];
  // Without programs there is nobody to ask the primary, which is told already.
  const lacksPrograms = byMetadata.some(({level, subject}) => level === 'error' && subject === 'Programs');
  const met = lacksPrograms
    ? undefined
    : await attempt('Primary', () => meetPrimary(request, {...judging, ...(metadata && {metadata})}));
  const recovery = found ? await surveyRecovery(found, {...judging, request}) : [];
  return {primary: met && resultOf(met), findings: [...byMetadata, ...failuresOf([met]), ...recovery]};
}

const hasError = (findings: readonly Finding[]) => findings.some(({level}) => level === 'error');

function resultOf<T>(attempted: Attempt<T>): T | undefined {
  return 'value' in attempted ? attempted.value : undefined;
}

function show(chain: readonly FoundBackup[], target: Target, host: Host): void {
  const {name, location, metadata} = chain.at(-1) ?? {};
  const origin = metadata ? `, finished ${metadata.finishedAt}` : ', made without this action';
  info(`Backup: ${name} in ${location}${origin}`);
  if (chain.length > 1) info(`Chain:  ${chain.map((member) => member.name).join(' <- ')}`);
  info(`Into:   ${target.dataDirectory} on ${host.name}, owned by ${host.user}`);
}

async function judgeRequest(request: RestoreRequest, {host}: Judging): Promise<readonly Finding[]> {
  const port = await judgePort(request, host);
  return [...(port ? [port] : []), ...(request.isolate ? [] : [notIsolated(request)])];
}

/** What the metadata tell without any host. */
function judgeBackup({metadata}: FoundBackup, request: RestoreRequest): readonly Finding[] {
  const {user, primary, maxBackupAgeSeconds} = request;
  const role = user ?? metadata?.bootstrapSuperuser ?? primary;
  const findings = role ? [] : [unknownRole];
  if (!metadata) return findings;
  const age = old(metadata, maxBackupAgeSeconds);
  const archive = lackOfArchive(metadata, request);
  return [...findings, ...(age ? [age] : []), ...(archive ? [archive] : [])];
}

const unknownRole: Finding = {
  level: 'note',
  subject: 'Role',
  observed: 'nothing tells the superuser of the backup: the restored server is asked as postgres',
  cure: 'If it has another one, set user.',
};

function old({finishedAt}: Metadata, limitSeconds: number | undefined): Finding | undefined {
  try {
    refuseOld(finishedAt, limitSeconds);
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return findingOf('Age', error);
    throw error;
  }
}

/** A backup without WAL needs an archive. */
function lackOfArchive({selfContained}: Metadata, {recovery, primary}: RestoreRequest): Finding | undefined {
  const {walDirectory, restoreCommand} = recovery;
  if (selfContained || primary || walDirectory !== undefined || restoreCommand !== undefined)
    return undefined;
  const refusal = new UserError(
    'The backup was taken with wal-method: none, and holds no WAL.',
    'Set wal-directory or restore-command to the archive that holds it.',
  );
  return findingOf('WAL', refusal);
}

/** Of a chain, each backup is unpacked apart before all become one; their files are read one after the other. */
async function judgeSpace(
  chain: readonly FoundBackup[],
  target: Target,
  {host, runner, claim}: Judging,
): Promise<readonly Finding[]> {
  const known = chain.flatMap(({metadata}) => metadata ?? []);
  if (known.length === 0) return [];
  const fetchedBytes = Math.max(0, ...chain.map((backup) => backup.fetchedBytes ?? 0));
  return failuresOf([
    await attempt('Disk', () => checkSpace(target, host, unpackedBytes(known))),
    await attempt('Disk', () => checkFetchSpace(claim.directory, runner, fetchedBytes)),
  ]);
}

/** What the metadata and the host tell together; for a backup without them it shows when it is here. */
async function judgeByMetadata(
  metadata: Metadata,
  request: RestoreRequest,
  {host, destination: {replaced}, installer}: Judging,
): Promise<readonly Finding[]> {
  const {requiredSettings: settings, dataChecksums} = metadata;
  const source = judgeSource({settings, dataChecksums}, request, host);
  const {pgVersion: wanted, dryRun} = request;
  const major = majorOf(metadata.serverVersionNumber);
  const found = await attempt('Programs', () =>
    findServerPrograms(host, major, {wanted, dryRun, ...(installer && {installer})}),
  );
  const programs = resultOf(found);
  if (programs === undefined)
    return [...failuresOf([found]), ...judgeChecks({request, host, major}), ...source];
  return [
    ...noteInstallation(programs, host),
    ...(await surveyChecks(request, host, programs)),
    ...(await judgeMatch(metadata, {host, programs, request, ...(replaced && {replaced})})),
    ...source,
  ];
}

function noteInstallation({isToBeInstalled, major}: Programs, {name}: Host): readonly Finding[] {
  if (!isToBeInstalled) return [];
  const observed = `${name} lacks them: ${packageOf('server', major)} would be installed.`;
  return [{level: 'note', subject: 'Programs', observed, cure: ''}];
}

function notIsolated({primary}: RestoreRequest): Finding {
  const how = 'it starts with the configuration that came with the backup';
  return {
    level: 'warning',
    subject: 'Isolation',
    observed: primary
      ? `The restored server is not isolated, on purpose: as a standby it connects to its primary, and ${how}.`
      : `The restored server is not isolated: ${how}.`,
    cure: '',
  };
}
