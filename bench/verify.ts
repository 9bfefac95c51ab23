import {mkdirSync, readdirSync, rmSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {createCluster, postgresProgram} from '../test/support/cluster.js';
import {fingerprint, makeWorkspace} from '../test/support/workspace.js';
import {
  type Contender,
  command,
  highestPeak,
  interleave,
  medianSeconds,
  type Samples,
  timeAction,
  timeCommands,
} from './measure.js';
import {fillMixed} from './mixed-data.js';

// `mode: verify` beside `zstd -dc | tar t`, which reads the same archive and compares nothing.

const {values: options} = parseArgs({
  options: {
    // Size of the cluster in MB: half pgbench's tables, half rows with words, numbers and random tokens.
    size: {type: 'string', default: '2000'},
    // How often each thing is measured.
    rounds: {type: 'string', default: '3'},
  },
});
const rounds = Number(options.rounds);
const megabytes = Number(options.size);
const yardstick = 'zstd -dc | tar t';
/** The targets, which it fails for: speed beside the yardstick, and peak memory of a cluster with few files. */
const leastSpeed = 0.5;
const mostMebibytes = 150;
const algorithms = ['crc32c', 'sha256'] as const;

const home = makeWorkspace();
const backups = join(home.directory, 'backups');
// An interrupted run ends by exit, where the cluster is stopped, and takes its own files with it.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => rmSync(home.root, {recursive: true, force: true}));
try {
  await backUpAll();
  await measure();
} finally {
  await home.remove();
}

/** One backup by the action for each algorithm, with metadata, and so with a SHA-256 of each archive. */
async function backUpAll(): Promise<void> {
  process.stderr.write(`A cluster of about ${megabytes} MB\n`);
  const cluster = await createCluster({settings: ['shared_buffers = 256MB', 'max_wal_size = 8GB']});
  try {
    await fillMixed(cluster, megabytes);
    mkdirSync(backups);
    for (const algorithm of algorithms)
      await timeAction(
        {
          mode: 'backup',
          storage: 'directory',
          'backup-name': algorithm,
          compress: 'client-zstd:level=1,workers=2',
          'manifest-checksums': algorithm,
          ...cluster.inputs,
        },
        {workspace: home},
      );
  } finally {
    await cluster.remove();
  }
}

/** All that lies in the workspace, but for the proof that a verification leaves beside the backup, and its directory. */
function seen(): readonly string[] {
  return fingerprint(home.directory).filter(
    (line) => !/^(backups|backups\/[^/ ]+\.proof\.json) \d/.test(line),
  );
}

async function measure(): Promise<void> {
  const before = seen();
  const archive = join(backups, 'crc32c', 'base.tar.zst');
  const contenders: readonly Contender[] = [
    {
      name: yardstick,
      run: () => timeCommands(['sh', ['-c', `zstd -dc ${archive} | tar t > ${home.temp}/members`]]),
    },
    {
      name: 'pg_verifybackup of the unpacked files',
      prepare: unpack,
      run: () => timeCommands([postgresProgram('pg_verifybackup'), [join(home.temp, 'unpacked')]]),
    },
    ...algorithms.map((algorithm) => ({
      name: `verify, ${algorithm}`,
      run: () =>
        timeAction({mode: 'verify', storage: 'directory', 'backup-name': algorithm}, {workspace: home}),
    })),
  ];
  const samples = await interleave(contenders, rounds);
  const isWritten = JSON.stringify(seen()) !== JSON.stringify(before);
  print(samples);
  const missed = [
    ...missedTargets(samples),
    ...(isWritten ? ['something was written into the workspace'] : []),
  ];
  for (const text of missed) process.stderr.write(`Missed: ${text}\n`);
  // Not exit(): the workspace is still to be removed.
  if (missed.length > 0) process.exitCode = 1;
}

async function unpack(): Promise<void> {
  const target = join(home.temp, 'unpacked');
  rmSync(target, {recursive: true, force: true});
  mkdirSync(target);
  await command('tar', ['--extract', `--file=${backups}/crc32c/base.tar.zst`, `--directory=${target}`]);
  await command('tar', ['--extract', `--file=${backups}/crc32c/pg_wal.tar`, `--directory=${target}/pg_wal`]);
  await command('cp', [`${backups}/crc32c/backup_manifest`, target]);
}

/** What verify promises, and does not keep. */
function missedTargets(samples: Samples): readonly string[] {
  const tar = medianSeconds(samples.get(yardstick));
  return [...samples]
    .filter(([name]) => name.startsWith('verify, '))
    .flatMap(([name, of]) => {
      const [speed, peak] = [tar / medianSeconds(of), highestPeak(of)];
      return [
        ...(speed < leastSpeed ? [`${name}: ${speed.toFixed(2)}x of ${yardstick}, not ${leastSpeed}x`] : []),
        ...(peak > mostMebibytes ? [`${name}: ${Math.round(peak)} MiB, not ${mostMebibytes} MiB`] : []),
      ];
    });
}

function print(samples: Samples): void {
  const tar = medianSeconds(samples.get(yardstick));
  const stored = readdirSync(join(backups, 'crc32c')).reduce(
    (sum, name) => sum + statSync(join(backups, 'crc32c', name)).size,
    0,
  );
  const rows = [...samples].map(([name, of]) => {
    const taken = medianSeconds(of);
    const peak = highestPeak(of);
    return `| ${name} | ${taken.toFixed(2)} s | ${(tar / taken).toFixed(2)}x | ${peak === 0 ? '' : `${Math.round(peak)} MiB`} |`;
  });
  process.stdout.write(
    `\nA cluster of about ${megabytes} MB, ${(stored / 1e6).toFixed(0)} MB as zstd; medians of ${rounds}.\n\n` +
      '| what | time | speed of zstd and tar | peak memory of Node |\n| --- | --- | --- | --- |\n' +
      `${rows.join('\n')}\n\nTargets of verify: at least ${leastSpeed}x, at most ${mostMebibytes} MiB, nothing written.\n`,
  );
}
