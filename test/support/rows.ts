import {Client} from 'pg';
import {run} from './command.js';
import {postgresProgram} from './postgres-programs.js';

/** Where a server listens, and as whom to log in. */
export interface Connection {
  /** A host name, or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
}

/** Runs statements in a database as a superuser and returns the rows, `|` between columns. */
export type Ask = (statements: string, database?: string) => Promise<string>;

/**
 * Runs statements and returns the rows, `|` between columns; throws at the first error. One alone needs no program,
 * which would cost several times as much as its answer.
 */
export function rowsOf(connection: Connection, statements: string, database = 'postgres'): Promise<string> {
  const statement = statements.trim().replace(/;$/, '');
  if (/[;\\]/.test(statement)) return psql(connection, statements, database);
  return connected(connection, database, async (ask) => (await ask(statement)).trimEnd());
}

/** Runs statements in psql and returns the rows, `|` between columns; throws at the first error. */
export function psql(connection: Connection, statements: string, database = 'postgres'): Promise<string> {
  const {host, port, user} = connection;
  return run(
    postgresProgram('psql'),
    ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1', '--no-password'],
    {stdin: statements, env: {PGHOST: host, PGPORT: String(port), PGUSER: user, PGDATABASE: database}},
  ).then((rows) => rows.trimEnd());
}

async function connected<T>(
  {host, port, user}: Connection,
  database: string,
  work: (ask: (statement: string) => Promise<string>) => Promise<T>,
): Promise<T> {
  const asText = {getTypeParser: () => (value: unknown) => value};
  const client = new Client({host, port, user, database, password: '', types: asText});
  // It may be shut down beneath us: the question fails then.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work(async (text) => {
      const {rows} = await client.query<(string | null)[]>({text, rowMode: 'array'});
      return rows.map((row) => row.map((value) => value ?? '').join('|')).join('\n');
    });
  } catch (cause) {
    throw new Error(`ERROR: ${String(cause)}`, {cause});
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Every row of every table of a cluster in one text that is equal only when the rows are, in any order. */
export async function checksumOfAllRows(connection: Connection): Promise<string> {
  const sums: string[] = [];
  for (const database of (await rowsOf(connection, databases)).split('\n')) {
    const ofDatabase = await connected(connection, database, async (ask) => {
      const rows: string[] = [];
      for (const statement of (await ask(statements)).split('\n').filter(Boolean))
        rows.push(await ask(statement));
      return rows.join('\n');
    });
    sums.push(`${database}:\n${ofDatabase}`);
  }
  return sums.join('\n');
}

/** The same of a cluster that is asked in another way, by psql. */
export async function checksumOfRows(ask: Ask): Promise<string> {
  const sums: string[] = [];
  for (const database of (await ask(databases)).split('\n'))
    sums.push(`${database}:\n${await ask(`${statements} \\gexec`, database)}`);
  return sums.join('\n');
}

const databases = 'select datname from pg_database where datallowconn order by 1';

/** One for each table. */
const statements = `
  select format('select %L, count(*), sum(hashtextextended(t::text, 0)::numeric) from %I.%I t', relname, nspname, relname)
  from pg_class join pg_namespace n on n.oid = relnamespace
  where relkind = 'r' and nspname not in ('pg_catalog', 'information_schema') and nspname not like 'pg_toast%'
  order by nspname, relname`;
