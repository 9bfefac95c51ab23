import {basename} from 'node:path';
import {formatLsn, lsnPosition} from '../../backup-set/manifest.js';
import {
  describeSegments,
  lastSegmentAlong,
  namesAlong,
  parseTimelineHistory,
  segmentsAlong,
  type TimelineSpan,
} from '../../backup-set/timeline.js';
import {
  historyName,
  parseSegmentName,
  type SegmentRange,
  segmentNumber,
} from '../../backup-set/wal-segment.js';
import {UserError} from '../../errors.js';
import {CommandError, type Host, shell} from '../../host/host.js';
import type {RecoveryRequest} from '../request.js';
import {type BackupReach, describeEnd, describeTarget} from './recovery-target.js';
import {
  type ArchivedFile,
  listArchive,
  readHead,
  readSegmentHeader,
  readSegmentSize,
  type WalArchive,
} from './wal-archive.js';

/** What a look at `wal-directory` told. */
export interface ArchiveSurvey {
  /** Where the last segment starts that recovery without a target has to come to; undefined: not known. */
  readonly lastSegment?: {readonly name: string; readonly startLsn: string};
  readonly warnings: readonly string[];
  /** What recovery may read of the archive: from the start of the backup on, for it asks the archive first. */
  readonly readable?: ReadableWal;
}

/** Segments of an archive in their order. */
export interface ReadableWal {
  readonly names: readonly string[];
  readonly segmentSizeBytes: number;
}

/** What surveying works with. */
export interface Surveying {
  readonly recovery: RecoveryRequest;
  readonly reach: BackupReach;
  /** Where the server will run, which decompresses what it needs. */
  readonly host: Host;
  /** Where the directory is. */
  readonly runner: Host;
}

/**
 * Looks whether `wal-directory` has all WAL that recovery needs. Throws a UserError that names what is missing, where
 * recovery fails for certain or ends early unnoticed; what may not be needed is a warning.
 */
export async function surveyArchive(directory: string, surveying: Surveying): Promise<ArchiveSurvey> {
  const archive = await listArchive(directory);
  const segmentSizeBytes =
    (await readSegmentSize(archive, surveying.runner)) ?? surveying.reach.segmentSizeBytes;
  if (segmentSizeBytes === undefined || archive.segments.size === 0) return noSegments(archive, surveying);
  const way = await findWay(archive, surveying);
  requireFork(way, surveying);
  const sized = {...surveying, segmentSizeBytes};
  const range = neededRange(archive, way, sized);
  const found = compare(archive, segmentsAlong(way, range, segmentSizeBytes), segmentSizeBytes);
  const warnings = tellGaps(archive, {...range, ...found}, sized);
  await requirePrograms(found.present, surveying.host);
  await requireSameCluster(archive, found.present, surveying);
  const {first, last} = range;
  const from = segmentNumber(lsnPosition(surveying.reach.startLsn), segmentSizeBytes);
  // Behind an LSN the next record is read, too, wherever that is.
  const to = surveying.recovery.target?.kind === 'lsn' ? last + 1n : last;
  const names = namesAlong(way, archive.segments.keys(), {first: from, last: to, segmentSizeBytes});
  const readable = {names, segmentSizeBytes};
  if (surveying.recovery.target !== undefined) return {warnings, readable};
  const [name] = segmentsAlong(way, {first: last, last}, segmentSizeBytes);
  if (last >= first && name !== undefined)
    return {warnings, readable, lastSegment: {name, startLsn: startOf(last, segmentSizeBytes)}};
  const none = `wal-directory ${directory} has no WAL that follows the backup.`;
  return {warnings: [...warnings, none], readable};
}

const startOf = (number: bigint, segmentSizeBytes: number) => formatLsn(number * BigInt(segmentSizeBytes));

function noSegments({directory, segments}: WalArchive, {recovery, reach}: Surveying): ArchiveSurvey {
  if (segments.size > 0)
    return {
      warnings: [
        `No file of wal-directory ${directory} tells the size of its segments: it was not checked for gaps.`,
      ],
    };
  const {target} = recovery;
  const message = `wal-directory ${directory} holds no WAL segment (24 hexadecimal digits, also with .gz, .lz4 or .zst)`;
  const isAfter = target?.kind === 'lsn' && lsnPosition(target.value) > lsnPosition(reach.endLsn);
  if (reach.selfContained && !isAfter) return {warnings: [`${message}: recovery ends with the backup.`]};
  throw new UserError(
    `${message}, and ${reach.selfContained ? `${target && describeTarget(target)} lies after ${describeEnd(reach)}` : 'the backup itself holds no WAL'}.`,
    'Set wal-directory to the directory that archive_command fills, not to one above it.',
  );
}

/** The way through timelines that PostgreSQL will take (xlogrecovery.c, readRecoverySignalFile and below). */
async function findWay(archive: WalArchive, surveying: Surveying): Promise<readonly TimelineSpan[]> {
  const {recovery, reach, runner} = surveying;
  let timeline = recovery.timeline === 'current' ? reach.timeline : Number(recovery.timeline);
  if (recovery.timeline === 'latest')
    for (timeline = reach.timeline; archive.histories.has(timeline + 1); ) timeline += 1;
  const file = archive.histories.get(timeline);
  if (file === undefined) {
    // The first one has none, and the backup's own may be in the backup only.
    if (timeline !== reach.timeline && timeline !== 1) throw noSuchTimeline(archive, surveying);
    return [{timeline, begin: 0n}];
  }
  const text = await readHead(file, runner, 2 ** 20);
  const way = text && parseTimelineHistory(timeline, text.toString('utf8'));
  if (way) return way;
  throw new UserError(
    `${file.path} is not the history of timeline ${timeline}: it is damaged.`,
    'Copy it again from pg_wal of a server that is on that timeline.',
  );
}

function noSuchTimeline({directory, histories}: WalArchive, {recovery, reach}: Surveying): UserError {
  const others = [...new Set([reach.timeline, ...histories.keys()])].sort((a, b) => a - b).join(', ');
  return new UserError(
    `recovery-target-timeline ${recovery.timeline} does not exist: ${historyName(Number(recovery.timeline))} is not in ${directory}. There: ${others}.`,
    'Choose one of these, latest or current, or add the history file.',
  );
}

/** The backup must have ended before a later timeline branched off its own. */
function requireFork(way: readonly TimelineSpan[], {recovery, reach}: Surveying): void {
  const span = way.find(({timeline}) => timeline === reach.timeline);
  const end = reach.isEndUnknown ? reach.startLsn : reach.endLsn;
  if (span && (span.end === undefined || span.end >= lsnPosition(end))) return;
  const target = way.at(-1)?.timeline;
  const reason =
    span?.end === undefined
      ? `does not come from timeline ${reach.timeline}, on which the backup was taken`
      : `branched off timeline ${reach.timeline} at ${formatLsn(span.end)}, before the ${reach.isEndUnknown ? 'start' : 'end'} of the backup (${end})`;
  throw new UserError(
    `Timeline ${target} (recovery-target-timeline: ${recovery.timeline}) ${reason}.`,
    'Set recovery-target-timeline: current to stay on the timeline of the backup, or restore another backup.',
  );
}

/** The segments that recovery asks the archive for. */
export interface NeededRange extends SegmentRange {
  /** The number of the last segment that recovery cannot do without. */
  readonly lastCertain: bigint;
}

/** What a look at the segments works with. */
type Sized = Pick<Surveying, 'recovery' | 'reach'> & {readonly segmentSizeBytes: number};

/** What of an archive recovery needs along its way: from the end of the backup, or its start, to the target. */
export function neededRange(
  {segments}: Pick<WalArchive, 'segments'>,
  way: readonly TimelineSpan[],
  {recovery: {target}, reach, segmentSizeBytes}: Sized,
): NeededRange {
  const numberOf = (position: bigint) => segmentNumber(position, segmentSizeBytes);
  const endsIn = numberOf(lsnPosition(reach.endLsn) - 1n);
  // A primary fills up its segment at the end of a backup; of a standby the backup has the beginning of one. And where
  // a timeline branches off in that segment, the new timeline's own has the rest of it.
  const fork = way.find(({timeline}) => timeline === reach.timeline)?.end;
  const isShared = reach.fromStandby || (fork !== undefined && numberOf(fork) === endsIn);
  const follows = isShared ? endsIn : endsIn + 1n;
  const first = reach.selfContained ? follows : numberOf(lsnPosition(reach.startLsn));
  const inBackup = reach.selfContained ? first - 1n : endsIn;
  const ofArchive = lastSegmentAlong(way, segments.keys(), segmentSizeBytes) ?? inBackup;
  const last = ofArchive > inBackup ? ofArchive : inBackup;
  switch (target?.kind) {
    case 'immediate':
      return {first, last: reach.isEndUnknown ? last : inBackup, lastCertain: inBackup};
    case 'lsn': {
      const wanted = numberOf(lsnPosition(target.value));
      return {first, last: wanted, lastCertain: wanted};
    }
    case undefined:
      return {first, last, lastCertain: last};
    default:
      return {first, last, lastCertain: inBackup};
  }
}

interface Comparison {
  readonly present: readonly ArchivedFile[];
  readonly missing: readonly string[];
}

/** More gaps than these are not looked for: a name may be anything. */
const mostMissing = 1000;

function compare({segments}: WalArchive, names: Iterable<string>, segmentSizeBytes: number): Comparison {
  const present: ArchivedFile[] = [];
  const missing: string[] = [];
  for (const name of names) {
    const file = segments.get(name);
    const isWhole =
      file && file.sizeBytes > 0 && (file.codec !== 'none' || file.sizeBytes === segmentSizeBytes);
    if (isWhole) present.push(file);
    else missing.push(name);
    if (missing.length >= mostMissing) break;
  }
  return {present, missing};
}

function tellGaps(
  {directory, segments}: WalArchive,
  {missing, lastCertain}: Comparison & NeededRange,
  {recovery, reach, segmentSizeBytes}: Sized,
): readonly string[] {
  const [firstMissing] = missing;
  if (firstMissing === undefined) return [];
  const {number} = parseSegmentName(firstMissing, segmentSizeBytes);
  const broken = missing.flatMap((name) => {
    const file = segments.get(name);
    const expected = file?.codec === 'none' ? ` instead of ${segmentSizeBytes}` : '';
    return file ? [`${basename(file.path)} is there and has ${file.sizeBytes} bytes${expected}.`] : [];
  });
  const from = reach.selfContained ? describeEnd(reach) : `the start of the backup (${reach.startLsn})`;
  const to = recovery.target?.kind === 'lsn' ? describeTarget(recovery.target) : 'the last segment there';
  const gap = [
    `wal-directory ${directory} lacks WAL between ${from} and ${to}: ${describeSegments(missing, segmentSizeBytes)}.`,
    ...broken.slice(0, 8),
  ].join('\n');
  const reachable = startOf(number, segmentSizeBytes);
  if (number > lastCertain) return [`${gap}\nRecovery succeeds only if the target lies before ${reachable}.`];
  const isOfBackup = number * BigInt(segmentSizeBytes) < lsnPosition(reach.endLsn);
  const without = isOfBackup
    ? 'Without them this backup cannot be restored.'
    : `Without them recovery comes no farther than ${reachable}: choose a target before that, or none and a directory without what follows the gap.`;
  throw new UserError(gap, `Add these files from the archive or from pg_wal of the source. ${without}`);
}

/** PostgreSQL would end recovery with the status of a program that is not there. */
async function requirePrograms(needed: readonly ArchivedFile[], host: Host): Promise<void> {
  for (const codec of new Set(needed.map((file) => file.codec))) {
    if (codec === 'none' || (await knows(host, codec))) continue;
    throw new UserError(
      `wal-directory holds segments compressed with ${codec}, and ${host.name} has no program ${codec} to decompress them.`,
      `Install it there (apt-get install ${codec}), or decompress the files in an earlier step.`,
    );
  }
}

/** Asked of a shell, as the script fetch-wal is one: busybox's has programs of its own, which are on no path. */
async function knows(host: Host, program: string): Promise<boolean> {
  try {
    await host.run(shell('command -v "$1"', [program]));
    return true;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return false;
  }
}

async function requireSameCluster(
  {directory}: WalArchive,
  [file]: readonly ArchivedFile[],
  {reach, runner}: Surveying,
): Promise<void> {
  if (file === undefined || reach.systemIdentifier === undefined) return;
  const found = (await readSegmentHeader(file, runner))?.systemIdentifier;
  if (found === undefined || found === reach.systemIdentifier) return;
  throw new UserError(
    `wal-directory ${directory} holds the WAL of another cluster: ${basename(file.path)} is of system identifier ${found}, the backup of ${reach.systemIdentifier}.`,
    'Set wal-directory to the archive of the server that was backed up.',
  );
}
