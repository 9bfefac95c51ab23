import {basename} from 'node:path';
import {damaged} from '../backup-set/digest.js';
import type {Host} from '../host/host.js';
import {formatConninfo} from '../postgres/conninfo.js';
import {readControlData} from './recovery/control-data.js';
import {askUserCommand, askUserScript, fetchCommand, fetchWalScript} from './recovery/fetch-wal.js';
import {pgHbaConf, postgresqlConf} from './recovery/recovery-config.js';
import type {RestoreRequest} from './request.js';
import type {Server} from './server.js';
import type {Following} from './standby/standby.js';
import type {Target} from './target.js';
import {type Extracted, smallFileBytes} from './unpack/examine.js';

/** What a server is configured for. */
export interface Configured {
  readonly extracted: Extracted;
  /** Where the server finds `wal-directory`, if that is set. */
  readonly archive?: string | undefined;
  readonly following?: Following | undefined;
  /** Whether the configuration that came along counts. */
  readonly usesOwnConfiguration: boolean;
}

/**
 * Writes the configuration that a restored server starts with, and takes away what the backup brought along to
 * follow or archive elsewhere: signal files and `postgresql.auto.conf`, which PostgreSQL always reads.
 */
export async function configure(
  server: Server,
  request: RestoreRequest,
  {extracted, archive, following, usesOwnConfiguration}: Configured,
): Promise<void> {
  const {host, target, programs} = server;
  const {dataDirectory, configDirectory} = target;
  const own = await takeOver(request, host, target);
  const ownFiles = usesOwnConfiguration ? own : [];
  const write = (name: string, text: string, options = {}) =>
    host.writeText(`${configDirectory}/${name}`, text, options);
  const ownRules = usesOwnConfiguration ? await readOwn(host, `${dataDirectory}/pg_hba.conf`) : '';
  await write('pg_hba.conf', pgHbaConf(request, host.network, ownRules));
  await write('pg_ident.conf', '');
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
      restoreCommand: await restoreCommand(request, {host, configDirectory, archive}),
      network: host.network,
      ...(following && {primaryConninfo: formatConninfo(following.conninfo)}),
      ownFiles,
    }),
  );
  await host.writeText(`${dataDirectory}/${following ? 'standby' : 'recovery'}.signal`, '');
}

/** Returns the backup's own configuration files, in the order in which PostgreSQL would read them. */
async function takeOver(
  {isolate}: RestoreRequest,
  host: Host,
  {dataDirectory, configDirectory}: Target,
): Promise<readonly string[]> {
  await host.makeDirectory(configDirectory);
  await host.remove(`${dataDirectory}/standby.signal`, `${dataDirectory}/recovery.signal`);
  const kept = `${configDirectory}/postgresql.auto.conf.restored`;
  const text = await readOwn(host, `${dataDirectory}/postgresql.auto.conf`);
  await host.writeText(kept, isolate ? withoutConninfo(text) : text);
  await host.writeText(`${dataDirectory}/postgresql.auto.conf`, '');
  const own = `${dataDirectory}/postgresql.conf`;
  return (await host.look(own)) === 'file' ? [own, kept] : [kept];
}

/** `pg_basebackup -R` writes a password there, in clear text. */
const withoutConninfo = (text: string) =>
  text.replaceAll(/^\s*primary_conninfo\b.*$/gim, '# primary_conninfo is left out: it may hold a password.');

/** The text of a configuration file of the backup, empty when it is absent. Throws a UserError when it is no file. */
async function readOwn(host: Host, path: string): Promise<string> {
  const kind = await host.look(path);
  if (kind === 'absent') return '';
  if (kind !== 'file') throw damaged(basename(path), 'it is not a file');
  return (await host.readText(path, smallFileBytes)) ?? '';
}

/** `false` stands for "there is no archive": what is in `pg_wal` is all. A standby goes without one. */
async function restoreCommand(
  {recovery, primary}: RestoreRequest,
  {host, configDirectory, archive}: {host: Host; configDirectory: string; archive: string | undefined},
): Promise<string> {
  const {restoreCommand: own} = recovery;
  if (archive === undefined && own === undefined) return primary ? '' : 'false';
  const script = `${configDirectory}/fetch-wal`;
  await host.writeText(script, own === undefined ? fetchWalScript : askUserScript, {executable: true});
  if (own !== undefined) return askUserCommand(script, own);
  return fetchCommand(script, archive ?? '');
}
