import {UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import {info, warning} from '../../log.js';
import {quoteIdentifier} from '../../postgres/failures.js';
import type {Recovery} from '../recovery/recover.js';
import {query, type Server} from '../server.js';

/**
 * Does something while every database of a restored server lets connections in: `template0` and whatever else is
 * closed is opened for that time, in the copy alone. What fails leads to the end of the copy, so that only success
 * has to close again. Left out is, with a warning, a database whose DROP DATABASE was interrupted, and in recovery
 * `template0`: docs/what-is-proven.md says so of the proof `read`. Throws a UserError for a closed
 * database of a server in recovery, which cannot be opened.
 */
export async function withEveryDatabase(
  server: Server,
  {isInRecovery}: Recovery,
  work: (names: readonly string[]) => Promise<void>,
): Promise<void> {
  const rows = await query(
    server,
    'select datname, datallowconn, datconnlimit = -2 from pg_database order by datname',
  );
  const nameOf = ([name = '']: readonly string[]) => name;
  // What an interrupted DROP DATABASE leaves (PostgreSQL 11.21 to 18): nothing but DROP DATABASE is allowed.
  for (const [name] of rows.filter(([, , isInvalid]) => isInvalid === 't'))
    warning(
      `Database ${JSON.stringify(name)} is not read: it was being dropped, and nobody can connect to it. Drop it on the source.`,
    );
  const valid = rows.filter(([, , isInvalid]) => isInvalid !== 't');
  const closed = valid.filter(([, isOpen]) => isOpen !== 't').map(nameOf);
  const opened = isInRecovery ? [] : closed;
  if (isInRecovery) refuseClosed(closed);
  for (const name of opened) await allowConnections(server, name, true);
  await work(valid.map(nameOf).filter((name) => !closed.includes(name) || opened.includes(name)));
  for (const name of opened) await allowConnections(server, name, false);
}

/** `template0` is what initdb made, and of no use to anybody. */
function refuseClosed(closed: readonly string[]): void {
  const [one] = closed.filter((name) => name !== 'template0');
  if (one !== undefined) {
    throw new UserError(
      `Database ${JSON.stringify(one)} allows no connections, which a server in recovery cannot change: it cannot be read.`,
      'Restore without standby and without recovery-target-action: pause to have it read, or leave dump out of checks.',
    );
  }
  if (closed.length > 0) info('template0 is not read: it allows no connections.');
}

async function allowConnections(server: Server, name: string, isAllowed: boolean): Promise<void> {
  const statement = `alter database ${quoteIdentifier(name)} allow_connections ${isAllowed}`;
  try {
    await query(server, statement);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new UserError(
      `Database ${JSON.stringify(name)} allows no connections, and ${server.user} may not open it to have it read: ${error.message}`,
      'Set user to a superuser of the restored cluster.',
      {cause: error},
    );
  }
}
