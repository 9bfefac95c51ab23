import type {BackupLabel} from '../../backup-set/backup-label.js';
import type {Decryption} from '../../backup-set/encryption/decryption.js';
import {formatLsn, lsnPosition, type Manifest, parseManifest} from '../../backup-set/manifest.js';
import {readManifestText} from '../../backup-set/manifest-text.js';
import type {Metadata} from '../../backup-set/metadata.js';
import type {BackupSource} from '../../backup-set/source.js';
import {segmentRuns} from '../../backup-set/wal-run.js';
import {segmentSizeOf} from '../../backup-set/wal-segment.js';
import type {Host} from '../../host/host.js';
import type {RestoreRequest} from '../request.js';
import {type BackupReach, requireInReach} from './recovery-target.js';
import {type ArchiveSurvey, surveyArchive} from './wal-gaps.js';

/** What is known of a backup that shall be recovered. */
export interface KnownBackup {
  readonly metadata?: Metadata | undefined;
  readonly manifest?: Manifest | undefined;
  /** Once it is extracted. */
  readonly extracted?: ExtractedWal;
}

/** What an extracted backup tells of its WAL. */
export interface ExtractedWal {
  readonly label: BackupLabel;
  /** Whether the WAL that recovery starts with is there. */
  readonly hasWal: boolean;
  /** The names in `pg_wal`. */
  readonly walNames: readonly string[];
}

/** What planning works with. */
export interface Planning {
  readonly request: RestoreRequest;
  /** Where the server will run. */
  readonly host: Host;
  /** Where `wal-directory` is. */
  readonly runner: Host;
}

/**
 * Compares what recovery is asked for with what the backup and `wal-directory` can give. Throws a UserError where it
 * fails for certain; of what is not known of the backup nothing is said.
 */
export async function planRecovery(known: KnownBackup, planning: Planning): Promise<ArchiveSurvey> {
  const {recovery, primary} = planning.request;
  const reach = reachOf(known);
  if (primary || reach === undefined) return {warnings: []};
  const warning = requireInReach(recovery, reach);
  const {walDirectory} = recovery;
  const survey: ArchiveSurvey =
    walDirectory === undefined
      ? {warnings: []}
      : await surveyArchive(walDirectory, {...planning, recovery, reach});
  return {...survey, warnings: [...(warning === undefined ? [] : [warning]), ...survey.warnings]};
}

function reachOf({metadata, manifest, extracted}: KnownBackup): BackupReach | undefined {
  const range = metadata ?? manifest ?? (extracted && rangeOf(extracted));
  if (range === undefined) return undefined;
  const fromStandby = metadata?.fromStandby ?? extracted?.label.fromStandby;
  const systemIdentifier = metadata?.systemIdentifier ?? manifest?.systemIdentifier;
  return {
    startLsn: range.startLsn,
    endLsn: range.endLsn,
    isEndUnknown: !metadata && !manifest,
    timeline: range.timeline,
    // One that somebody made by hand is taken for whole until it is extracted.
    selfContained: extracted?.hasWal ?? metadata?.selfContained ?? true,
    ...(extracted && {segmentSizeBytes: segmentSizeOf(extracted.label)}),
    ...(fromStandby !== undefined && {fromStandby}),
    ...(systemIdentifier !== undefined && {systemIdentifier}),
    ...(manifest?.takenAt && {takenAt: manifest.takenAt}),
    ...(metadata && {finishedAt: new Date(metadata.finishedAt)}),
  };
}

/**
 * Without a manifest nothing tells where the backup ends: not before its start, and with WAL of its own not after the
 * last segment of that.
 */
function rangeOf({label, hasWal, walNames}: ExtractedWal) {
  const {startLsn, timeline} = label;
  const [own] = hasWal ? segmentRuns(walNames, label) : [];
  return {startLsn, timeline, endLsn: own?.endLsn ?? formatLsn(lsnPosition(startLsn) + 1n)};
}

/** The manifest beside the archives of a backup; undefined when it is in base.tar, or there is none. */
export async function readManifestOf(
  source: BackupSource,
  decryption: Decryption,
): Promise<Manifest | undefined> {
  const text = await readManifestText(source, decryption);
  return text === undefined ? undefined : parseManifest(text);
}
