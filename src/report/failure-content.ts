import {ageSeconds} from '../backup-set/age.js';
import type {ProofLevel} from '../backup-set/proof.js';
import {messageOf, UserError} from '../errors.js';
import {type Finding, HinderedError} from '../finding.js';
import type {Journal} from '../journal.js';
import {UnprovenError} from '../restore/achieved.js';
import {checkTable} from './check-table.js';
import {type Block, type Content, paragraph, type Text, tableOf} from './content.js';
import {findingTable} from './finding-table.js';
import {ladderTable, rungOf} from './ladder-table.js';
import {timelineOf} from './timeline.js';
import {age} from './units.js';

/** The verdict by the step's mode: on a backup that was examined, and where none was. */
const failures: Readonly<Record<string, readonly [examined: string, otherwise: string]>> = {
  backup: [': the step failed', 'The backup step failed'],
  restore: [' is not proven: its restore failed', 'The restore failed'],
  verify: [' is not proven: its verification failed', 'The verification failed'],
  prepare: [': the step failed', 'The server is not prepared for backups'],
};

/**
 * What there is to tell of a step that failed: of which backup, what happened, what to do, what was found before it
 * began, how far a restore had come, and where the time went.
 */
export function failureContent(thrown: unknown, mode: string, journal: Journal): Content {
  return {
    mark: '❌',
    title: titleOf(mode, journal),
    blocks: [
      ...verdictOf(thrown, mode, journal),
      {kind: 'quote', mark: 'CAUTION', text: saidOf(thrown)},
      ...damageOf(thrown, journal),
      ...(thrown instanceof UserError ? cureOf(thrown) : []),
      ...(thrown instanceof UnprovenError ? comeSoFar(thrown) : []),
      ...(thrown instanceof HinderedError ? findingTable(thrown.findings) : []),
      ...timelineOf(journal),
    ],
  };
}

function titleOf(mode: string, journal: Journal): Text {
  const [examined, otherwise] = failures[mode] ?? [': the step failed', 'The step failed'];
  if (!journal.backup) return otherwise;
  const isJudged = mode === 'backup' || isExamined(journal);
  return ['Backup ', {code: journal.backup.name}, isJudged ? examined : ': the step failed'];
}

/** Whether the step came so far as to look at the backup itself: what fails before says nothing of it. */
function isExamined({phases}: Journal): boolean {
  return phases.some(({name}) => name !== 'Preflight');
}

/** What the step says of the backup itself: a proof that it had from others stays what it was. */
function verdictOf(thrown: unknown, mode: string, journal: Journal): readonly Block[] {
  const {backup} = journal;
  if (!backup || (mode !== 'restore' && mode !== 'verify')) return [];
  const reached = thrown instanceof UnprovenError ? thrown.achieved.reached : new Set<ProofLevel>();
  const {metadata, location} = backup;
  return tableOf(
    ['Safe?', 'Proven by this step', 'Age', 'From'],
    [
      [
        safetyOf(journal),
        reached.size === 0 ? 'nothing' : rungOf(reached),
        metadata ? age(ageSeconds(metadata.finishedAt)) : 'not known',
        location ?? 'not known',
      ],
    ],
  );
}

/** What was found damaged, where the failure does not tell it, and what comes of it. */
function damageOf(thrown: unknown, {damages = []}: Journal): readonly Block[] {
  return damages.map(({name, reason, note}) =>
    saidOf(thrown).includes(reason) ? paragraph(note) : paragraph({code: name}, `: ${reason} ${note}`),
  );
}

function safetyOf(journal: Journal): string {
  if ((journal.damages ?? []).length > 0) return '🔴 No: damaged';
  return isExamined(journal) ? '🔴 Not proven as asked' : '⚪ Not examined';
}

/** The errors of a step that must not begin, where they are more than one: the message has them all in one text. */
function severalIn(thrown: unknown): readonly Finding[] {
  const errors =
    thrown instanceof HinderedError ? thrown.findings.filter(({level}) => level === 'error') : [];
  return errors.length > 1 ? errors : [];
}

function saidOf(thrown: unknown): string {
  const errors = severalIn(thrown).map(({subject, observed}) => `${subject}: ${observed}`);
  return errors.length === 0 ? messageOf(thrown) : errors.join('\n');
}

function cureOf(thrown: UserError): readonly Block[] {
  const cures = severalIn(thrown).flatMap(({subject, cure}) => (cure === '' ? [] : [`${subject}: ${cure}`]));
  return [paragraph({strong: 'What to do'}), {kind: 'code', text: [...cures, thrown.cure].join('\n')}];
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
