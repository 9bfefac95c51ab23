import {execFileSync} from 'node:child_process';
import {chmodSync, cpSync, mkdirSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {lsnPosition} from '../../src/backup-set/manifest.js';
import {type Cluster, createCluster, runAsServer} from './cluster.js';
import {run, waitUntil} from './command.js';
import type {Ask} from './rows.js';
import {backUp} from './steps.js';
import {makeWorkspace, type Workspace} from './workspace.js';

/** What a source had at a moment: `select` it in the copy and compare. */
export interface State {
  readonly entries: number;
  readonly digest: string;
}

/** A cluster that archives its WAL, a backup of it, and how what it had changed afterwards. */
export interface History extends Diary {
  readonly source: Cluster;
  readonly home: Workspace;
  readonly archive: string;
  /** The id of a transaction that was committed while the backup was being taken. */
  readonly duringBackup: string;
  /** Has the source archive the segment that it writes to, and waits for it. */
  archiveAll(): Promise<void>;
  /** Has the source crash and go on on a new timeline; of the old one the last segment is archived as `.partial`. */
  promote(): Promise<void>;
  /** Copies the archive to another directory beside it, readable by everybody, and returns its path. */
  copyArchive(name: string): string;
  remove(): Promise<void>;
}

/** A transaction, told in each of the ways in which a target names it. */
export interface Committed {
  readonly xid: string;
  readonly time: string;
  /** Where its commit record starts. */
  readonly lsn: string;
  readonly before: State;
  readonly after: State;
}

/** A check that holds when the copy has what the source had. */
export const sameState = ({entries, digest}: State): string =>
  `select count(*) = ${entries} and md5(string_agg(id || note, ',' order by id)) = '${digest}' from diary`;

/**
 * What a commit of rows alone takes of the WAL, on one page: the record's header, its data's header, the time, and
 * what aligns the next record (xlogrecord.h; xact.h, xl_xact_commit). More says that the server wrote something of its
 * own meanwhile, such as the running transactions every 15 seconds: then the commit may start elsewhere.
 */
const commitRecordBytes = 40n;

/** A table that is written to, one transaction after the other. */
export interface Diary {
  /** Adds an entry in a transaction of its own. */
  add(): Promise<Committed>;
  state(): Promise<State>;
}

/** Makes the table that `sameState` compares, in a server with `track_commit_timestamp`. */
export async function makeDiary(ask: Ask): Promise<Diary> {
  await ask(
    `create table diary (id int generated always as identity, note text default md5(random()::text))`,
  );
  const state = async (): Promise<State> => {
    const row = await ask(`select count(*), md5(string_agg(id || note, ',' order by id)) from diary`);
    const [entries = '', digest = ''] = row.split('|');
    return {entries: Number(entries), digest};
  };
  const add = async (): Promise<Committed> => {
    for (let attempt = 1; attempt <= 20; attempt += 1) {
      const before = await state();
      const rows = await ask(
        `begin; insert into diary default values; select pg_current_xact_id(), pg_current_wal_insert_lsn(); commit;
         select pg_current_wal_insert_lsn()`,
      );
      const [xid = '', lsn = '', end = ''] = rows.split(/[|\n]/);
      const time = await ask(`set timezone = 'Asia/Kolkata'; select pg_xact_commit_timestamp('${xid}'::xid)`);
      const isAlone = lsnPosition(end) - lsnPosition(lsn) === commitRecordBytes;
      if (isAlone) return {xid, lsn, time, before, after: await state()};
    }
    throw new Error('Something else was written between each insert and its commit.');
  };
  return {add, state};
}

/**
 * Starts a cluster with WAL segments of 1 MB that archives them into `<root>/archive` of a workspace, and backs it up
 * there as `nightly`, while a transaction commits. The caller removes both.
 */
export async function makeHistory(): Promise<History> {
  const home = makeWorkspace();
  const archive = join(home.root, 'archive');
  mkdirSync(archive);
  chmodSync(archive, 0o777);
  const source = await createCluster({
    initdbArgs: ['--wal-segsize=1'],
    settings: [
      'archive_mode = on',
      `archive_command = 'cp %p ${archive}/%f'`,
      'track_commit_timestamp = on',
      'wal_keep_size = 64MB',
    ],
  });
  const {add, state} = await makeDiary(source.sql);
  await add();
  const duringBackup = await backUpMeanwhile(source, home, add);
  return {
    source,
    home,
    archive,
    duringBackup,
    add,
    state,
    archiveAll: () => archiveAll(source, archive),
    promote: () => promote(source),
    copyArchive(name) {
      const copy = join(home.root, name);
      cpSync(archive, copy, {recursive: true});
      execFileSync('chmod', ['-R', 'a+rX', copy]);
      return copy;
    },
    async remove() {
      await source.remove();
      await home.remove();
    },
  };
}

/** The backup is slow, so that a transaction fits in. */
async function backUpMeanwhile(
  source: Cluster,
  home: Workspace,
  add: () => Promise<Committed>,
): Promise<string> {
  const slow = backUp(source, home, {compress: 'none', 'max-rate': '8M'});
  slow.catch(() => undefined);
  await waitUntil(
    async () => (await source.sql('select phase from pg_stat_progress_basebackup')).includes('streaming'),
    {seconds: 60, what: 'the backup to begin'},
  );
  const {xid} = await add();
  await slow;
  return xid;
}

async function archiveAll(source: Cluster, archive: string): Promise<void> {
  const last = await source.sql('select pg_walfile_name(pg_switch_wal())');
  await waitUntil(() => readdirSync(archive).includes(last), {seconds: 60, what: `${last} to be archived`});
  await waitUntil(
    async () => (await source.sql(`select last_archived_wal >= '${last}' from pg_stat_archiver`)) === 't',
    {seconds: 60, what: `${last} to be archived whole`},
  );
}

async function promote(source: Cluster): Promise<void> {
  const pgdata = `--pgdata=${source.dataDirectory}`;
  await runAsServer('pg_ctl', ['stop', '--mode=immediate', '--wait', pgdata]);
  const signal = join(source.dataDirectory, 'standby.signal');
  await run('touch', [signal]);
  await run('chown', ['--reference', source.dataDirectory, signal]);
  await runAsServer('pg_ctl', ['start', '--wait', pgdata, `--log=${join(source.root, 'server.log')}`]);
  await source.sql('select pg_promote()');
}
