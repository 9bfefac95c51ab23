import {highest} from '../backup-set/proof.js';
import {describeTarget} from '../restore/recovery/recovery-target.js';
import type {Restored, RestoreResult} from '../restore/restore.js';
import {checkTable} from './check-table.js';
import {type Block, type Content, factsOf, paragraph, type Text, tableOf} from './content.js';
import {findingTable, splitFindings} from './finding-table.js';
import {ladderTable, rungOf} from './ladder-table.js';
import {sharesOf} from './shares.js';
import type {Story} from './story.js';
import {timelineOf} from './timeline.js';
import {type Newest, trendOf} from './trend.js';
import {age, seconds} from './units.js';

/** What there is to tell of a restore, or of the plan of one. */
export function restoreContent(result: RestoreResult, story: Story): Content {
  return result.dryRun ? planContent(result) : restoredContent(result, story);
}

function planContent(plan: Extract<RestoreResult, {dryRun: true}>): Content {
  const {backup, target, request, findings} = plan;
  const {recovery, checks, checkSql} = request;
  const archive = recovery.walDirectory ?? recovery.restoreCommand;
  return {
    mark: undefined,
    title: ['Restore plan: ', {code: backup.name}],
    blocks: [
      paragraph('Dry run: nothing was changed. Nothing that can be known beforehand stands in the way.'),
      ...factsOf([
        ['From', backup.location],
        ['Finished', backup.metadata?.finishedAt ?? 'not known: made without this action'],
        ['Into', {code: target.dataDirectory}],
        ['Recovery target', recovery.target ? describeTarget(recovery.target) : 'the end of the WAL'],
        ['Archived WAL', archive === undefined ? 'none' : {code: archive}],
        ['Checks', [...checks, ...(checkSql.length > 0 ? ['check-sql'] : [])].join(', ')],
      ]),
      ...findingTable(findings),
    ],
  };
}

function restoredContent(result: Restored, {journal, history}: Story): Content {
  const {backup, streaming, restoreSeconds, backupAgeSeconds} = result;
  const name = {code: backup.name};
  const {urgent, notes} = splitFindings(result.findings);
  const old = backupAgeSeconds === undefined ? '' : `; the backup is ${age(backupAgeSeconds)} old`;
  return {
    mark: streaming ? undefined : '✅',
    title: streaming ? ['Backup ', name, ' is a standby that streams'] : ['Backup ', name, ' restores'],
    blocks: [
      ...verdictOf(result),
      paragraph(`Ready after ${seconds(restoreSeconds)}${old}.`),
      ...urgent,
      ...timelineOf(journal),
      ...ladderTable(result.reached),
      ...checkTable(result.checks, result.request),
      ...sharesOf(backup.metadata),
      ...trendOf(newestOf(result), history),
      ...notes,
      ...factsOf(restoredRows(result)),
    ],
  };
}

function verdictOf({reached, backupAgeSeconds, restoreSeconds, streaming}: Restored): readonly Block[] {
  const isSafe = reached.has('recovered') || streaming !== undefined;
  return tableOf(
    ['Safe?', 'Proven', 'Age', 'A restore takes'],
    [
      [
        isSafe ? '🟢 Yes: it restores' : '🟡 It starts; recovery has not ended',
        rungOf(reached),
        backupAgeSeconds === undefined ? 'not known' : age(backupAgeSeconds),
        seconds(restoreSeconds),
      ],
    ],
  );
}

function newestOf({backup, reached, restoreSeconds}: Restored): Newest | undefined {
  const {metadata} = backup;
  if (metadata === undefined) return undefined;
  const {name, finishedAt, sizeBytes, durationSeconds, systemIdentifier} = metadata;
  const proof = highest(reached);
  return {
    ...{name, finishedAt, sizeBytes, systemIdentifier},
    ...{backupSeconds: durationSeconds, restoreSeconds, proof},
  };
}

function restoredRows(result: Restored): readonly (readonly [string, Text])[] {
  const {backup, control, manifest, server, reachableAt} = result;
  return [
    ['From', backup.location],
    ['Server', server.programs.version],
    ['System identifier', control.systemIdentifier],
    ...recoveryRows(result),
    ['WAL of the backup', manifest ? `${manifest.startLsn} to ${manifest.endLsn}` : 'not known'],
    ['Data directory', {code: result.dataDirectory}],
    ...(reachableAt ? [['Runs at', {code: `${reachableAt.host}:${reachableAt.port}`}] as const] : []),
  ];
}

function recoveryRows(result: Restored): readonly (readonly [string, Text])[] {
  const {recovery, stop, control, request, streaming} = result;
  const {target} = request.recovery;
  const {replayedLsn, lastCommitTime, isPaused} = recovery;
  return [
    [
      streaming ? 'Replayed up to' : 'Recovered to',
      `${replayedLsn}, timeline ${control.timeline}${isPaused ? ', paused' : ''}`,
    ],
    ...(streaming
      ? [['Streams from', `${streaming.name}, which was at ${streaming.passedLsn}`] as const]
      : []),
    ...(target ? [['Recovery target', describeTarget(target)] as const] : []),
    ...(stop ? [['Recovery stopped', stop.text] as const] : []),
    ...(lastCommitTime === undefined ? [] : [['Last commit', lastCommitTime] as const]),
  ];
}
