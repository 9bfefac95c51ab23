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
