import {type CatalogEntry, newestFirst} from '../backup-set/catalog.js';
import type {Trend, TrendRun} from './content.js';

const mostRuns = 10;

/** The backup that a step is about, as a part of the trend. */
export interface Newest extends TrendRun {
  readonly systemIdentifier: string;
}

/**
 * The backup of this step after those before it of the same cluster, oldest first; nothing where there is none before
 * it.
 */
export function trendOf(newest: Newest | undefined, entries: readonly CatalogEntry[]): readonly Trend[] {
  if (newest === undefined) return [];
  const before = newestFirst(entries).filter(
    ({name, systemIdentifier, finishedAt}) =>
      systemIdentifier === newest.systemIdentifier &&
      name !== newest.name &&
      Date.parse(finishedAt) <= Date.parse(newest.finishedAt),
  );
  if (before.length === 0) return [];
  const {systemIdentifier: _, ...own} = newest;
  return [
    {
      kind: 'trend',
      runs: [
        ...before
          .slice(0, mostRuns - 1)
          .map(runOf)
          .reverse(),
        own,
      ],
    },
  ];
}

/** How long the restore of the newest backup took whose restore was proven; undefined: it is not known. */
export function lastRestore(
  entries: readonly CatalogEntry[],
  systemIdentifier: string | undefined,
): {readonly name: string; readonly seconds: number} | undefined {
  const known = newestFirst(entries).find(
    (entry) => entry.systemIdentifier === systemIdentifier && entry.proof?.restoreSeconds !== undefined,
  );
  return known && {name: known.name, seconds: known.proof?.restoreSeconds ?? 0};
}

function runOf({name, finishedAt, sizeBytes, durationSeconds, proof, damage}: CatalogEntry): TrendRun {
  return {
    name,
    finishedAt,
    sizeBytes,
    backupSeconds: durationSeconds,
    restoreSeconds: proof?.restoreSeconds,
    proof: damage ? '🔴 damaged' : proof?.proof,
  };
}
