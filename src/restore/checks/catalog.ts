import {UserError} from '../../errors.js';
import {CommandError} from '../../host/host.js';
import {warning} from '../../log.js';
import {imageWith, missingLibraries, reindexing} from '../match.js';
import {query, type Server} from '../server.js';
import {cureOf} from '../start-cures.js';

/**
 * Warns of what only the catalogs of a running server tell: libraries that its databases use and the host lacks, and
 * collations of ICU that sort differently here.
 */
export async function warnOfCatalogs(server: Server): Promise<void> {
  await warnOfLibraries(server);
  if (server.programs.major >= 15) await warnOfCollations(server);
}

async function warnOfLibraries(server: Server): Promise<void> {
  const {host, programs} = server;
  for (const [database = ''] of await query(server, 'select datname from pg_database where datallowconn')) {
    const used = await librariesOf(server, database);
    const missing = await missingLibraries(host, programs, used);
    if (missing.length === 0) continue;
    warning(
      `Database ${JSON.stringify(database)} uses ${missing.join(', ')}, which ${host.name} lacks: whatever needs it fails there. Use ${imageWith(missing, programs.major)}.`,
    );
  }
}

async function librariesOf(server: Server, database: string): Promise<readonly string[]> {
  const statement = `select distinct probin from pg_proc where probin is not null and probin <> ''`;
  try {
    return (await query(server, statement, database)).map(([library = '']) => library);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const cure = cureOf(error.stderr.split('\n'), server.programs.major);
    const what = `The restored server lets nobody into database ${JSON.stringify(database)}: ${error.message}`;
    if (cure !== undefined) throw new UserError(what, cure, {cause: error});
    // A role of the user's that may not connect there is no fault of the backup.
    warning(what);
    return [];
  }
}

/** The C library's were compared before; ICU's version is known to the server alone. */
async function warnOfCollations(server: Server): Promise<void> {
  const rows = await query(
    server,
    `select datname, datcollversion, pg_database_collation_actual_version(oid) from pg_database
      where datlocprovider <> 'c' and datcollversion <> pg_database_collation_actual_version(oid)`,
  );
  for (const [database = '', source, here] of rows) {
    warning(
      `Text in ${JSON.stringify(database)} was sorted by ICU collations of version ${source}, and ${server.host.name} has ${here}: indexes on text may miss rows. Use an image of the source's Debian release, or run in it: ${reindexing(database, server.programs.major)}`,
    );
  }
}
