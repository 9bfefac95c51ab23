import {existsSync, mkdirSync, readdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import {type Cluster, createCluster} from '../test/support/cluster.js';
import {processesOf} from '../test/support/processes.js';
import {type ResultsService, startResultsService} from '../test/support/results-service.js';
import {type ActionResult, runAction, startAction, succeeded, transcript} from '../test/support/runner.js';
import {backupInputs, type Inputs, restoreInputs} from '../test/support/steps.js';
import {listAll, makeWorkspace, type Workspace} from '../test/support/workspace.js';
import {type Fault, faults, randomFrom, type Scene} from './soak-faults.js';

// Backups in a row, to each of which something happens: each must be restorable or red, and leave nothing.

const {values: options} = parseArgs({
  options: {
    seed: {type: 'string', default: String(Date.now() % 1e6)},
    backups: {type: 'string', default: '100'},
    // After that it is over, whatever is left to do, and has failed.
    minutes: {type: 'string', default: '20'},
  },
});
const [seed, wanted, minutes] = [Number(options.seed), Number(options.backups), Number(options.minutes)];
/** Every so manieth green backup is restored and started, the others verified. */
const restoreEvery = 10;

/** What became of the backups that one fault hit. */
interface Tally {
  green: number;
  red: number;
  /** Red, and the backup is whole and stays on disk. */
  kept: number;
  seconds: number;
}

interface Stage {
  readonly source: Cluster;
  readonly service: ResultsService;
  readonly home: Workspace;
}

const tallies = new Map<string, Tally>(
  Object.keys(faults).map((name) => [name, {green: 0, red: 0, kept: 0, seconds: 0}]),
);
/** Of the backup that stays. */
const firstFiles = ['first', 'first.json', 'first.proof.json'];
const violations: string[] = [];
const counts = {done: 0, verified: 0, restored: 0};

const home = makeWorkspace();
const temporary = join(home.root, 'tmp');
mkdirSync(temporary);
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => rmSync(home.root, {recursive: true, force: true}));
const [source, service] = await Promise.all([createCluster({password: 'right'}), startResultsService()]);
const baseInputs = (name: string): Inputs => backupInputs(source, {password: 'right', 'backup-name': name});
const env = {...service.env, TMPDIR: temporary};
try {
  await source.sql(`
    create table noise as
    select string_agg(md5(random()::text), '') from generate_series(1, 200000) n group by n % 20000`);
  await soak({source, service, home});
  print();
} finally {
  await source.remove();
  await service.stop();
  await home.remove();
}
if (violations.length > 0) process.exitCode = 1;

async function soak(stage: Stage): Promise<void> {
  const begin = performance.now();
  const random = randomFrom(seed);
  const names = Object.keys(faults);
  // It stays, for runs that only tidy up; and it shows how long a backup takes.
  const first = await takeBackup('first', {});
  succeeded(first.result);
  const usualSeconds = first.seconds;
  // Each fault as often as any other, in an order that the seed tells.
  const order = Array.from({length: wanted}, (_, index) => names[index % names.length] ?? 'none');
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] ?? 'none', order[last] ?? 'none'];
  }
  for (const [index, kind] of order.entries()) {
    if ((performance.now() - begin) / 60_000 > minutes) {
      violations.push(`seed ${seed}: only ${index} of ${wanted} backups in ${minutes} minutes`);
      return;
    }
    const name = `backup-${index + 1}`;
    const scene: Scene = {...stage, name, random, usualSeconds};
    await takeOne(kind, scene).catch((thrown: unknown) => {
      violations.push(`seed ${seed}, backup ${index + 1} (${kind}): ${String(thrown)}`);
      process.stderr.write(`${violations.at(-1)}\n`);
    });
    counts.done += 1;
  }
}

async function takeBackup(
  name: string,
  {inputs = {}, strike}: Fault,
): Promise<{result: ActionResult; seconds: number}> {
  const begin = performance.now();
  const action = startAction({...baseInputs(name), ...inputs}, {workspace: home, env});
  const [result] = await Promise.all([action.result, strike?.(action)]);
  return {result, seconds: (performance.now() - begin) / 1000};
}

/** One backup with its fault, and all that must hold after it. Throws what does not. */
async function takeOne(kind: string, scene: Scene): Promise<void> {
  const fault = await faults[kind]?.(scene);
  if (fault === undefined) throw new Error('There is no such fault.');
  const directory = fault.inputs?.directory ?? join(home.directory, 'backups');
  try {
    const {result, seconds} = await takeBackup(scene.name, fault);
    if (result.signal === 'SIGKILL') await tidyUp();
    const outcome = await judge(result, {name: scene.name, directory, inputs: fault.inputs ?? {}});
    const tally = tallies.get(kind);
    if (tally) {
      tally[outcome] += 1;
      tally.seconds += seconds;
    }
    process.stderr.write(`  ${scene.name}: ${kind}: ${outcome} after ${seconds.toFixed(1)} s\n`);
    rmSync(join(directory, scene.name), {recursive: true, force: true});
    // Its metadata, and the proof that `prove` noted beside it.
    for (const ending of ['json', 'proof.json'])
      rmSync(join(directory, `${scene.name}.${ending}`), {force: true});
    await requireNothingLeft(directory);
  } finally {
    fault.end?.();
    service.clearFaults();
    service.removeAll();
  }
}

/** The next run, of any kind, tidies up after one that was killed. */
async function tidyUp(): Promise<void> {
  const asked = {mode: 'verify', storage: 'directory', 'backup-name': 'first'};
  succeeded(await runAction(asked, {workspace: home, env}));
}

interface Struck {
  readonly name: string;
  readonly directory: string;
  readonly inputs: Inputs;
}

async function judge(result: ActionResult, struck: Struck): Promise<'green' | 'red' | 'kept'> {
  const isThere = existsSync(join(struck.directory, struck.name));
  const isDescribed = existsSync(join(struck.directory, `${struck.name}.json`));
  const stored = service.artifacts().map(({name}) => name);
  if (result.status === 0) {
    if (!isThere || !isDescribed) throw new Error(`it is green, and not there\n${transcript(result)}`);
    await prove(struck, struck.inputs.storage ?? 'directory');
    return 'green';
  }
  // A signal ends Node itself before our first line runs.
  const isSilent = result.signal === 'SIGKILL' || (result.signal !== null && result.stdout === '');
  if (!isSilent && result.errors.length !== 1)
    throw new Error(`it is red, and says ${result.errors.length} errors\n${transcript(result)}`);
  if (stored.includes(`${struck.name}.json`)) throw new Error(`it is red, and stored\n${transcript(result)}`);
  if (stored.length > 0 && !result.errors.join().includes('by hand')) {
    // An upload that the failure overtook deletes its artifact itself.
    await sleep(3000);
    const left = service.artifacts().map(({name}) => name);
    if (left.length > 0) throw new Error(`it is red, and left ${left.join()}\n${transcript(result)}`);
  }
  if (isDescribed && !isThere) throw new Error(`it is described, and not there\n${transcript(result)}`);
  if (!isThere) return 'red';
  await prove(struck, 'directory');
  return 'kept';
}

/** Each is read whole and compared; some are restored and started, too. */
async function prove({name, directory}: Struck, storage: string): Promise<void> {
  const where = {storage, 'backup-name': name, ...(storage === 'directory' && {directory})};
  const isSample = counts.verified % restoreEvery === 0;
  counts.verified += 1;
  const verified = await runAction({mode: 'verify', ...where}, {workspace: home, env});
  if (succeeded(verified).outputs.proof !== 'manifest-verified') throw new Error(transcript(verified));
  if (!isSample) return;
  const sample = restoreInputs({...where, 'check-sql': 'select count(*) = 20000 from noise'});
  const restored = succeeded(await runAction(sample, {workspace: home, env}));
  if (restored.outputs.proof !== 'recovered') throw new Error(transcript(restored));
  counts.restored += 1;
  for (const path of readdirSync(home.temp)) rmSync(join(home.temp, path), {recursive: true, force: true});
}

async function requireNothingLeft(directory: string): Promise<void> {
  const onServer = `select 'slot ' || slot_name from pg_replication_slots union all
    select 'sender ' || pid from pg_stat_activity where backend_type = 'walsender'`;
  const look = async (): Promise<readonly string[]> => [
    ...listAll(home.temp).map((path) => `RUNNER_TEMP/${path}`),
    ...listAll(temporary).map((path) => `TMPDIR/${path}`),
    ...readdirSync(home.directory).filter((name) => !['backups', 'small'].includes(name)),
    ...readdirSync(join(home.directory, 'backups')).filter((name) => !firstFiles.includes(name)),
    ...(existsSync(directory) ? readdirSync(directory) : []).filter(
      (name) => ![...firstFiles, 'filler'].includes(name),
    ),
    ...processesOf(home.root).map(({pid, args}) => `process ${pid}: ${args.join(' ')}`),
    ...(await source.sql(onServer)).split('\n').filter((line) => line !== ''),
  ];
  for (let tries = 0; ; tries += 1) {
    const left = await look();
    if (left.length === 0) return;
    // The server notices a client that is gone only when it writes to it.
    if (tries === 75) throw new Error(`it left ${left.join(', ')}`);
    await sleep(200);
  }
}

function print(): void {
  const rows = [...tallies].map(([name, {green, red, kept, seconds}]) => {
    const runs = green + red + kept;
    return `| ${name} | ${runs} | ${green} | ${red} | ${kept} | ${runs === 0 ? '' : `${(seconds / runs).toFixed(1)} s`} |`;
  });
  process.stdout.write(
    `\nSeed ${seed}, ${counts.done} backups: ${counts.verified} verified whole, ${counts.restored} of them also restored and started.\n\n` +
      '| fault | backups | green and restorable | red, nothing left | red, the finished backup kept | mean time |\n' +
      `| --- | --- | --- | --- | --- | --- |\n${rows.join('\n')}\n\nViolations: ${violations.length}\n`,
  );
  for (const text of violations) process.stdout.write(`\n${text}\n`);
}
