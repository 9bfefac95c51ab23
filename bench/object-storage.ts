import {readdirSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {parseMetadata} from '../src/backup-set/metadata.js';
import {s3Store} from '../src/store/s3.js';
import {parseS3Url} from '../src/store/s3-location.js';
import {createCluster} from '../test/support/cluster.js';
import {mountDisk} from '../test/support/disk.js';
import {startObjectStore} from '../test/support/radosgw.js';
import {credentialsOf, makeBucket} from '../test/support/s3-bucket.js';
import {createLink} from '../test/support/slow-link.js';
import {backupInputs, type Inputs, restoreInputs} from '../test/support/steps.js';
import {makeWorkspace} from '../test/support/workspace.js';
import {highestPeak, interleave, medianSeconds, type Sample, timeAction} from './measure.js';
import {fillMixed} from './mixed-data.js';

// What a backup into object storage takes beside the slower of its halves, backup alone and upload alone; and what
// memory and disk a backup needs that is not compressed, and its restore. The store is on this machine, and takes the
// processor from the backup: how much of the time overlaps shows where a link is what is waited for.

const {values: options} = parseArgs({
  options: {
    // Size of the cluster in MB: half pgbench's tables, half rows with words, numbers and random tokens.
    size: {type: 'string', default: '2000'},
    // How often each thing is measured.
    rounds: {type: 'string', default: '3'},
    // How fast the line to the store is, as tc(8) writes it (`400mbit`); loopback itself without it.
    link: {type: 'string'},
  },
});
const [rounds, megabytes] = [Number(options.rounds), Number(options.size)];
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
      {name: backupAlone, prepare: clean, run: () => backup({})},
      // Of the backup that has just been taken.
      {name: uploadAlone, run: () => upload(backups, place())},
      {name: whole, prepare: clean, run: () => backup(place())},
    ],
    rounds,
  );
  await clean();
  const disk = mountDisk(backups, diskMebibytes);
  const plain = place();
  const bounded = await backup({...plain, compress: 'none'});
  disk.remove();
  const restored = await timeAction(restoreInputs(plain), {workspace: home, env});
  report(samples, {'backup, not compressed': bounded, 'its restore': restored});
} finally {
  await cluster.remove();
  await ceph.stop();
  await home.remove();
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
  single: Readonly<Record<string, Sample>>,
): void {
  const slower = Math.max(medianSeconds(samples.get(backupAlone)), medianSeconds(samples.get(uploadAlone)));
  const ratio = medianSeconds(samples.get(whole)) / slower;
  const line = options.link === undefined ? '' : ` A line of ${options.link} to the store.`;
  const rows = [...samples, ...Object.entries(single).map(([name, one]) => [name, [one]] as const)].map(
    ([name, of]) => `| ${name} | ${medianSeconds(of).toFixed(2)} s | ${Math.round(highestPeak(of)) || ''} |`,
  );
  process.stdout.write(
    `\nA cluster of about ${megabytes} MB; medians of ${rounds}. What is not compressed had a disk of ${diskMebibytes} MiB.${line}\n\n` +
      `| what | time | peak memory of Node, MiB |\n| --- | --- | --- |\n${rows.join('\n')}\n\n` +
      `Into the store beside the slower half: ${ratio.toFixed(2)}x, target at most ${mostRatio}x; memory: at most ${mostMebibytes} MiB.\n`,
  );
  const peak = Math.max(...[...samples.values(), Object.values(single)].map(highestPeak));
  // Not exit(): the workspace is still to be removed.
  if (ratio > mostRatio || peak > mostMebibytes) process.exitCode = 1;
}
