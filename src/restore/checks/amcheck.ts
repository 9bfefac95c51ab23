import {pathOf} from '../../postgres/programs.js';
import type {Recovery} from '../recovery/recover.js';
import {query, type Server, serverEnvironment} from '../server.js';
import {runCheck} from './check-program.js';
import {withEveryDatabase} from './databases.js';

/**
 * The check `amcheck`: `pg_amcheck` examines heap, TOAST and B-tree indexes of every database. Its extension is
 * installed in the copy for that time, where it is not anyway. Throws a UserError.
 */
export async function amcheck(server: Server, recovery: Recovery): Promise<void> {
  const {host, programs} = server;
  await withEveryDatabase(server, recovery, async (names) => {
    const lacking: string[] = [];
    for (const database of names) {
      const found = await query(server, "select from pg_extension where extname = 'amcheck'", database);
      if (found.length === 0) lacking.push(database);
    }
    await runCheck(server, {
      name: 'amcheck',
      program: pathOf(programs, 'pg_amcheck'),
      args: [...options, `--jobs=${host.cores}`],
      env: serverEnvironment(server, 'postgres'),
    });
    // The copy may be kept, or take the place of the original.
    for (const database of lacking) await query(server, 'drop extension if exists amcheck', database);
  });
}

/** Nobody else uses the copy, so that indexes can be compared with their tables and across their levels. */
const options = ['--all', '--install-missing', '--heapallindexed', '--parent-check', '--no-password'];
