import {UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import {pathOf} from '../../postgres/programs.js';
import type {Achieved} from '../achieved.js';
import type {Recovery} from '../recovery/recover.js';
import type {RestoreRequest} from '../request.js';
import {query, type Server} from '../server.js';
import {amcheck} from './amcheck.js';
import {isLocked, lockedCure, runCheck} from './check-program.js';
import {readEverything} from './read-everything.js';

/** Runs the checks that need a running server. Throws a UserError at the first that fails. */
export async function runChecks(
  server: Server,
  {checks, checkSql, checkDatabase}: RestoreRequest,
  {recovery, achieved}: {readonly recovery: Recovery; readonly achieved: Achieved},
): Promise<void> {
  if (checks.includes('dump')) await achieved.check('dump', () => readEverything(server, recovery));
  if (checks.includes('amcheck')) await achieved.check('amcheck', () => amcheck(server, recovery));
  if (checkSql.length === 0) return;
  await achieved.check('check-sql', async () => {
    for (const statement of checkSql) await requireTrue(server, statement, checkDatabase);
  });
}

async function requireTrue(server: Server, statement: string, database: string): Promise<void> {
  const rows = await query(server, statement, database).catch((error: unknown) => {
    if (!(error instanceof CommandError)) throw error;
    throw checkSqlFailure(statement, database, error.stderr.trim());
  });
  const [first] = rows;
  if (rows.length === 1 && first?.[0] === 't') return;
  const got =
    first === undefined ? 'no row' : rows.length > 1 ? `${rows.length} rows` : `${JSON.stringify(first[0])}`;
  throw checkSqlFailure(statement, database, `it returned ${got}`);
}

function checkSqlFailure(statement: string, database: string, reason: string): UserError {
  return new UserError(
    `check-sql failed in database ${JSON.stringify(database)}: ${statement}\n${reason}`,
    isLocked(reason) ? lockedCure : cureOfStatement(reason),
  );
}

function cureOfStatement(reason: string): string {
  if (/(relation|schema) ".*" does not exist|database ".*" does not exist/.test(reason))
    return 'Set check-database to the database that has it. If it is the right one, the backup lacks it.';
  return 'Each statement must return one row whose first column is true. If the statement is right, the backup lacks data.';
}

/** Reads every page of a stopped cluster that has page checksums. */
export async function checkPages(server: Server): Promise<void> {
  const args = ['--check', `--pgdata=${server.target.dataDirectory}`];
  await runCheck(server, {name: 'checksums', program: pathOf(server.programs, 'pg_checksums'), args});
}
