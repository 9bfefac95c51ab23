import {messageOf, UserError} from '../errors.js';
import {HinderedError} from '../finding.js';
import type {Journal} from '../journal.js';
import {UnprovenError} from '../restore/achieved.js';
import {checkTable} from './check-table.js';
import {type Block, type Content, paragraph} from './content.js';
import {findingTable} from './finding-table.js';
import {ladderTable} from './ladder-table.js';
import {timelineOf} from './timeline.js';

const failures: Readonly<Record<string, string>> = {
  backup: 'The backup step failed',
  restore: 'The backup is not proven: its restore failed',
  verify: 'The backup is not proven: its verification failed',
  prepare: 'The server is not prepared for backups',
};

/**
 * What there is to tell of a step that failed: what happened, what to do, what was found before it began, how far a
 * restore had come, and where the time went.
 */
export function failureContent(thrown: unknown, mode: string, journal: Journal): Content {
  return {
    mark: '❌',
    title: failures[mode] ?? 'The step failed',
    blocks: [
      {kind: 'quote', mark: 'CAUTION', text: messageOf(thrown)},
      ...(thrown instanceof UserError ? cureOf(thrown) : []),
      ...(thrown instanceof UnprovenError ? comeSoFar(thrown) : []),
      ...(thrown instanceof HinderedError ? findingTable(thrown.findings) : []),
      ...timelineOf(journal),
    ],
  };
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
