import {mkdtemp, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {refuseOld} from '../../backup-set/age.js';
import {recognise} from '../../backup-set/archive.js';
import type {Decryption} from '../../backup-set/encryption/decryption.js';
import {type Manifest, parseManifest} from '../../backup-set/manifest.js';
import {manifestLimitBytes, manifestName} from '../../backup-set/manifest-text.js';
import {type ProofLevel, proofOfFiles} from '../../backup-set/proof.js';
import {readTablespaceMap} from '../../backup-set/tablespace-map.js';
import {type Finding, refuseErrors, showFindings} from '../../finding.js';
import type {Claim} from '../../host/claim.js';
import type {Host} from '../../host/host.js';
import {groupedPhase, warning} from '../../log.js';
import type {Installer} from '../../postgres/install.js';
import {findServerPrograms, type Programs} from '../../postgres/programs.js';
import type {ChainMember} from '../../store/chain.js';
import {suspecting} from '../../store/damage.js';
import type {FetchedBackup, FoundBackup} from '../../store/store.js';
import type {Achieved} from '../achieved.js';
import {surveyChecks} from '../preflight/check-survey.js';
import {judgeSource} from '../preflight/judge.js';
import {readControlData} from '../recovery/control-data.js';
import {planRecovery, readManifestOf} from '../recovery/recovery-plan.js';
import type {ArchiveSurvey} from '../recovery/wal-gaps.js';
import {refuseTablespaceCreation, warnOfUnseenWal} from '../recovery/wal-tablespaces.js';
import type {RestoreRequest} from '../request.js';
import {type Primary, requireSameSystem} from '../standby/primary.js';
import {checkSpace, type Target} from '../target.js';
import {combineChain} from './combine.js';
import {type Extracted, examine, requireWal, rewriteTablespaceMap, smallFileBytes} from './examine.js';
import {extract} from './extract.js';
import {fetchBackup} from './fetch.js';
import {findForeignFile} from './foreign-files.js';
import {verifyManifest} from './verify-manifest.js';

/** What unpacking works with. */
export interface Unpacking {
  readonly request: RestoreRequest;
  readonly target: Target;
  /** Where the server will run. */
  readonly host: Host;
  /** Where the backup's files are read. */
  readonly runner: Host;
  /** Takes files that outlive no step. */
  readonly claim: Pick<Claim, 'directory'>;
  /** What an incremental backup builds on, the full one first. */
  readonly parents: readonly ChainMember[];
  /** Opens encrypted files. */
  readonly decryption: Decryption;
  /** The server that the restored one will follow, if it shall be a standby. */
  readonly primary?: Primary | undefined;
  /** Gets programs that the host lacks. */
  readonly installer?: Installer;
  /** Where it is noted what is proven. */
  readonly achieved: Achieved;
}

/** A backup that lies in the data directory, proven as far as its files can prove it. */
export interface Unpacked {
  readonly backup: FetchedBackup;
  readonly extracted: Extracted;
  readonly programs: Programs;
  /** Undefined when the backup has none, which is refused unless `checks` leaves it out. */
  readonly manifest: Manifest | undefined;
  /** Whether the server starts with the configuration that came along. */
  readonly usesOwnConfiguration: boolean;
  /** Where recovery without a target must come to at least, as `wal-directory` tells it. */
  readonly lastSegment?: NonNullable<ArchiveSurvey['lastSegment']>;
  /** Where the server finds `wal-directory`. */
  readonly archive?: string;
}

/** Fetches a backup where its files cannot be read as they are, extracts it, and compares it with metadata and manifest. Nothing is started. */
export async function unpack(found: FoundBackup, unpacking: Unpacking): Promise<Unpacked> {
  const scratch = await mkdtemp(join(unpacking.claim.directory, 'fetch-'));
  try {
    return await suspecting(found, async () =>
      unpackFrom(await fetchBackup(found, unpacking.request, scratch), unpacking),
    );
  } finally {
    await rm(scratch, {recursive: true, force: true, maxRetries: 3});
  }
}

async function unpackFrom(backup: FetchedBackup, unpacking: Unpacking): Promise<Unpacked> {
  const {request, target, host, runner, installer, decryption, achieved} = unpacking;
  const {dataDirectory} = target;
  const files = await recognise(backup.source, decryption);
  const early = await readManifestOf(backup.source, decryption);
  if (unpacking.primary) requireSameSystem(unpacking.primary, early?.systemIdentifier);
  if (unpacking.parents.length === 0) await checkSpace(target, host, early?.dataSizeBytes);
  const known = {metadata: backup.metadata, manifest: early};
  await planRecovery(known, unpacking);

  const extraction = {request, backup, files, target, host, runner, decryption, manifest: early};
  const directories = await groupedPhase('Extract', () =>
    unpacking.parents.length > 0 ? combineChain(extraction, unpacking) : extract(extraction),
  );
  const extracted = await examine({host, dataDirectory, files}, directories);
  requireWal(extracted, request);
  const readOwn = () =>
    readManifest(() => host.readText(`${dataDirectory}/${manifestName}`, manifestLimitBytes));
  const manifest = early ?? (await readOwn());
  // Only now it shows whether a backup that somebody made by hand has WAL, or its manifest in base.tar.
  const walNames = await host.list(`${dataDirectory}/pg_wal`);
  const {label, hasWal} = extracted;
  const planned = await planRecovery({...known, manifest, extracted: {label, hasWal, walNames}}, unpacking);
  for (const text of planned.warnings) warning(text);
  const {lastSegment, readable} = planned;
  refuseOld(backup.metadata?.finishedAt ?? manifest?.takenAt, request.maxBackupAgeSeconds);

  const usesOwnConfiguration = await judgeConfiguration(request, host, dataDirectory);

  const programs = await findServerPrograms(host, extracted.major, {
    wanted: request.pgVersion,
    dryRun: false,
    ...(installer && {installer}),
  });
  await tell(await surveyChecks(request, host, programs));
  const verified = request.checks.includes('manifest');
  // A chain becomes a cluster with a manifest of its own.
  const compared = unpacking.parents.length > 0 ? await readOwn() : manifest;
  const verify = () => verifyManifest(host, programs, {...extracted, manifest: compared});
  if (verified) await achieved.check('manifest', verify);
  achieved.reach(...levelsOf({backup, manifest, verified}));
  await tell(await judgeControlData(backup, unpacking, programs));
  const archive = await receiveArchive(unpacking);
  const looking = {host, programs, scratchDirectory: `${target.configDirectory}/wal-scan`};
  await refuseTablespaceCreation(looking, {
    extracted,
    target: request.recovery.target,
    archive: archive !== undefined && readable ? {...readable, directory: archive} : undefined,
  });
  const mapped = readTablespaceMap(
    (await host.readText(`${dataDirectory}/tablespace_map`, smallFileBytes)) ?? '',
  );
  const original = [...(backup.metadata?.tablespaces ?? []).map(({path}) => path), ...mapped.values()];
  const ours = new Set(directories.values());
  await warnOfUnseenWal(
    host,
    request.recovery,
    original.filter((path) => !ours.has(path)),
  );
  await rewriteTablespaceMap(host, dataDirectory, directories);
  return {
    backup,
    extracted,
    programs,
    manifest,
    usesOwnConfiguration,
    ...(lastSegment && {lastSegment}),
    ...(archive !== undefined && {archive}),
  };
}

/** Shows what only the files of the backup tell. Throws a HinderedError when the restore cannot succeed. */
async function tell(findings: readonly Finding[]): Promise<void> {
  if (findings.length === 0) return;
  await showFindings(findings);
  refuseErrors(findings, 'restore');
}

/** What the source had, where the metadata have not told it. */
async function judgeControlData(
  {metadata}: FetchedBackup,
  {request, target, host}: Unpacking,
  programs: Programs,
): Promise<readonly Finding[]> {
  const control = await readControlData(host, programs, target.dataDirectory);
  const {requiredSettings: told = null, dataChecksums = null} = metadata ?? {};
  return judgeSource(
    {
      settings: told === null ? control.settings : null,
      dataChecksums: dataChecksums === false ? null : control.dataChecksums,
    },
    request,
    host,
  );
}

/** What the comparison of files has proven. */
function levelsOf({
  backup,
  manifest,
  verified,
}: Pick<Unpacked, 'backup' | 'manifest'> & {readonly verified: boolean}): readonly ProofLevel[] {
  if (!verified) return backup.metadata ? ['transferred'] : [];
  const proven = proofOfFiles(manifest, backup.metadata !== undefined);
  if (proven.warning !== undefined) warning(proven.warning);
  return proven.reached;
}

/** Where the server's host has `wal-directory`. */
async function receiveArchive({request, target, host}: Unpacking): Promise<string | undefined> {
  const {walDirectory} = request.recovery;
  if (walDirectory === undefined) return undefined;
  await host.makeDirectory(target.configDirectory);
  return host.receive(walDirectory, `${target.configDirectory}/archive`);
}

async function readManifest(read: () => Promise<string | undefined>): Promise<Manifest | undefined> {
  const text = await read();
  return text === undefined ? undefined : parseManifest(text);
}

/**
 * Without isolation the backup's own configuration counts. A standby goes without one that leads out of the data
 * directory: its administrator asked for it, and has settings to give. Throws a UserError otherwise.
 */
async function judgeConfiguration(
  {isolate, primary}: RestoreRequest,
  host: Host,
  dataDirectory: string,
): Promise<boolean> {
  if (isolate) return false;
  const foreign = await findForeignFile(host, dataDirectory);
  if (foreign === undefined) return true;
  if (!primary) throw foreign;
  warning(
    `${foreign.message} So the standby starts without the configuration of the backup: give the settings that it needs as postgresql-conf, also hba_file = '…'.`,
  );
  return false;
}
