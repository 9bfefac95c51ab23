import {UserError} from '../errors.js';
import {CommandError} from '../host/host.js';
import {info} from '../log.js';
import {pathOf} from '../postgres/programs.js';
import type {RestoreRequest} from './request.js';
import {query, type Server, serverEnvironment} from './server.js';

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

/** Runs the checks that need a running server. Throws a UserError at the first that fails. */
export async function runChecks(
  server: Server,
  {checks, checkSql, checkDatabase}: RestoreRequest,
): Promise<readonly PassedCheck[]> {
  const passed: PassedCheck[] = [];
  if (checks.includes('dump')) passed.push(await timed('dump', () => readEverything(server)));
  if (checks.includes('amcheck')) passed.push(await timed('amcheck', () => amcheck(server)));
  if (checkSql.length > 0) {
    const askAll = async () => {
      for (const statement of checkSql) await requireTrue(server, statement, checkDatabase);
    };
    passed.push(await timed('check-sql', askAll));
  }
  return passed;
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
    'Each statement must return one row whose first column is true. If the statement is right, the backup lacks data.',
  );
}

/** pg_dump reads every table with its TOAST data, every sequence and large object; what it writes is thrown away. */
async function readEverything(server: Server): Promise<void> {
  for (const [database = ''] of await query(
    server,
    'select datname from pg_database where datallowconn order by 1',
  )) {
    const args = ['--format=plain', '--no-sync', '--no-password', '--file=/dev/null'];
    await runCheck(server, {name: 'dump', program: 'pg_dump', args, database});
  }
}

/** The extension is installed in the copy alone. */
async function amcheck(server: Server): Promise<void> {
  if (server.programs.major < 14) {
    throw new UserError(
      `checks: amcheck needs PostgreSQL 14 or newer; the backup is of ${server.programs.major}.`,
      'Use checks: dump.',
    );
  }
  const args = [
    '--all',
    '--install-missing',
    '--heapallindexed',
    `--jobs=${server.host.cores}`,
    '--no-password',
  ];
  await runCheck(server, {name: 'amcheck', program: 'pg_amcheck', args, database: 'postgres'});
}

/** Reads every page of a stopped cluster that has page checksums. */
export async function checkPages(server: Server): Promise<void> {
  const args = ['--check', `--pgdata=${server.target.dataDirectory}`];
  await runCheck(server, {name: 'checksums', program: 'pg_checksums', args, database: ''});
}

interface CheckProgram {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly database: string;
}

async function runCheck(server: Server, {name, program, args, database}: CheckProgram): Promise<void> {
  const command = {program: pathOf(server.programs, program), args, env: serverEnvironment(server, database)};
  try {
    await server.host.run(command);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    for (const line of error.stderr.trim().split('\n').slice(0, 20)) info(line);
    const where = database === '' ? '' : ` in database ${JSON.stringify(database)}`;
    throw new UserError(
      `Check ${name} failed${where}: ${error.message}`,
      /permission denied|must be superuser/.test(error.stderr)
        ? 'Set user to a superuser of the restored cluster.'
        : 'The backup restores, but its data look damaged: keep older backups, and run the same check on the source.',
      {cause: error},
    );
  }
}
