import type {Finding} from '../finding.js';
import {type Table, tableOf} from './content.js';

const marks: Readonly<Record<Finding['level'], string>> = {error: '❌', warning: '⚠️', note: 'ℹ️'};

/** What preflight found, as a table; nothing where it found nothing. */
export function findingTable(findings: readonly Finding[]): readonly Table[] {
  const rows = findings.map(({level, subject, observed, cure}) =>
    [marks[level], subject, observed, cure].map((cell) => cell.trim()),
  );
  return tableOf(['', 'Preflight', 'Found', 'What to do'], rows);
}
