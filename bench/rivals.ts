import {execFileSync} from 'node:child_process';
import {mkdirSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {cpus, userInfo} from 'node:os';
import {dirname, join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {asServer, type Cluster, postgresProgram} from '../test/support/cluster.js';
import {giveToServer} from '../test/support/postgres-programs.js';
import {type CommandLine, command} from './measure.js';

const cores = cpus().length;

/** A tool with a repository of its own, which also gets the server's WAL. */
export interface Rival {
  readonly name: string;
  /** How it is set, for the table. */
  readonly described: string;
  /** For `archive_command`. */
  readonly archiveCommand: string;
  /** Where its backups are, below its directory. */
  readonly repository: string;
  /** Makes it ready for a cluster that runs, and archives. */
  setUp(cluster: Cluster): Promise<void>;
  /** Makes room for the next backup. */
  prepare(): Promise<void>;
  /** Takes in the WAL that has been archived. */
  receive(): Promise<void>;
  readonly backup: CommandLine;
  restore(directory: string): CommandLine;
}

/** pgBackRest with zstd at level 3, and as many processes as there are cores. */
export function pgBackRest(directory: string): Rival {
  const config = join(directory, 'pgbackrest.conf');
  const line = (...args: readonly string[]) =>
    asServer('pgbackrest', [`--config=${config}`, '--stanza=bench', ...args]);
  return {
    name: 'pgBackRest',
    described: `${versionOf('pgbackrest', 'version')} (zstd level 3, process-max ${cores}, a local repository)`,
    archiveCommand: `pgbackrest --config=${config} --stanza=bench archive-push %p`,
    repository: join(directory, 'backup'),
    async setUp(cluster) {
      const {port, user} = cluster.connection;
      const text = `[global]
repo1-path=${directory}
repo1-retention-full=1
process-max=${cores}
compress-type=zst
compress-level=3
start-fast=y
log-level-file=off
lock-path=${directory}/lock
spool-path=${directory}/spool
[bench]
pg1-path=${cluster.dataDirectory}
pg1-port=${port}
pg1-user=${user}
pg1-socket-path=${cluster.socketDirectory}
`;
      writeFileSync(config, text);
      await command(...line('stanza-create'));
    },
    prepare: async () => undefined,
    receive: async () => undefined,
    backup: line('backup', '--type=full'),
    restore: (to) => line('restore', `--pg1-path=${to}`),
  };
}

/** Barman, which has pg_basebackup make its backups, with zstd at level 3 and a worker for each core. */
export function barman(directory: string): Rival {
  const config = join(directory, 'barman.conf');
  const line = (...args: readonly string[]) => asServer('barman', ['--config', config, ...args]);
  const [repository, incoming] = [join(directory, 'bench', 'base'), join(directory, 'bench', 'incoming')];
  const receive = () => command(...line('archive-wal', 'bench'));
  return {
    name: 'Barman',
    described: `Barman ${versionOf('barman', '--version').split(' ')[0]} (backup_method postgres, zstd level 3, ${cores} workers)`,
    // archive-wal must not find half a segment.
    archiveCommand: `cp %p ${directory}/coming && mv ${directory}/coming ${incoming}/%f`,
    repository,
    async setUp(cluster) {
      const {port, user} = cluster.connection;
      const conninfo = `host=127.0.0.1 port=${port} user=${user} dbname=postgres`;
      const text = `[barman]
barman_user = ${process.getuid?.() === 0 ? 'postgres' : userInfo().username}
barman_home = ${directory}
log_file = ${directory}/barman.log
[bench]
description = bench
conninfo = ${conninfo}
streaming_conninfo = ${conninfo}
path_prefix = ${dirname(postgresProgram('pg_basebackup'))}
backup_method = postgres
archiver = on
immediate_checkpoint = true
backup_compression = zstd
backup_compression_level = 3
backup_compression_workers = ${cores}
`;
      writeFileSync(config, text);
      for (const name of ['', '/incoming', '/wals', '/base', '/errors', '/streaming']) {
        mkdirSync(`${directory}/bench${name}`, {recursive: true});
        giveToServer(`${directory}/bench${name}`);
      }
      // It refuses to back up before a segment of WAL has come.
      await cluster.sql('select pg_switch_wal()');
      while (readdirSync(incoming).length === 0) await sleep(100);
      await receive();
    },
    receive,
    async prepare() {
      rmSync(repository, {recursive: true, force: true});
      mkdirSync(repository);
      giveToServer(repository);
    },
    backup: line('backup', 'bench'),
    restore: (to) => line('recover', '--recovery-staging-path', directory, 'bench', 'latest', to),
  };
}

const versionOf = (program: string, option: string) =>
  execFileSync(program, [option], {encoding: 'utf8'}).trim();
