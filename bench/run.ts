import {execFileSync} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {asServer, type Cluster, createCluster, freePort, postgresProgram} from '../test/support/cluster.js';
import {startResultsService} from '../test/support/results-service.js';
import {makeWorkspace} from '../test/support/workspace.js';
import {
  type CommandLine,
  type Contender,
  command,
  highestPeak,
  interleave,
  median,
  medianSeconds,
  timeAction,
  timeCommands,
} from './measure.js';

const {values: options} = parseArgs({
  options: {
    // Size of the cluster in MB.
    size: {type: 'string', default: '2000'},
    // What is in it: `mixed` is half pgbench's tables, half rows with words, numbers and random tokens;
    // `pgbench` is pgbench's alone, which are mostly blanks and shrink to a twentieth.
    data: {type: 'string', default: 'mixed'},
    // How often each thing is measured.
    rounds: {type: 'string', default: '3'},
    // Leaves the backup to artifacts out.
    'no-artifacts': {type: 'boolean', default: false},
  },
});
const rounds = Number(options.rounds);
const megabytes = Number(options.size);

const restoreInputs = {mode: 'restore', storage: 'directory', 'backup-name': 'bench'};

/** A measured figure, and what it should be. */
interface Figure {
  readonly what: string;
  readonly value: string;
  readonly target: string;
}

const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
// The server's account reads archives in it.
execFileSync('chmod', ['755', scratch]);
const home = makeWorkspace();
// An interrupted run ends by exit, where the clusters are stopped, and takes its own files with it.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => {
  for (const directory of [scratch, home.root]) rmSync(directory, {recursive: true, force: true});
});
try {
  print([
    ...(await withCluster(megabytes, bigCluster)),
    ...(await withCluster(0, fixedCost)),
    ...(await withCluster(megabytes / 10, memoryWhenSmall)),
  ]);
} finally {
  await home.remove();
  rmSync(scratch, {recursive: true, force: true});
}

type Measurement = (cluster: Cluster) => Promise<readonly Figure[]>;

async function withCluster(size: number, measure: Measurement): Promise<readonly Figure[]> {
  process.stderr.write(`A cluster of about ${size} MB\n`);
  const cluster = await createCluster({settings: ['shared_buffers = 256MB', 'max_wal_size = 8GB']});
  try {
    if (size > 0) await fill(cluster, size);
    await cluster.sql('checkpoint');
    return await measure(cluster);
  } finally {
    await cluster.remove();
  }
}

async function fill(cluster: Cluster, size: number): Promise<void> {
  const share = options.data === 'mixed' ? 0.5 : 1;
  // A scale of 1 is 100,000 accounts: 15 MB with the index.
  await cluster.pgbench('bank', Math.max(1, Math.round((size * share) / 15)));
  if (share === 1) return;
  // A row is about 210 bytes on disk.
  await cluster.sql(
    `create table orders as
     select n as id, md5(random()::text) as token, (random() * 1e6)::int as customer,
       now() - random() * interval '1 year' as placed, round((random() * 1000)::numeric, 2) as amount,
       (array['new', 'paid', 'sent', 'returned'])[1 + floor(random() * 4)::int] as status,
       'Order of ' || (random() * 9)::int || ' ' || (array['red', 'green', 'blue'])[1 + floor(random() * 3)::int]
         || ' items for delivery to the customer at the address number ' || (random() * 1e5)::int as note
     from generate_series(1, ${Math.round((size * 1e6) / 2 / 210)}) n`,
    'bank',
  );
}

async function bigCluster(cluster: Cluster): Promise<readonly Figure[]> {
  const compression = await compressionOf(cluster);
  const contenders = [
    actionBackup(cluster),
    bareBackup(cluster, 'classic', ['-z']),
    bareBackup(cluster, 'same codec', compression),
  ];
  const samples = await interleave(contenders, rounds);
  const [action = Number.NaN, classic, same = Number.NaN] = contenders.map(({name}) =>
    medianSeconds(samples.get(name)),
  );
  const [small, large] = [sizeOf(ours()), sizeOf(bare('classic'))];
  const figures = [
    ratio('backup: classic `pg_basebackup -Ft -z -Xs` / action', [classic, action, 's'], 'at least 12x'),
    ratio('backup: size of the classic / size of the action’s', [large, small, 'MB'], 'over 1x'),
    ratio(`backup: action / pg_basebackup ${compression.join(' ')}`, [action, same, 's'], 'see next'),
    seconds('backup: action − 1.10 × the same', action - 1.1 * same, 'at most 0.7 s'),
    mebibytes(
      `backup of ${megabytes} MB: peak memory of Node`,
      highestPeak(samples.get('action')),
      'at most 150 MiB',
    ),
    ...(await restoreFigures()),
  ];
  return options['no-artifacts'] ? figures : [...figures, ...(await artifactFigures(cluster, action))];
}

/** The option of pg_basebackup for the codec that the action chooses. */
async function compressionOf(cluster: Cluster): Promise<readonly string[]> {
  clear(ours());
  await timeAction(backupInputs(cluster), {workspace: home});
  const metadata: unknown = JSON.parse(readFileSync(`${ours()}.json`, 'utf8'));
  const {compression} = metadata as {compression: string};
  if (compression === 'pigz')
    throw new Error('The action compressed with pigz, which pg_basebackup cannot do.');
  return [`--compress=${compression}`];
}

function actionBackup(cluster: Cluster): Contender {
  return {
    name: 'action',
    async prepare() {
      clear(ours());
      await cluster.sql('checkpoint');
    },
    run: () => timeAction(backupInputs(cluster), {workspace: home}),
  };
}

function bareBackup(cluster: Cluster, name: string, compression: readonly string[]): Contender {
  const {port, user} = cluster.connection;
  const args = ['-D', bare(name), '-Ft', '-Xs', '-c', 'fast', '-h', '127.0.0.1', '-p', `${port}`, '-U', user];
  return {
    name,
    async prepare() {
      clear(bare(name));
      await cluster.sql('checkpoint');
    },
    run: () => timeCommands([postgresProgram('pg_basebackup'), [...args, ...compression]]),
  };
}

async function restoreFigures(): Promise<readonly Figure[]> {
  const byHand = await restoreByHand();
  const action: Contender = {
    name: 'action restore',
    prepare: async () => clear(join(home.temp, 'pgdata')),
    run: () => timeAction(restoreInputs, {workspace: home}),
  };
  const samples = await interleave([action, byHand], rounds);
  await byHand.stop();
  const runs = samples.get(action.name) ?? [];
  const accepting = median(runs.map(({result}) => Number(result?.outputs['restore-seconds'])));
  const hand = medianSeconds(samples.get(byHand.name));
  return [
    ratio('restore: action until it accepts connections / by hand', [accepting, hand, 's'], 'at most 0.5x'),
    ratio('restore: the action’s whole step / by hand', [medianSeconds(runs), hand, 's'], 'none'),
    mebibytes(`restore of ${megabytes} MB: peak memory of Node`, highestPeak(runs), 'at most 150 MiB'),
  ];
}

/** The classic way: `tar xzf` of base and WAL, then `pg_ctl start`. */
async function restoreByHand(): Promise<Contender & {stop(): Promise<void>}> {
  const directory = join(scratch, 'by-hand');
  const archive = (name: string) => join(bare('classic'), name);
  await command('chmod', ['-R', 'a+rX', bare('classic')]);
  const port = await freePort();
  const stop = async () => {
    if (existsSync(join(directory, 'postmaster.pid'))) {
      await command(...asServer(postgresProgram('pg_ctl'), ['stop', '-m', 'fast', '-D', directory]));
    }
    rmSync(directory, {recursive: true, force: true});
  };
  const log = join(directory, 'log');
  const start = ['start', '-w', '-t', '600', '-D', directory, '-l', log, '-o', `-p ${port} -k ${directory}`];
  const commands: readonly CommandLine[] = [
    asServer('tar', ['xzf', archive('base.tar.gz'), '-C', directory]),
    asServer('tar', ['xzf', archive('pg_wal.tar.gz'), '-C', join(directory, 'pg_wal')]),
    asServer(postgresProgram('pg_ctl'), start),
  ];
  return {
    name: 'tar xzf and pg_ctl start',
    stop,
    async prepare() {
      await stop();
      mkdirSync(directory, {mode: 0o700});
      if (process.getuid?.() === 0) await command('chown', ['postgres', directory]);
    },
    run: () => timeCommands(...commands),
  };
}

async function artifactFigures(cluster: Cluster, toDisk: number): Promise<readonly Figure[]> {
  const service = await startResultsService();
  const {env} = service;
  const upload = join(import.meta.dirname, 'upload.ts');
  const contenders: readonly Contender[] = [
    {
      name: 'upload alone',
      prepare: async () => service.removeAll(),
      async run() {
        const begin = performance.now();
        await command(process.execPath, [upload, ours(), 'alone'], env);
        return {seconds: (performance.now() - begin) / 1000};
      },
    },
    {
      name: 'action to artifacts',
      async prepare() {
        service.removeAll();
        clear(join(home.directory, 'backups', 'stored'));
        await cluster.sql('checkpoint');
      },
      run: () =>
        timeAction(
          {...backupInputs(cluster), storage: 'artifact', 'backup-name': 'stored'},
          {workspace: home, env},
        ),
    },
  ];
  try {
    const samples = await interleave(contenders, rounds);
    const slower = Math.max(toDisk, medianSeconds(samples.get('upload alone')));
    const stored = samples.get('action to artifacts');
    return [
      ratio(
        'artifacts: action / slower of disk and upload',
        [medianSeconds(stored), slower, 's'],
        'at most 1.6x',
      ),
      mebibytes(`artifacts of ${megabytes} MB: peak memory of Node`, highestPeak(stored), 'at most 150 MiB'),
    ];
  } finally {
    await service.stop();
  }
}

async function fixedCost(cluster: Cluster): Promise<readonly Figure[]> {
  const compression = await compressionOf(cluster);
  const samples = await interleave(
    [actionBackup(cluster), bareBackup(cluster, 'bare', compression)],
    rounds + 2,
  );
  const cost = medianSeconds(samples.get('action')) - medianSeconds(samples.get('bare'));
  return [seconds('fixed cost: action − pg_basebackup, empty cluster', cost, 'at most 0.7 s')];
}

async function memoryWhenSmall(cluster: Cluster): Promise<readonly Figure[]> {
  clear(ours());
  clear(join(home.temp, 'pgdata'));
  const backup = await timeAction(backupInputs(cluster), {workspace: home});
  const restore = await timeAction(restoreInputs, {workspace: home});
  return [
    mebibytes(`backup of ${megabytes / 10} MB: peak memory of Node`, highestPeak([backup]), 'the same'),
    mebibytes(`restore of ${megabytes / 10} MB: peak memory of Node`, highestPeak([restore]), 'the same'),
  ];
}

function backupInputs(cluster: Cluster): Readonly<Record<string, string>> {
  return {mode: 'backup', storage: 'directory', 'backup-name': 'bench', ...cluster.inputs};
}

/** Where the action's backup is. */
function ours(): string {
  return join(home.directory, 'backups', 'bench');
}

/** Where the backup of a bare pg_basebackup is. */
function bare(name: string): string {
  return join(scratch, name.replaceAll(' ', '-'));
}

/** Removes a directory with its companions, such as `x.json` and `x_tablespaces`. */
function clear(path: string): void {
  for (const end of ['', '.json', '_config', '_tablespaces'])
    rmSync(`${path}${end}`, {recursive: true, force: true});
}

function sizeOf(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0) / 1e6;
}

type Comparison = readonly [a: number | undefined, b: number, unit: string];

function ratio(what: string, [a = Number.NaN, b, unit]: Comparison, target: string): Figure {
  return {what, value: `${(a / b).toFixed(2)}x (${a.toFixed(2)} / ${b.toFixed(2)} ${unit})`, target};
}

function seconds(what: string, value: number, target: string): Figure {
  return {what, value: `${value.toFixed(2)} s`, target};
}

function mebibytes(what: string, value: number, target: string): Figure {
  return {what, value: `${Math.round(value)} MiB`, target};
}

function print(figures: readonly Figure[]): void {
  const rows = figures.map(({what, value, target}) => `| ${what} | ${value} | ${target} |`);
  process.stdout.write(
    `\n| figure (medians of ${rounds}) | measured | target |\n| --- | --- | --- |\n${rows.join('\n')}\n`,
  );
}
