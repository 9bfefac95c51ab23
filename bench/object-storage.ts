import {readdirSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {parseMetadata} from '../src/backup-set/metadata.js';
import {s3Store} from '../src/store/s3.js';
import {parseS3Url} from '../src/store/s3-location.js';
import {type Cluster, createCluster} from '../test/support/cluster.js';
import {mountDisk} from '../test/support/disk.js';
import {startObjectStore} from '../test/support/radosgw.js';
import {credentialsOf, makeBucket} from '../test/support/s3-bucket.js';
import {createLink} from '../test/support/slow-link.js';
import {backupInputs, dataDirectory, type Inputs, restoreInputs} from '../test/support/steps.js';
import {makeWorkspace} from '../test/support/workspace.js';
import {highestPeak, interleave, medianSeconds, type Sample, timeAction} from './measure.js';
import {fillMixed} from './mixed-data.js';

// What a backup into object storage takes beside the slower of its halves, backup alone and upload alone; and what
// memory and disk a backup needs that is not compressed, and its restore, without tablespaces and with two of them. The store is on this machine, and takes the
// processor from the backup: how much of the time overlaps shows where a link is what is waited for.

const {values: options} = parseArgs({
  options: {
    // Size of the cluster in MB: half pgbench's tables, half rows with words, numbers and random tokens.
    size: {type: 'string', default: '2000'},
    // How often each thing is measured.
    rounds: {type: 'string', default: '3'},
    // How fast the line to the store is, as tc(8) writes it (`400mbit`); loopback itself without it.
    link: {type: 'string'},
    // The input, of what is measured beside its halves.
    compress: {type: 'string', default: 'auto'},
  },
});
const [rounds, megabytes] = [Number(options.rounds), Number(options.size)];
const {compress} = options;
/** The targets. */
const [mostRatio, mostMebibytes, diskMebibytes] = [1.15, 200, 96];
const [whole, backupAlone, uploadAlone] = ['backup into the store', 'backup alone', 'upload alone'];

const home = makeWorkspace();
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => rmSync(home.root, {recursive: true, force: true}));
const ceph = await startObjectStore();
const cluster = await createCluster({settings: ['shared_buffers = 256MB', 'max_wal_size = 8GB']});
try {
  await fillMixed(cluster, megabytes);
  const endpoint =
    options.link === undefined
      ? ceph.origin
      : (await createLink(Number(new URL(ceph.origin).port), options.link)).origin;
  const bucket = await makeBucket(ceph);
  const env = credentialsOf(ceph);
  Object.assign(process.env, env);
  const place = (): Inputs => ({
    storage: `s3://${bucket.name}/${crypto.randomUUID()}`,
    's3-endpoint': endpoint,
  });
  const backups = join(home.directory, 'backups');
  const backup = (more: Inputs) => timeAction(backupInputs(cluster, more), {workspace: home, env});
  const clean = async () => rmSync(backups, {recursive: true, force: true});
  const samples = await interleave(
    [
      {name: backupAlone, prepare: clean, run: () => backup({compress})},
      // Of the backup that has just been taken.
      {name: uploadAlone, run: () => upload(backups, place())},
      {name: whole, prepare: clean, run: () => backup({...place(), compress})},
    ],
    rounds,
  );
  const bounded = async (name: string): Promise<Readonly<Record<string, Sample>>> => {
    await clean();
    const disk = mountDisk(backups, diskMebibytes);
    const plain = place();
    const taken = await backup({...plain, compress: 'none'}).finally(() => disk.remove());
    for (const end of ['', '_config', '_tablespaces'])
      rmSync(dataDirectory(home) + end, {recursive: true, force: true});
    const restored = await timeAction(restoreInputs(plain), {workspace: home, env});
    return {[`${name}, not compressed`]: taken, 'its restore': restored};
  };
  const single = [...Object.entries(await bounded('backup'))];
  await moveToTablespaces(cluster);
  single.push(...Object.entries(await bounded('backup of two tablespaces')));
  report(samples, single);
} finally {
  await cluster.remove();
  await ceph.stop();
  await home.remove();
}

/** Two thirds of the tables leave the default tablespace, for two others. */
async function moveToTablespaces(cluster: Cluster): Promise<void> {
  for (const name of ['first', 'second']) await cluster.tablespace(name);
  const tables = await cluster.sql(
    `select oid::regclass from pg_class where relkind = 'r' and relname ~ '_[0-9]+$' and relnamespace = 'public'::regnamespace order by relname`,
    'bank',
  );
  for (const [index, table] of tables.split('\n').entries()) {
    if (index % 3 === 0) continue;
    await cluster.sql(`alter table ${table} set tablespace ${index % 3 === 1 ? 'first' : 'second'}`, 'bank');
  }
  await cluster.sql('checkpoint');
}

/** Stores a finished backup as a step would that takes it first. */
async function upload(
  directory: string,
  {storage = '', 's3-endpoint': endpoint = ''}: Inputs,
): Promise<Sample> {
  const begin = performance.now();
  const text = readFileSync(join(directory, 'nightly.json'), 'utf8');
  const files = join(directory, 'nightly');
  if (readdirSync(files).length === 0) throw new Error('There is no backup to upload.');
  const signal = new AbortController().signal;
  await s3Store({location: parseS3Url(storage), endpoint, signal}).save({
    name: 'nightly',
    directory: files,
    filesDirectory: files,
    metadata: parseMetadata(text, 'nightly.json'),
  });
  return {seconds: (performance.now() - begin) / 1000};
}

function report(
  samples: ReadonlyMap<string, readonly Sample[]>,
  single: readonly (readonly [string, Sample])[],
): void {
  const slower = Math.max(medianSeconds(samples.get(backupAlone)), medianSeconds(samples.get(uploadAlone)));
  const ratio = medianSeconds(samples.get(whole)) / slower;
  const line = options.link === undefined ? '' : ` A line of ${options.link} to the store.`;
  const rows = [...samples, ...single.map(([name, one]) => [name, [one]] as const)].map(
    ([name, of]) => `| ${name} | ${medianSeconds(of).toFixed(2)} s | ${Math.round(highestPeak(of)) || ''} |`,
  );
  process.stdout.write(
    `\nA cluster of about ${megabytes} MB, compress: ${compress}; medians of ${rounds}. What is not compressed had a disk of ${diskMebibytes} MiB.${line}\n\n` +
      `| what | time | peak memory of Node, MiB |\n| --- | --- | --- |\n${rows.join('\n')}\n\n` +
      `Into the store beside the slower half: ${ratio.toFixed(2)}x, target at most ${mostRatio}x; memory: at most ${mostMebibytes} MiB.\n`,
  );
  const peak = Math.max(...[...samples.values(), single.map(([, one]) => one)].map(highestPeak));
  // Not exit(): the workspace is still to be removed.
  if (ratio > mostRatio || peak > mostMebibytes) process.exitCode = 1;
}
