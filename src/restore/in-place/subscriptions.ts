import {UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import {warning} from '../../log.js';
import {quoteIdentifier} from '../../postgres/failures.js';
import {query, type Server} from '../server.js';

/**
 * Disables the logical subscriptions of a copy that is going to run with ordinary settings: its workers would take the
 * changes that the publisher keeps for the original. Throws a UserError when the role may not.
 */
export async function disableSubscriptions(server: Server): Promise<void> {
  const rows = await query(
    server,
    `select datname, subname from pg_subscription join pg_database d on d.oid = subdbid where subenabled order by 1, 2`,
  );
  for (const [database = '', name = ''] of rows) {
    const subscription = `ALTER SUBSCRIPTION ${quoteIdentifier(name)}`;
    await query(server, `${subscription} DISABLE`, database).catch((error: unknown) => {
      if (!(error instanceof CommandError)) throw error;
      throw new UserError(
        `Subscription ${JSON.stringify(name)} could not be disabled, and would take the original's changes from its publisher: ${error.message}`,
        'Set user to a superuser of the restored cluster, or isolate: false to let it run.',
        {cause: error},
      );
    });
    warning(
      `Subscription ${JSON.stringify(name)} of database ${JSON.stringify(database)} is disabled in the restored data, so that it does not take the original's changes from its publisher. Where the copy shall take them: ${subscription} ENABLE;`,
    );
  }
}
