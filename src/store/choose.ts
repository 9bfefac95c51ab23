import {type Catalog, type CatalogEntry, newestBy, newestFirst, verifiedOf} from '../backup-set/catalog.js';
import {isPattern, latestVerified, matchesName} from '../backup-set/naming.js';
import {type DamageRecord, isVerified} from '../backup-set/proof-file.js';
import {UserError} from '../errors.js';
import {warning} from '../log.js';

/** Which backup a step is looking for. */
export interface Wanted {
  /** An exact name, a pattern with `*` and `?`, `latest`, or `latest-verified`. */
  readonly name: string;
  /** Of several that fit, the newest that was finished by then is meant; undefined: the newest. */
  readonly finishedBy?: Date | undefined;
}

/** Whether nothing but the catalog tells which backup is meant: its proof, or when it was finished. */
export function needsCatalog({name, finishedBy}: Wanted): boolean {
  return name === latestVerified || (finishedBy !== undefined && (name === 'latest' || isPattern(name)));
}

/**
 * The backup of a catalog that is meant; undefined when none has such a name. Throws a UserError that tells what is
 * there when none of them is proven, and one that is was asked for.
 */
export function choose(
  {entries}: Catalog,
  {name, finishedBy}: Wanted,
  location: string,
): CatalogEntry | undefined {
  if (name !== latestVerified)
    return newestBy(
      entries.filter((entry) => matchesName(entry.name, name)),
      finishedBy,
    );
  const chosen = newestBy(requireVerified(entries, location), finishedBy);
  if (chosen) warnOfDamage(entries, {chosen, finishedBy});
  return chosen;
}

/** A step that takes an older backup is green, and whoever reads it has to learn that there is a newer one. */
function warnOfDamage(
  entries: readonly CatalogEntry[],
  {chosen, finishedBy}: {readonly chosen: CatalogEntry; readonly finishedBy: Date | undefined},
): void {
  const from = Date.parse(chosen.finishedAt);
  const until = finishedBy?.getTime() ?? Number.POSITIVE_INFINITY;
  const passedOver = newestFirst(entries).find(
    ({damage, finishedAt}) => damage && Date.parse(finishedAt) > from && Date.parse(finishedAt) <= until,
  );
  if (passedOver?.damage)
    warning(
      `latest-verified is ${chosen.name}, and passes over ${passedOver.name}, which is newer: ${damageOf(passedOver.damage)}.`,
    );
}

const damageOf = ({foundAt, damage}: DamageRecord) =>
  `it was found damaged at ${foundAt} (${damage.replace(/^The backup is damaged: |\.$/g, '')})`;

function requireVerified(entries: readonly CatalogEntry[], location: string): readonly CatalogEntry[] {
  const verified = verifiedOf(entries);
  if (verified.length > 0) return verified;
  const [newest] = newestFirst(entries);
  const there =
    newest === undefined
      ? 'There is no complete backup at all.'
      : `There are ${entries.length}, the newest is ${newest.name}${knownOf(newest)}.`;
  throw new UserError(
    `No backup in ${location} is proven to restore. ${there}`,
    newest?.damage
      ? `${entries.every(({damage}) => damage) ? 'Take' : 'Restore an older one by its name, or take'} a new backup and restore that: a mode: restore that reaches recovered writes that proof.`
      : 'A mode: restore that succeeds, and reaches recovered, writes that proof: run one with backup-name: latest.',
  );
}

function knownOf({proof, damage}: CatalogEntry): string {
  if (damage) return `: ${damageOf(damage)}`;
  if (!proof) return '';
  return isVerified(proof)
    ? ', proven, and what it builds on is not there as it was'
    : `, proven ${proof.proof} alone`;
}
