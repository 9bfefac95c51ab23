import {execFileSync} from 'node:child_process';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {type Cluster, runAsServer} from '../test/support/cluster.js';
import {canMount, mountDisk} from '../test/support/disk.js';
import {processesOf} from '../test/support/processes.js';
import type {ResultsService, Fault as ServiceFault} from '../test/support/results-service.js';
import type {RunningAction} from '../test/support/runner.js';
import type {Inputs} from '../test/support/steps.js';
import {startTcpProxy} from '../test/support/tcp-proxy.js';
import type {Workspace} from '../test/support/workspace.js';

/** Numbers from 0 up to 1 that a seed determines. */
export type Random = () => number;

/** mulberry32: small, and good enough to choose faults. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a fault works on. */
export interface Scene {
  readonly source: Cluster;
  readonly service: ResultsService;
  readonly home: Workspace;
  /** The backup's name. */
  readonly name: string;
  readonly random: Random;
  /** What a backup takes that nothing happens to. */
  readonly usualSeconds: number;
}

/** A fault that is ready to strike. */
export interface Fault {
  /** How the backup that it strikes is asked for, besides what all are. */
  readonly inputs?: Inputs;
  /** What it does while the action runs. */
  strike?(action: RunningAction): Promise<void>;
  /** Undoes it, after the action has ended. */
  end?(): void;
}

/** The faults by their names, as the tally shows them. */
export const faults: Readonly<Record<string, (scene: Scene) => Promise<Fault>>> = {
  none: async () => ({}),
  'action: SIGINT': async (scene) => signalling(scene, 'SIGINT'),
  'action: SIGTERM': async (scene) => signalling(scene, 'SIGTERM'),
  'action: SIGKILL': async (scene) => signalling(scene, 'SIGKILL'),
  'pg_basebackup: SIGKILL': async (scene) => ({strike: (action) => killClient(scene, action)}),
  'WAL senders terminated': async (scene) => ({
    strike: async () => {
      await sleep(scene.random() * scene.usualSeconds * 1000);
      const senders =
        "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'";
      await scene.source.sql(senders);
    },
  }),
  'server restarted': async (scene) => ({
    strike: async () => {
      await sleep(scene.random() * scene.usualSeconds * 1000);
      await restart(scene);
    },
  }),
  'cut once': (scene) => cutting(scene, 1),
  'cut each time': (scene) => cutting(scene, undefined),
  'artifact service': artifactFault,
  ...(canMount && {'disk full': fullDisk}),
};

function signalling({random, usualSeconds}: Scene, name: NodeJS.Signals): Fault {
  // A little longer than a backup takes, so that it sometimes comes too late.
  const seconds = random() * usualSeconds * 1.2;
  return {
    async strike(action) {
      await sleep(seconds * 1000);
      action.child.kill(name);
    },
  };
}

async function killClient({home, random}: Scene, action: RunningAction): Promise<void> {
  const clients = () =>
    processesOf(home.root).filter(({args}) => args[0]?.endsWith('/pg_basebackup') && args.length > 2);
  const state = {hasEnded: false};
  action.result.then(() => {
    state.hasEnded = true;
  });
  while (clients().length === 0 && !state.hasEnded) await sleep(5);
  await sleep(random() * 500);
  // One of the two: the first, or the receiver of the WAL.
  const found = clients();
  const one = found[Math.floor(random() * found.length)];
  try {
    if (one) process.kill(one.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function restart({source}: Scene): Promise<void> {
  const log = `--log=${source.root}/server.log`;
  await runAsServer('pg_ctl', [
    'restart',
    '--mode=immediate',
    '--wait',
    `--pgdata=${source.dataDirectory}`,
    log,
  ]);
}

/** The proxy passes what comes on one connection up to a byte of the backup that chance chooses. */
async function cutting({source, random}: Scene, times: number | undefined): Promise<Fault> {
  const afterBytes = Math.ceil(random() * 30e6);
  const fault = {kind: 'cut', afterBytes, ...(times !== undefined && {times})} as const;
  const proxy = await startTcpProxy(source.port, fault);
  // So that the number of bytes means the same each time.
  return {inputs: {port: String(proxy.port), compress: 'none'}, end: proxy.close};
}

async function artifactFault({service, name, random}: Scene): Promise<Fault> {
  const kinds: readonly Omit<ServiceFault, 'artifact'>[] = [
    {at: 'CreateArtifact', kind: 'quota'},
    {at: 'CreateArtifact', kind: 'forbidden'},
    {at: 'CreateArtifact', kind: 'failing', times: 1},
    {at: 'FinalizeArtifact', kind: 'forbidden'},
    {at: 'upload', kind: 'forbidden'},
    {at: 'upload', kind: 'reset', times: 1},
    {at: 'upload', kind: 'slow', times: 1},
  ];
  const kind = kinds[Math.floor(random() * kinds.length)];
  const file = ['base.tar.zst', 'pg_wal.tar', 'backup_manifest', 'json'][Math.floor(random() * 4)];
  if (kind) service.setFault({...kind, artifact: `${name}.${file}`});
  return {inputs: {storage: 'artifact'}, end: () => service.clearFaults()};
}

/** A disk that has room for a part of the backup, or for all of it. */
async function fullDisk({home, random}: Scene): Promise<Fault> {
  const directory = join(home.directory, 'small');
  const mounted = mountDisk(directory, 60);
  const room = Math.ceil(random() * 55e6);
  return {
    // Slow enough for the disk to be filled meanwhile.
    inputs: {directory, compress: 'none', 'max-rate': '20M'},
    async strike(action) {
      await action
        .until(() => action.log().includes('initiating base backup'), 'it begins')
        .catch(() => undefined);
      mounted.fill(room);
    },
    end() {
      mounted.remove();
      execFileSync('rm', ['-rf', directory]);
    },
  };
}
