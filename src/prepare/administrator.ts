import {UserError} from '../errors.js';
import type {Host} from '../host/host.js';
import {type Connection, nameOf} from '../postgres/connection.js';
import {explain} from '../postgres/failures.js';
import {type PsqlAccess, queryByPsql, runPsql} from '../postgres/psql.js';
import {openSession, type Row} from '../postgres/session.js';
import type {PrepareRequest} from './request.js';

/** A statement whose names and values the server itself quotes. */
export interface Statement {
  /** For the server's `format()`: `%I` is a name, `%L` a value. */
  readonly template: string;
  readonly values: readonly string[];
  /** What stands for the values when the statement is shown; needed where one of them is secret. */
  readonly shown?: readonly string[];
}

/** Somebody on the server who may change roles. */
export interface Administrator {
  /** For messages: `postgres@db.example:5432`. */
  readonly name: string;
  /** Where the server's own files can be changed; absent where they are out of reach. */
  readonly host?: Host;
  /** Runs one query; values replace $1, $2, …. */
  query(query: string, values?: readonly string[]): Promise<readonly Row[]>;
  /** Runs statements in one transaction, kept out of the server's log as far as the administrator may. */
  change(statements: readonly Statement[]): Promise<void>;
  close(): Promise<void>;
}

/** The administrator of a request over the network, who cannot reach the server's files. */
export async function remoteAdministrator(request: PrepareRequest): Promise<Administrator> {
  const connection = loginOf(request);
  const session = await openSession(connection, {kind: 'sql'}).catch((error: unknown) => {
    throw loginFailure(error, connection);
  });
  const query: Administrator['query'] = (text, values) => session.query(text, values);
  return {
    name: nameOf(connection),
    query,
    async change(statements) {
      await session.query(quieten);
      await session.query('begin read write');
      try {
        for (const statement of statements) {
          const [row] = await query(...formatting(statement.template, statement.values));
          await session.query(String(row?.statement));
        }
        await session.query('commit');
      } catch (error) {
        await session.query('rollback').catch(() => undefined);
        throw error;
      }
    },
    close: () => session.close(),
  };
}

function loginOf({connection, admin}: PrepareRequest): Connection {
  const {parameters, environment} = connection;
  return {
    parameters: {dbname: 'postgres', ...parameters, user: admin.user ?? 'postgres'},
    environment,
    ...(admin.password !== undefined && {password: admin.password}),
  };
}

function loginFailure(error: unknown, connection: Connection): UserError {
  const failure = explain('The administrator cannot log in', error, connection);
  // The cure for a refused password names the inputs of the role that is being prepared.
  if (!/password|does not exist/.test(failure.message)) return failure;
  const cure = `Check admin-user and the secret behind admin-password (${nameOf(connection)}).`;
  return new UserError(failure.message, cure, {cause: error});
}

/** An administrator by psql where the server runs, who can reach its files. */
export function localAdministrator(access: PsqlAccess): Administrator & {readonly host: Host} {
  return {
    name: `${access.env.PGUSER ?? access.host.user} on ${access.host.name}`,
    host: access.host,
    query: (text, values) => queryByPsql(access, text, values),
    async change(statements) {
      const values: string[] = [];
      const lines = statements.map(({template, values: own}) => {
        const [text, added] = formatting(template, own, values.length);
        values.push(...added);
        return `${text.replaceAll(/\$(\d+)/g, ":'v$1'")} \\gexec`;
      });
      const script = [`${quieten};`, 'begin read write;', ...lines, 'commit;'];
      await runPsql(access, script.join('\n'), values);
    },
    close: async () => undefined,
  };
}

/** The statements as text, as the server writes them, with nothing secret in them. */
export async function showStatements(
  administrator: Administrator,
  statements: readonly Statement[],
): Promise<readonly string[]> {
  const texts: string[] = [];
  for (const {template, values, shown = values} of statements) {
    const [row] = await administrator.query(...formatting(template, shown));
    texts.push(`${row?.statement};`);
  }
  return texts;
}

/** The query that has the server write a statement; its values are numbered from `offset` on. */
function formatting(
  template: string,
  values: readonly string[],
  offset = 0,
): readonly [query: string, values: readonly string[]] {
  const all = [template, ...values];
  const placeholders = all.map((_, index) => `$${offset + index + 1}::text`);
  return [`select format(${placeholders.join(', ')}) as statement`, all];
}

/**
 * Keeps the statements of this session out of the server's log and out of pg_stat_statements. Each setting is tried:
 * only a superuser may change most of them.
 */
const quieten = `do $$
declare
  setting text[];
begin
  foreach setting slice 1 in array array[
    ['log_statement', 'none'], ['log_duration', 'off'], ['log_min_duration_statement', '-1'],
    ['log_min_duration_sample', '-1'], ['log_transaction_sample_rate', '0'], ['log_min_error_statement', 'panic'],
    ['pg_stat_statements.track', 'none'], ['auto_explain.log_min_duration', '-1']
  ] loop
    begin
      perform set_config(setting[1], setting[2], false);
    exception when others then
      null;
    end;
  end loop;
end $$`;
