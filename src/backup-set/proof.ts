import {info} from '../log.js';
import type {Manifest} from './manifest.js';

/** How far a backup can be proven, lowest first (README, "What is proven"). */
export const ladder = [
  'transferred',
  'manifest-verified',
  'started',
  'consistent',
  'recovered',
  'read',
  'checked',
] as const;

/** One rung of the ladder. */
export type ProofLevel = (typeof ladder)[number];

/** The highest rung that was reached, or undefined. */
export function highest(reached: ReadonlySet<ProofLevel>): ProofLevel | undefined {
  return ladder.findLast((level) => reached.has(level));
}

/**
 * What is proven of a backup whose files fit its manifest. A manifest that has no checksum of a file (`--manifest-checksums
 * none`) proves its content only together with the metadata, whose SHA-256 were compared then.
 */
export function proofOfFiles(
  manifest: Manifest | undefined,
  hasMetadata: boolean,
): {readonly reached: readonly ProofLevel[]; readonly warning?: string} {
  if (hasMetadata) return {reached: ['transferred', 'manifest-verified']};
  const unchecked = [...(manifest?.files.values() ?? [])].filter(
    ({algorithm}) => algorithm === 'NONE',
  ).length;
  if (unchecked === 0) return {reached: ['manifest-verified']};
  return {
    reached: [],
    warning: `Names and sizes only: backup_manifest has no checksum of ${unchecked} files (manifest-checksums: none), and without metadata nothing tells whether their content is what the server sent.`,
  };
}

/** A check that passed. */
export interface PassedCheck {
  /** `manifest`, `dump`, `amcheck`, `checksums`, or `check-sql`. */
  readonly name: string;
  readonly seconds: number;
}

/** Runs a check and takes its time. */
export async function timed(name: string, work: () => Promise<void>): Promise<PassedCheck> {
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1000;
  info(`Check ${name} passed in ${seconds.toFixed(1)} s`);
  return {name, seconds};
}
