import {rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {Encrypter} from 'age-encryption';
import {openDecryption} from '../src/backup-set/encryption/decryption.js';
import {openEncryption} from '../src/backup-set/encryption/encryption.js';
import type {Host} from '../src/host/host.js';
import {runner} from '../src/host/local.js';
import {ageKey, pathWithoutAge} from '../test/support/age.js';
import {createCluster} from '../test/support/cluster.js';
import {makeWorkspace} from '../test/support/workspace.js';
import {
  type Contender,
  highestPeak,
  interleave,
  median,
  medianSeconds,
  type Samples,
  timeAction,
} from './measure.js';
import {fillMixed} from './mixed-data.js';

// What encryption costs: MB/s of each way to do it, and the time of a backup with it beside one without.

const {values: options} = parseArgs({
  options: {
    // Size of the cluster in MB: half pgbench's tables, half rows with words, numbers and random tokens.
    size: {type: 'string', default: '1000'},
    // How often each thing is measured.
    rounds: {type: 'string', default: '3'},
  },
});
const rounds = Number(options.rounds);
const megabytes = Number(options.size);
/** The target, which it fails for: a backup with the program takes at most so much longer. */
const mostOverhead = 0.2;
const [plain, byProgram, byNode] = ['not encrypted', 'by the program', 'by Node.js'];

const home = makeWorkspace();
// An interrupted run ends by exit, where the cluster is stopped, and takes its own files with it.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => rmSync(home.root, {recursive: true, force: true}));
try {
  const key = await ageKey(home.temp, 'bench');
  await measureStages(key.recipient, key.identity);
  await measureBackups(key.recipient);
} finally {
  await home.remove();
}

type Stage = (bytes: AsyncIterable<Buffer>) => AsyncIterable<Uint8Array>;

async function measureStages(recipient: string, identity: string): Promise<void> {
  const here: Host = runner(new AbortController().signal, tmpdir());
  const bare: Host = {...here, findOnPath: async () => undefined};
  const request = {kind: 'recipients', recipients: [recipient]} as const;
  const [program, node] = [await openEncryption(request, here), await openEncryption(request, bare)];
  const decryption = await openDecryption({identities: {text: identity}}, bare);
  const stages: readonly (readonly [string, Stage, number])[] = [
    ['encrypt, the program age', program.encrypt, 512],
    ['encrypt, Node.js', node.encrypt, 512],
    ['encrypt, the package age-encryption alone', (bytes) => packageAlone(recipient, bytes), 64],
    ['decrypt, Node.js', (bytes) => decryption.open('bench.age', node.encrypt(bytes)), 512],
  ];
  const found = stages.map(([name]) => ({name, rates: [] as number[]}));
  for (let round = 0; round < rounds; round += 1)
    for (const [index, [, stage, size]] of stages.entries())
      found[index]?.rates.push(await rate(stage, size));
  const rows = found.map(({name, rates}) => `| ${name} | ${median(rates).toFixed(0)} |`);
  // The last one had to encrypt what it decrypts.
  process.stdout.write(
    `\n| stage | MB/s |\n| --- | --- |\n${rows.join('\n')}\n\nDecrypting is measured with the encrypting ahead of it.\n`,
  );
}

async function* packageAlone(recipient: string, bytes: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  yield* await encrypter.encrypt(ReadableStream.from(bytes) as ReadableStream<Uint8Array>);
}

async function rate(stage: Stage, mebibytes: number): Promise<number> {
  const piece = Buffer.alloc(1 << 20, 'what is encrypted makes no difference');
  const bytes = async function* () {
    for (let count = 0; count < mebibytes; count += 1) yield piece;
  };
  const begin = performance.now();
  for await (const _piece of stage(bytes()));
  return (mebibytes * 1.048_576) / ((performance.now() - begin) / 1000);
}

async function measureBackups(recipient: string): Promise<void> {
  process.stderr.write(`A cluster of about ${megabytes} MB\n`);
  const cluster = await createCluster({settings: ['shared_buffers = 256MB', 'max_wal_size = 8GB']});
  try {
    await fillMixed(cluster, megabytes);
    const path = pathWithoutAge(join(home.root, 'programs'));
    const backup = (more: Record<string, string>, env: Record<string, string> = {}) =>
      timeAction(
        {mode: 'backup', storage: 'directory', 'backup-name': 'bench', ...cluster.inputs, ...more},
        {workspace: home, env},
      );
    const clean = async () => rmSync(join(home.directory, 'backups'), {recursive: true, force: true});
    const encrypt = {'encrypt-to': recipient};
    const kinds = ['auto', 'none'].flatMap((compress): readonly Contender[] => [
      {name: `${compress}, ${plain}`, prepare: clean, run: () => backup({compress})},
      {name: `${compress}, ${byProgram}`, prepare: clean, run: () => backup({compress, ...encrypt})},
      {
        name: `${compress}, ${byNode}`,
        prepare: clean,
        run: () => backup({compress, ...encrypt}, {PATH: path}),
      },
    ]);
    report(await interleave(kinds, rounds));
  } finally {
    await cluster.remove();
  }
}

function report(samples: Samples): void {
  const rows: string[] = [];
  for (const [name, of] of samples) {
    const [compress = ''] = name.split(', ');
    const ratio = medianSeconds(of) / medianSeconds(samples.get(`${compress}, ${plain}`));
    rows.push(
      `| ${name} | ${medianSeconds(of).toFixed(2)} s | ${ratio.toFixed(2)}x | ${Math.round(highestPeak(of))} MiB |`,
    );
    if (name !== `auto, ${byProgram}` || ratio <= 1 + mostOverhead) continue;
    process.stderr.write(`Missed: ${name} takes ${ratio.toFixed(2)}x, not ${1 + mostOverhead}x\n`);
    // Not exit(): the workspace is still to be removed.
    process.exitCode = 1;
  }
  process.stdout.write(
    `\nA backup of about ${megabytes} MB; medians of ${rounds}.\n\n| compress, encryption | time | beside none | peak memory of Node |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`,
  );
}
