import type {PassedCheck} from '../backup-set/proof.js';
import type {RestoreRequest} from '../restore/request.js';
import {type Table, type Text, tableOf} from './content.js';

const examined: Readonly<Record<string, string>> = {
  manifest: 'every file compared with backup_manifest',
  dump: 'every row of every relation of every database read',
  amcheck: 'the structure of every table and index',
  checksums: 'the checksum of every page',
};

/** The checks that passed, as a table; nothing where none has. */
export function checkTable(
  checks: readonly PassedCheck[],
  {checkSql}: Pick<RestoreRequest, 'checkSql'>,
): readonly Table[] {
  const rows = checks.flatMap(({name, seconds}): Text[][] => {
    const [first = '', ...more]: readonly Text[] =
      name === 'check-sql' ? checkSql.map((code) => ({code})) : [examined[name] ?? ''];
    return [[name, first, seconds.toFixed(1)], ...more.map((statement) => ['', statement, ''])];
  });
  return tableOf(['Check', 'Passed', 'Seconds'], rows);
}
