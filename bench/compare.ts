import {execFileSync} from 'node:child_process';
import {chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {cpus, tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import {asServer, type Cluster, createCluster, freePort, postgresProgram} from '../test/support/cluster.js';
import {backupInputs, dataDirectory, restoreInputs} from '../test/support/steps.js';
import {makeWorkspace} from '../test/support/workspace.js';
import {
  type CommandLine,
  type Contender,
  command,
  highestPeak,
  interleave,
  median,
  medianSeconds,
  type Samples,
  timeAction,
  timeCommands,
} from './measure.js';
import {fillMixed} from './mixed-data.js';
import {barman, pgBackRest} from './rivals.js';

// The action beside the classic script, bare pg_basebackup, pgBackRest and Barman, in turns on one machine: a Markdown
// table, and a JSON file. It needs Debian's packages pgbackrest and barman.

const {values: options} = parseArgs({
  options: {
    // Sizes of the cluster in MB.
    sizes: {type: 'string', default: '200,2000'},
    rounds: {type: 'string', default: '3'},
    // Where the figures go as JSON.
    json: {type: 'string'},
  },
});
const rounds = Number(options.rounds);
const cores = cpus().length;

const [action, classic, bare] = ['this action', 'classic script', 'bare pg_basebackup'];

/** A thing that was done in all ways. */
interface Row {
  readonly megabytes: number;
  readonly what: 'backup' | 'restore';
  readonly who: string;
  readonly seconds: number;
  /** Of the action's own process. */
  readonly peakMebibytes?: number;
  readonly storedBytes?: number;
}

const home = makeWorkspace();
const scratch = mkdtempSync(join(tmpdir(), 'compare-'));
const rivals = [pgBackRest(join(scratch, 'pgBackRest')), barman(join(scratch, 'Barman'))];
chmodSync(scratch, 0o755);
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => {
  for (const directory of [scratch, home.root]) rmSync(directory, {recursive: true, force: true});
});
try {
  const rows: Row[] = [];
  for (const megabytes of (options.sizes ?? '').split(',').map(Number))
    rows.push(...(await compare(megabytes)));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, null, 2)}\n`);
  print(rows);
} finally {
  await home.remove();
}

/** Makes a directory of the server's account. */
function serverDirectory(name: string): string {
  const path = join(scratch, name);
  mkdirSync(path, {mode: 0o700});
  if (process.getuid?.() === 0) execFileSync('chown', ['postgres:', path]);
  return path;
}

async function compare(megabytes: number): Promise<readonly Row[]> {
  process.stderr.write(`A cluster of about ${megabytes} MB\n`);
  for (const {name} of rivals) serverDirectory(name);
  // What was written to fill the cluster goes to nobody's repository.
  const isFilled = join(scratch, `filled-${megabytes}`);
  const archive = rivals.map(({archiveCommand}) => archiveCommand).join(' && ');
  const cluster = await createCluster({
    settings: [
      'shared_buffers = 256MB',
      'max_wal_size = 8GB',
      'archive_mode = on',
      `archive_command = 'if [ -e ${isFilled} ]; then ${archive}; fi'`,
    ],
  });
  try {
    await fillMixed(cluster, megabytes);
    writeFileSync(isFilled, '');
    for (const rival of rivals) await rival.setUp(cluster);
    const backups = await interleave(backupWays(cluster), rounds);
    const stored = new Map([
      [action, sizeOf(join(home.directory, 'backups', 'nightly'))],
      [classic, sizeOf(join(scratch, 'classic'))],
      [bare, sizeOf(join(scratch, 'bare'))],
      ...rivals.map(({name, repository}) => [name, sizeOf(repository)] as const),
    ]);
    await shipWal(cluster);
    for (const rival of rivals) await rival.receive();
    const ways = await restoreWays(megabytes);
    const restores = await interleave(ways, rounds);
    for (const way of ways) await way.stop();
    return [
      ...rowsOf(backups, {megabytes, what: 'backup'}).map((row) => ({
        ...row,
        storedBytes: stored.get(row.who) ?? 0,
      })),
      ...rowsOf(restores, {megabytes, what: 'restore'}),
    ];
  } finally {
    await cluster.remove();
    for (const name of ['classic', 'bare', ...rivals.map((rival) => rival.name)])
      rmSync(join(scratch, name), {recursive: true, force: true});
    rmSync(join(home.directory, 'backups'), {recursive: true, force: true});
  }
}

/** Has all WAL that there is archived: a restored server needs what was written during its backup. */
async function shipWal(cluster: Cluster): Promise<void> {
  const name = await cluster.sql('select pg_walfile_name(pg_switch_wal())');
  while ((await cluster.sql(`select last_archived_wal >= '${name}' from pg_stat_archiver`)) !== 't')
    await sleep(100);
}

function backupWays(cluster: Cluster): readonly Contender[] {
  const {port, user} = cluster.connection;
  const base = (name: string, ...more: readonly string[]): Contender => ({
    name: name === 'classic' ? classic : bare,
    async prepare() {
      rmSync(join(scratch, name), {recursive: true, force: true});
      await cluster.sql('checkpoint');
    },
    run: () =>
      timeCommands([
        postgresProgram('pg_basebackup'),
        [
          '-D',
          join(scratch, name),
          '-Ft',
          '-Xs',
          '-c',
          'fast',
          '-h',
          '127.0.0.1',
          '-p',
          `${port}`,
          '-U',
          user,
          ...more,
        ],
      ]),
  });
  return [
    {
      name: action,
      async prepare() {
        rmSync(join(home.directory, 'backups'), {recursive: true, force: true});
        await cluster.sql('checkpoint');
      },
      run: () => timeAction(backupInputs(cluster), {workspace: home}),
    },
    base('classic', '-z'),
    base('bare', `--compress=client-zstd:level=2,workers=${cores}`),
    ...rivals.map((rival) => ({
      name: rival.name,
      async prepare() {
        await cluster.sql('checkpoint');
        await rival.prepare();
      },
      run: () => timeCommands(rival.backup),
    })),
  ];
}

type Restoring = Contender & {stop(): Promise<void>};

/** Until the server accepts connections; of the action what it tells as restore-seconds (`rowsOf`). */
async function restoreWays(megabytes: number): Promise<readonly Restoring[]> {
  const archive = (name: string) => join(scratch, 'classic', name);
  await command('chmod', ['-R', 'a+rX', join(scratch, 'classic')]);
  const byScript = (directory: string): readonly CommandLine[] => [
    asServer('tar', ['xzf', archive('base.tar.gz'), '-C', directory]),
    asServer('tar', ['xzf', archive('pg_wal.tar.gz'), '-C', join(directory, 'pg_wal')]),
  ];
  return [
    {
      name: action,
      async prepare() {
        for (const end of ['', '_config', '_tablespaces'])
          rmSync(dataDirectory(home) + end, {recursive: true, force: true});
      },
      run: () => timeAction(restoreInputs(), {workspace: home}),
      stop: async () => undefined,
    },
    await byHand(classic, `script-${megabytes}`, byScript),
    ...(await Promise.all(
      rivals.map(({name, restore}) =>
        byHand(name, `restored-by-${name}-${megabytes}`, (directory) => [restore(directory)]),
      ),
    )),
  ];
}

async function byHand(
  name: string,
  place: string,
  fill: (directory: string) => readonly CommandLine[],
): Promise<Restoring> {
  const directory = join(scratch, place);
  const port = await freePort();
  const pgCtl = (...args: readonly string[]) =>
    asServer(postgresProgram('pg_ctl'), [...args, '-D', directory]);
  const stop = async () => {
    if (existsSync(join(directory, 'postmaster.pid'))) await command(...pgCtl('stop', '-m', 'immediate'));
    rmSync(directory, {recursive: true, force: true});
  };
  const server = `-p ${port} -k ${directory} -c archive_mode=off`;
  return {
    name,
    stop,
    async prepare() {
      await stop();
      serverDirectory(place);
    },
    run: () =>
      timeCommands(
        ...fill(directory),
        pgCtl('start', '-w', '-t', '600', '-l', join(directory, 'log'), '-o', server),
      ),
  };
}

function rowsOf(samples: Samples, {megabytes, what}: Pick<Row, 'megabytes' | 'what'>): readonly Row[] {
  return [...samples].map(([who, of]) => {
    const accepting = of.map(({result, seconds}) => Number(result?.outputs['restore-seconds'] ?? seconds));
    const seconds = what === 'restore' ? median(accepting) : medianSeconds(of);
    return {
      megabytes,
      what,
      who,
      seconds,
      ...(who === action && {peakMebibytes: Math.round(highestPeak(of))}),
    };
  });
}

function sizeOf(path: string): number {
  return Number(execFileSync('du', ['--summarize', '--bytes', path], {encoding: 'utf8'}).split('\t')[0]);
}

function print(rows: readonly Row[]): void {
  const lines = rows.map((row) => {
    const ours = rows.find(
      (one) => one.who === action && one.what === row.what && one.megabytes === row.megabytes,
    );
    const ratio = row.who === action || !ours ? '' : `${(ours.seconds / row.seconds).toFixed(2)}x`;
    const stored = row.storedBytes === undefined ? '' : `${(row.storedBytes / 1e6).toFixed(0)} MB`;
    return `| ${row.megabytes} MB | ${row.what} | ${row.who} | ${row.seconds.toFixed(2)} s | ${ratio} | ${stored} | ${row.peakMebibytes ?? ''} |`;
  });
  process.stdout.write(
    `\nMedians of ${rounds}, in turns; ${cores} cores, ${rivals.map(({described}) => described).join(', ')}.\n\n` +
      `| cluster | | by | time | the action’s time beside it | stored | peak memory of Node, MiB |\n| --- | --- | --- | --- | --- | --- | --- |\n${lines.join('\n')}\n`,
  );
}
