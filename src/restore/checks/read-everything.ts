import {pathOf} from '../../postgres/programs.js';
import {bareOptions} from '../../postgres/psql.js';
import type {Recovery} from '../recovery/recover.js';
import {lockTimeoutSeconds, type Server, serverEnvironment} from '../server.js';
import {runCheck} from './check-program.js';
import {withEveryDatabase} from './databases.js';

/**
 * The check `dump`: every database is dumped without its data, which reads its catalogs as a dump has to, and then
 * every row of every relation is read, which a dump does not do: it leaves out materialised views, catalogs, and
 * tables of extensions. What is read is thrown away where it arrives. Throws a UserError.
 */
export async function readEverything(server: Server, recovery: Recovery): Promise<void> {
  await withEveryDatabase(server, recovery, async (names) => {
    for (const database of names) {
      const check = {name: 'dump', database, env: serverEnvironment(server, database)};
      await runCheck(server, {...check, program: pathOf(server.programs, 'pg_dump'), args: dumpOptions});
      await runCheck(server, {
        ...check,
        program: pathOf(server.programs, 'psql'),
        args: [...bareOptions, '--echo-errors', '--output=/dev/null', '--file=-'],
        stdin: readRelations,
      });
    }
  });
}

const dumpOptions = [
  '--schema-only',
  '--format=plain',
  '--no-sync',
  '--no-password',
  '--file=/dev/null',
  `--lock-wait-timeout=${lockTimeoutSeconds}s`,
];

/**
 * Reads all columns of all rows, and so their TOAST data, of whatever has rows of its own: tables, sequences,
 * materialised views that are filled, catalogs (pg_largeobject among them). From the table itself and not from an
 * index that happens to hold all its columns. A virtual generated column (18) is stored nowhere, and its expression
 * may fail. Unlogged relations cannot be read during recovery, and are empty after it.
 */
const readRelations = `set row_security = off;
set enable_indexscan = off;
set enable_indexonlyscan = off;
set enable_bitmapscan = off;
set max_parallel_workers_per_gather = 0;
select format('copy (select %s from only %I.%I) to stdout',
              string_agg(quote_ident(attname), ', ' order by attnum), nspname, relname)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = relnamespace
  left join pg_catalog.pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated <> 'v'
 where (relkind in ('r', 'S') or relkind = 'm' and relispopulated)
   and (relpersistence = 'p' or relpersistence = 'u' and not pg_catalog.pg_is_in_recovery())
 group by c.oid, nspname, relname
 order by nspname, relname
\\gexec
`;
