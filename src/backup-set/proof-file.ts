import {isTime} from './metadata.js';
import {ladder, type ProofLevel} from './proof.js';

/**
 * What a run has proven of a backup: `<backup-name>.proof.json`, beside the metadata file. Written by runs that
 * succeeded, and by nobody else.
 */
export interface ProofRecord {
  readonly schemaVersion: 1;
  /** The backup's name. */
  readonly name: string;
  /** SHA-256 of the backup's metadata file, lower-case hexadecimal: a name alone may be another backup's by now. */
  readonly metadataSha256: string;
  /** The highest rung that was reached. */
  readonly proof: ProofLevel;
  /** Every rung that was reached; a higher one does not imply those below it. */
  readonly reached: readonly ProofLevel[];
  /** Names of the checks that passed: `manifest`, `dump`. */
  readonly checks: readonly string[];
  /** ISO 8601 in UTC. */
  readonly provenAt: string;
  /** When a later run found all files as they were, after one had noted damage; ISO 8601 in UTC. */
  readonly confirmedAt?: string;
  readonly by: 'restore' | 'verify';
  /** From the start of the fetch until the server accepted connections; undefined: nothing was restored, or an older version wrote it. */
  readonly restoreSeconds?: number;
  /** The server that was started on the backup, or null: `postgres (PostgreSQL) 17.2`. */
  readonly serverVersion: string | null;
  /** The ref that the action was used at, or null: `v1`. */
  readonly actionRef: string | null;
  /** The page of the run that proved it, or null. */
  readonly runUrl: string | null;
}

/**
 * What a run has found damaged, in the place of the proof: what was proven before does not hold any more. Written by
 * runs that failed because the files are not those that were stored.
 */
export interface DamageRecord
  extends Pick<ProofRecord, 'schemaVersion' | 'name' | 'metadataSha256' | 'by' | 'actionRef' | 'runUrl'> {
  /** What is wrong with it, for people: `base.tar.zst: it is missing`. */
  readonly damage: string;
  /** ISO 8601 in UTC. */
  readonly foundAt: string;
  /** What was proven until then; absent where nothing was. */
  readonly endedProof?: ProofRecord;
}

/** What a `<backup-name>.proof.json` may tell. */
export type Evidence = ProofRecord | DamageRecord;

/** The proof file's text. */
export function formatProof(evidence: Evidence): string {
  return `${JSON.stringify(evidence, null, 2)}\n`;
}

/** Reads a proof file; undefined when it is not one that we understand, which proves nothing. */
export function parseProof(text: string): Evidence | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isProof(value) || isDamageRecord(value) ? value : undefined;
}

/** Whether a proof is enough for `latest-verified`: a server was started, and recovery came to its end. */
export function isVerified(proof: ProofRecord | undefined): boolean {
  return proof?.reached.includes('recovered') ?? false;
}

/** What all evidence comes to. */
export interface Judgement {
  /** The proof that says most; the newest of several such. */
  readonly proof?: ProofRecord;
  /** The newest damage; there is no proof then, because any that is newer has shown that it is gone. */
  readonly damage?: DamageRecord;
}

/** What evidence tells of the backup whose metadata file has this SHA-256: a proof holds until damage is found. */
export function judge(evidence: readonly (Evidence | undefined)[], metadataSha256: string): Judgement {
  const own = evidence
    .filter((one) => one !== undefined)
    .filter((one) => one.metadataSha256 === metadataSha256);
  const [damage] = own.filter(isDamage).sort((a, b) => Date.parse(b.foundAt) - Date.parse(a.foundAt));
  const proofs = own
    .map((one) => (isDamage(one) ? one.endedProof : one))
    .filter((one) => one !== undefined)
    .sort((a, b) => weight(b) - weight(a) || Date.parse(b.provenAt) - Date.parse(a.provenAt));
  const [best] = proofs;
  if (damage === undefined) return best ? {proof: best} : {};
  const later = proofs.find((one) => heldAt(one) > Date.parse(damage.foundAt));
  if (later && best) return {proof: confirmed(best, later)};
  return {damage: {...damage, ...(best && {endedProof: best})}};
}

/** The time at which a proof was known to hold, milliseconds since 1970. */
export function heldAt({provenAt, confirmedAt = provenAt}: ProofRecord): number {
  return Date.parse(confirmedAt);
}

/** A proof whose files another one has found to be as they were. */
function confirmed(proof: ProofRecord, by: ProofRecord): ProofRecord {
  return heldAt(proof) < heldAt(by) ? {...proof, confirmedAt: by.confirmedAt ?? by.provenAt} : proof;
}

/**
 * What is to be stored in the place of old evidence; undefined: the old stays. A proof must not say less of the same
 * backup than another one; damage ends a proof, and tells it; a proof ends damage, and the better one holds again.
 */
export function successor(evidence: Evidence, old: Evidence | undefined): Evidence | undefined {
  if (old === undefined || old.metadataSha256 !== evidence.metadataSha256) return evidence;
  const before = isDamage(old) ? old.endedProof : old;
  if (isDamage(evidence)) return {...evidence, ...(before && {endedProof: before})};
  if (before === undefined || weight(evidence) >= weight(before)) return evidence;
  return isDamage(old) ? confirmed(before, evidence) : undefined;
}

/** Whether evidence tells of damage. */
export function isDamage(evidence: Evidence): evidence is DamageRecord {
  return 'damage' in evidence;
}

function weight(proof: ProofRecord): number {
  return ladder.indexOf(proof.proof) + (isVerified(proof) ? ladder.length : 0);
}

function isProof(value: unknown): value is ProofRecord {
  if (typeof value !== 'object' || value === null) return false;
  const proof = value as Partial<Record<keyof ProofRecord, unknown>>;
  const isLevel = (level: unknown) => ladder.some((one) => one === level);
  return (
    proof.schemaVersion === 1 &&
    typeof proof.name === 'string' &&
    /^[0-9a-f]{64}$/.test(String(proof.metadataSha256)) &&
    isLevel(proof.proof) &&
    Array.isArray(proof.reached) &&
    proof.reached.every(isLevel) &&
    isTime(proof.provenAt) &&
    (proof.confirmedAt === undefined || isTime(proof.confirmedAt))
  );
}

function isDamageRecord(value: unknown): value is DamageRecord {
  if (typeof value !== 'object' || value === null) return false;
  const record = value as Partial<Record<keyof DamageRecord, unknown>>;
  return (
    record.schemaVersion === 1 &&
    typeof record.name === 'string' &&
    /^[0-9a-f]{64}$/.test(String(record.metadataSha256)) &&
    typeof record.damage === 'string' &&
    isTime(record.foundAt) &&
    (record.endedProof === undefined || isProof(record.endedProof))
  );
}
