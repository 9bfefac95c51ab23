import {type CatalogEntry, newestFirst, verifiedOf, wholeOf} from './catalog.js';
import {isVerified} from './proof-file.js';

/** How many backups are kept; a rule that is left out keeps none. */
export interface KeepRules {
  /** The newest ones. */
  readonly last?: number;
  /** The newest one of each of so many days, the newest days that have any. */
  readonly daily?: number;
  readonly weekly?: number;
  readonly monthly?: number;
}

/** What is decided about. */
export interface RetentionQuestion {
  readonly rules: KeepRules;
  /** The backup that was just made. It is part of the catalog. */
  readonly made: CatalogEntry;
  /** Whether a backup of that name is of the same kind as the one just made. */
  readonly isOfKind: (name: string) => boolean;
}

/** A backup that stays, and why. */
export interface Kept {
  readonly entry: CatalogEntry;
  readonly reasons: readonly string[];
}

/** What becomes of every backup. */
export interface Retention {
  /** Of the same system and kind, the newest first. */
  readonly kept: readonly Kept[];
  /** In the order in which they may go: none is ahead of one that needs it. */
  readonly removed: readonly CatalogEntry[];
  /** Of another system or kind. They are never removed. */
  readonly others: readonly Kept[];
}

/**
 * Decides which backups go. Only those of the same system and kind as the one just made can; never that one, one that
 * is newer, the newest one that is verified, or one that is needed to restore another that stays. Pure.
 */
export function decideRetention(catalog: readonly CatalogEntry[], question: RetentionQuestion): Retention {
  const {made, isOfKind} = question;
  const isOurs = ({id, name, systemIdentifier}: CatalogEntry) =>
    id === made.id || (systemIdentifier === made.systemIdentifier && isOfKind(name));
  const kind = newestFirst(catalog.filter(isOurs));
  const reasons = reasonsToKeep(kind, {...question, whole: wholeOf(catalog)});
  keepProven(kind, verifiedOf(catalog), reasons);
  keepParents(catalog, reasons);
  const isKept = (entry: CatalogEntry) => reasons.get(entry)?.length !== 0;
  return {
    kept: kind.filter(isKept).map((entry) => ({entry, reasons: reasons.get(entry) ?? []})),
    removed: childrenFirst(kind.filter((entry) => !isKept(entry))),
    others: newestFirst(catalog)
      .filter((entry) => !reasons.has(entry))
      .map((entry) => ({entry, reasons: [whyOther(entry, made)]})),
  };
}

function reasonsToKeep(
  kind: readonly CatalogEntry[],
  {rules, made, whole}: RetentionQuestion & {readonly whole: ReadonlySet<CatalogEntry>},
): Map<CatalogEntry, string[]> {
  const reasons = new Map<CatalogEntry, string[]>(kind.map((entry) => [entry, []]));
  const keep = (entry: CatalogEntry, reason: string) => reasons.get(entry)?.push(reason);
  const isNewer = ({id, finishedAt}: CatalogEntry) =>
    id !== made.id && Date.parse(finishedAt) > Date.parse(made.finishedAt);
  for (const entry of kind) {
    if (entry.id === made.id) keep(entry, 'just made');
    if (isNewer(entry)) keep(entry, 'newer than the one just made');
  }
  // One whose time lies in the future must not take a place from those that are there.
  const counted = kind.filter((entry) => !isNewer(entry));
  // Nor one that is damaged from those that are whole. It stays as long as it would otherwise.
  const good = counted.filter((entry) => whole.has(entry));
  const kept = [...keptByRules(good, rules), ...keptByRules(counted, rules)];
  for (const [entry, reason] of kept) if (!reasons.get(entry)?.includes(reason)) keep(entry, reason);
  return reasons;
}

/** The newest one that is known to restore, and one that was so until it was found damaged, until there is a newer one. */
function keepProven(
  kind: readonly CatalogEntry[],
  verified: readonly CatalogEntry[],
  reasons: ReadonlyMap<CatalogEntry, string[]>,
): void {
  const newest = verified.find((entry) => reasons.has(entry));
  if (newest) reasons.get(newest)?.push('newest verified');
  const newer = kind.slice(0, newest ? kind.indexOf(newest) : undefined);
  const ended = newer.find(({proof, damage}) => isVerified(proof ?? damage?.endedProof));
  if (ended) reasons.get(ended)?.push('verified, until damage was found');
}

function whyOther({systemIdentifier}: CatalogEntry, made: CatalogEntry): string {
  return systemIdentifier === made.systemIdentifier ? otherKind : 'of another system';
}

/** Why a backup of the same system is none that the rules are about. */
export const otherKind = 'its name is of another kind';

type Period = (time: Date) => string;

const dayMilliseconds = 86_400_000;
const dayOf: Period = (time) => time.toISOString().slice(0, 10);
const mondayOf: Period = (time) =>
  dayOf(new Date(time.getTime() - ((time.getUTCDay() + 6) % 7) * dayMilliseconds));
const monthOf: Period = (time) => time.toISOString().slice(0, 7);

function keptByRules(
  newest: readonly CatalogEntry[],
  {last = 0, daily = 0, weekly = 0, monthly = 0}: KeepRules,
): readonly (readonly [CatalogEntry, string])[] {
  return [
    ...newest.slice(0, last).map((entry) => [entry, 'keep-last'] as const),
    ...newestOfEach(newest, dayOf, daily).map(([entry, day]) => [entry, `keep-daily ${day}`] as const),
    ...newestOfEach(newest, mondayOf, weekly).map(
      ([entry, monday]) => [entry, `keep-weekly from ${monday}`] as const,
    ),
    ...newestOfEach(newest, monthOf, monthly).map(
      ([entry, month]) => [entry, `keep-monthly ${month}`] as const,
    ),
  ];
}

/** The newest backup of each of the newest periods that have any. */
function newestOfEach(
  newest: readonly CatalogEntry[],
  periodOf: Period,
  count: number,
): readonly (readonly [CatalogEntry, string])[] {
  const found = new Map<string, CatalogEntry>();
  for (const entry of newest) {
    const period = periodOf(new Date(entry.finishedAt));
    if (!found.has(period) && found.size < count) found.set(period, entry);
  }
  return [...found].map(([period, entry]) => [entry, period] as const);
}

/** A parent is told by its name; where several backups have it, all of them count as needed. */
function keepParents(catalog: readonly CatalogEntry[], reasons: Map<CatalogEntry, string[]>): void {
  const named = Map.groupBy(catalog, ({name}) => name);
  const waiting = catalog.filter((entry) => reasons.get(entry)?.length !== 0);
  for (let child = waiting.pop(); child; child = waiting.pop()) {
    const {name, parent} = child;
    for (const entry of parent === undefined ? [] : (named.get(parent) ?? [])) {
      const known = reasons.get(entry);
      const goes = known?.length === 0;
      known?.push(`needed by ${name}`);
      if (goes) waiting.push(entry);
    }
  }
}

/** A removal may be interrupted: what is left has to restore at any time. Of equals, the newest goes first. */
function childrenFirst(entries: readonly CatalogEntry[]): readonly CatalogEntry[] {
  const children = Map.groupBy(entries, ({parent}) => parent);
  const ordered = new Set<CatalogEntry>();
  const entered = new Set<CatalogEntry>();
  const visit = (entry: CatalogEntry): void => {
    if (entered.has(entry)) return;
    entered.add(entry);
    for (const child of children.get(entry.name) ?? []) visit(child);
    ordered.add(entry);
  };
  for (const entry of entries) visit(entry);
  return [...ordered];
}
