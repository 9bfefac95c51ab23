import type {Finding} from '../finding.js';
import {type Table, tableOf} from './content.js';

const marks: Readonly<Record<Finding['level'], string>> = {error: '❌', warning: '⚠️', note: 'ℹ️'};

/** What somebody has to do something about goes ahead of all pictures, and what is only good to know behind them. */
export function splitFindings(findings: readonly Finding[]): {
  urgent: readonly Table[];
  notes: readonly Table[];
} {
  const isNote = ({level}: Finding) => level === 'note';
  return {
    urgent: findingTable(findings.filter((finding) => !isNote(finding))),
    notes: findingTable(findings.filter(isNote)),
  };
}

/** What preflight found, as a table; nothing where it found nothing. */
export function findingTable(findings: readonly Finding[]): readonly Table[] {
  const rows = findings.map(({level, subject, observed, cure}) =>
    [marks[level], subject, observed, cure].map((cell) => cell.trim()),
  );
  return tableOf(['', 'Preflight', 'Found', 'What to do'], rows);
}
