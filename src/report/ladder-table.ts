import {highest, ladder, type ProofLevel} from '../backup-set/proof.js';
import {type Table, tableOf} from './content.js';

const meaning: Readonly<Record<ProofLevel, string>> = {
  transferred: 'size and SHA-256 of every file are those recorded at backup time',
  'manifest-verified': 'pg_verifybackup finds every file as backup_manifest lists it',
  started: 'PostgreSQL starts on it',
  consistent: 'it is consistent and accepts connections',
  recovered: 'recovery ended at the end of the WAL or the target asked for',
  read: 'every row of every table, catalog, materialised view and large object was read',
  checked: 'page checksums or amcheck found no damage',
};

/** The ladder of proof, with what was reached; `verified` says what was compared with the manifest. */
export function ladderTable(
  reached: ReadonlySet<ProofLevel>,
  verified: string = meaning['manifest-verified'],
): readonly Table[] {
  const meanings = {...meaning, 'manifest-verified': verified};
  const rows = ladder.map((level) => [reached.has(level) ? '✅' : '➖', level, meanings[level]]);
  return tableOf(['', 'Proof', ''], rows);
}

/** How high that is, for a verdict: `recovered (5 of 7)`. */
export function rungOf(reached: ReadonlySet<ProofLevel>): string {
  const level = highest(reached);
  return level === undefined
    ? 'names and sizes only'
    : `${level} (rung ${ladder.indexOf(level) + 1} of ${ladder.length})`;
}
