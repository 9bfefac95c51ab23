import {ageSeconds} from '../backup-set/age.js';
import {messageOf, UserError} from '../errors.js';
import {HinderedError} from '../finding.js';
import type {Journal} from '../journal.js';
import {UnprovenError} from '../restore/achieved.js';
import {checkTable} from './check-table.js';
import {type Block, type Content, paragraph, type Text, tableOf} from './content.js';
import {findingTable} from './finding-table.js';
import {ladderTable, rungOf} from './ladder-table.js';
import {timelineOf} from './timeline.js';
import {age} from './units.js';

/** The verdict by the step's mode: behind the backup's name, and where no backup was found. */
const failures: Readonly<Record<string, readonly [known: string, unknown: string]>> = {
  backup: [': the step failed', 'The backup step failed'],
  restore: [' is not proven: its restore failed', 'The backup is not proven: its restore failed'],
  verify: [' is not proven: its verification failed', 'The backup is not proven: its verification failed'],
  prepare: ['', 'The server is not prepared for backups'],
};

/**
 * What there is to tell of a step that failed: of which backup, what happened, what to do, what was found before it began, how far a
 * restore had come, and where the time went.
 */
export function failureContent(thrown: unknown, mode: string, journal: Journal): Content {
  return {
    mark: '❌',
    title: titleOf(mode, journal),
    blocks: [
      ...verdictOf(thrown, mode, journal),
      {kind: 'quote', mark: 'CAUTION', text: messageOf(thrown)},
      ...(thrown instanceof UserError ? cureOf(thrown) : []),
      ...(thrown instanceof UnprovenError ? comeSoFar(thrown) : []),
      ...(thrown instanceof HinderedError ? findingTable(thrown.findings) : []),
      ...timelineOf(journal),
    ],
  };
}

function titleOf(mode: string, {backup}: Journal): Text {
  const [known, unknown] = failures[mode] ?? ['', 'The step failed'];
  return backup ? ['Backup ', {code: backup.name}, known] : unknown;
}

/** A backup that nobody could restore is not safe, whatever the reason. */
function verdictOf(thrown: unknown, mode: string, {backup}: Journal): readonly Block[] {
  if (!backup || (mode !== 'restore' && mode !== 'verify')) return [];
  const reached = thrown instanceof UnprovenError ? thrown.achieved.reached : new Set<never>();
  const {metadata, location} = backup;
  return tableOf(
    ['Safe?', 'Proven', 'Age', 'From'],
    [
      [
        '🔴 Not proven',
        reached.size === 0 ? 'nothing' : rungOf(reached),
        metadata ? age(ageSeconds(metadata.finishedAt)) : 'not known',
        location ?? 'not known',
      ],
    ],
  );
}

function cureOf({cure}: UserError): readonly Block[] {
  return [paragraph({strong: 'What to do'}), {kind: 'code', text: cure}];
}

/** A rung that was reached, and a check that passed, hold although the restore failed. */
function comeSoFar({achieved, request, findings, cause}: UnprovenError): readonly Block[] {
  const {reached, checks} = achieved;
  return [
    ...(reached.size === 0 ? [] : [paragraph('Until then it had come so far:'), ...ladderTable(reached)]),
    ...checkTable(checks, request),
    ...findingTable([...findings, ...(cause instanceof HinderedError ? cause.findings : [])]),
  ];
}
