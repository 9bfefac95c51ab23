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

/** The proof file's text. */
export function formatProof(proof: ProofRecord): string {
  return `${JSON.stringify(proof, null, 2)}\n`;
}

/** Reads a proof file; undefined when it is not one that we understand, which proves nothing. */
export function parseProof(text: string): ProofRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isProof(value) ? value : undefined;
}

/** Whether a proof is enough for `latest-verified`: a server was started, and recovery came to its end. */
export function isVerified(proof: ProofRecord | undefined): boolean {
  return proof?.reached.includes('recovered') ?? false;
}

/** The proof that says most of the backup whose metadata file has this SHA-256; the newest of several such. */
export function bestProof(
  proofs: readonly (ProofRecord | undefined)[],
  metadataSha256: string,
): ProofRecord | undefined {
  return proofs
    .filter((proof) => proof !== undefined)
    .filter((proof) => proof.metadataSha256 === metadataSha256)
    .toSorted((a, b) => weight(b) - weight(a) || Date.parse(b.provenAt) - Date.parse(a.provenAt))[0];
}

/** Whether a new proof may take the place of an old one: it must not say less of the same backup. */
export function replaces(proof: ProofRecord, old: ProofRecord | undefined): boolean {
  return old === undefined || old.metadataSha256 !== proof.metadataSha256 || weight(proof) >= weight(old);
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
    isTime(proof.provenAt)
  );
}
