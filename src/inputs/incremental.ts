import type {FullEvery} from '../backup-set/chain.js';
import {type InputReader, readSeconds} from './reader.js';

/** The inputs that ask for incremental backups. */
export const incrementalInputs = ['incremental', 'full-every'] as const;

/** Well within the ten days that a server keeps its WAL summaries for (wal_summary_keep_time). */
const week = {seconds: 7 * 86_400};

/** Reads when a full backup is due among incremental ones; undefined: every one is a full one. */
export function readIncremental(reader: InputReader): FullEvery | undefined {
  const isIncremental = reader.flag('incremental', false);
  const text = reader.text('full-every');
  if (text !== undefined && !isIncremental)
    reader.reject('full-every', 'it is used with incremental: true only');
  if (!isIncremental) return undefined;
  requireToken(reader);
  if (text === undefined) return week;
  if (!/^\d+$/.test(text)) return readAge(reader);
  // A chain is one command line of pg_combinebackup, and each member of it a directory.
  const backups = reader.integer('full-every', {min: 1, max: 1000});
  return backups === undefined ? undefined : {backups};
}

function readAge(reader: InputReader): FullEvery | undefined {
  const allowed = 'a number of backups such as 7, or a length of time such as 7d or 2w';
  if (reader.matching('full-every', /^\d{1,6}[smhdw]$/, allowed) === undefined) return undefined;
  const seconds = readSeconds(reader, 'full-every');
  return seconds === undefined ? undefined : {seconds};
}

/** Backups of other runs are found with a token alone. */
function requireToken(reader: InputReader): void {
  const isArtifact = (reader.text('storage') ?? 'artifact') === 'artifact';
  if (!isArtifact || reader.text('github-token') !== undefined) return;
  reader.reject(
    'github-token',
    'it is not set, and incremental needs it to find the backups of earlier runs: ${{ github.token }}, with permissions: actions: read',
  );
}
