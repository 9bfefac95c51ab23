import {randomUUID} from 'node:crypto';
import type {Host} from '../host/host.js';
import {passfileLine} from '../postgres/connection.js';
import {formatConninfo} from '../postgres/conninfo.js';
import {type Programs, pathOf} from '../postgres/programs.js';
import {type ControlData, parseControlData} from './control-data.js';
import type {Extracted} from './examine.js';
import {fetchWalScript, pgHbaConf, postgresqlConf, shellWord} from './recovery-config.js';
import type {RestoreRequest} from './request.js';
import type {Server} from './server.js';

/** What `pg_controldata` says of a data directory. */
export async function readControlData(
  host: Host,
  programs: Programs,
  dataDirectory: string,
): Promise<ControlData> {
  const {stdout} = await host.run({program: pathOf(programs, 'pg_controldata'), args: [dataDirectory]});
  return parseControlData(stdout);
}

/**
 * Writes the configuration that a restored server starts with, and takes away what the backup brought along to
 * follow or archive elsewhere: signal files and `postgresql.auto.conf`, which PostgreSQL always reads.
 */
export async function configure(
  server: Server,
  request: RestoreRequest,
  extracted: Extracted,
): Promise<void> {
  const {host, target, programs} = server;
  const {dataDirectory, configDirectory} = target;
  const ownFiles = await takeOver(host, dataDirectory, configDirectory);
  const write = (name: string, text: string, options = {}) =>
    host.writeText(`${configDirectory}/${name}`, text, options);
  await write('pg_hba.conf', pgHbaConf(request, (await host.readText(`${dataDirectory}/pg_hba.conf`)) ?? ''));
  await write('pg_ident.conf', '');
  await write('fetch-wal', fetchWalScript, {executable: true});
  if (request.primary?.password !== undefined)
    await write('primary.pgpass', passfileLine(request.primary.password));
  const control = await readControlData(host, programs, dataDirectory);
  await write(
    'postgresql.conf',
    postgresqlConf(request, {
      major: extracted.major,
      dataDirectory,
      configDirectory,
      socketDirectory: server.socketDirectory,
      requiredSettings: control.settings,
      memoryBytes: host.memoryBytes,
      restoreCommand: restoreCommand(request, configDirectory),
      ...(request.primary && {primaryConninfo: primaryConninfo(request.primary, configDirectory)}),
      ownFiles,
    }),
  );
  await host.writeText(`${dataDirectory}/${request.primary ? 'standby' : 'recovery'}.signal`, '');
}

/** Returns the backup's own configuration files, in the order in which PostgreSQL would read them. */
async function takeOver(
  host: Host,
  dataDirectory: string,
  configDirectory: string,
): Promise<readonly string[]> {
  await host.makeDirectory(configDirectory);
  for (const name of ['standby.signal', 'recovery.signal']) await host.remove(`${dataDirectory}/${name}`);
  const kept = `${configDirectory}/postgresql.auto.conf.restored`;
  await host.writeText(kept, (await host.readText(`${dataDirectory}/postgresql.auto.conf`)) ?? '');
  await host.writeText(`${dataDirectory}/postgresql.auto.conf`, '');
  const own = `${dataDirectory}/postgresql.conf`;
  return (await host.look(own)) === 'file' ? [own, kept] : [kept];
}

/** `false` stands for "there is no archive": what is in `pg_wal` is all. */
function restoreCommand({recovery}: RestoreRequest, configDirectory: string): string {
  if (recovery.restoreCommand !== undefined) return recovery.restoreCommand;
  if (recovery.walDirectory === undefined) return 'false';
  return `${shellWord(`${configDirectory}/fetch-wal`)} ${shellWord(recovery.walDirectory)} %f %p`;
}

function primaryConninfo(primary: NonNullable<RestoreRequest['primary']>, configDirectory: string): string {
  const passfile = primary.password === undefined ? {} : {passfile: `${configDirectory}/primary.pgpass`};
  const name = {application_name: `restored-${randomUUID().slice(0, 8)}`};
  return formatConninfo({...primary.parameters, ...name, ...passfile});
}
