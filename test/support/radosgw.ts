import {type ChildProcess, spawn} from 'node:child_process';
import {randomBytes, randomUUID} from 'node:crypto';
import {once} from 'node:events';
import {existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {delimiter, join} from 'node:path';
import {run, waitUntil} from './command.js';
import {freePort} from './free-port.js';

/** How the store is reached. */
export interface ObjectStore {
  /** Such as `http://127.0.0.1:40000`. */
  readonly origin: string;
  /** The keys of its user. */
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A Ceph cluster of one monitor and one OSD in memory, and its gateway that speaks S3, on loopback ports. */
export interface RunningStore extends ObjectStore {
  stop(): Promise<void>;
}

/** Whether Ceph's programs are there. */
export function hasCeph(): boolean {
  return ['ceph-mon', 'ceph-osd', 'radosgw', 'ceph'].every(isInstalled);
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((path) => existsSync(join(path, program)));
}

/** What is started, and removed whatever happens. */
interface Parts {
  readonly root: string;
  readonly children: ChildProcess[];
}

const started = new Set<Parts>();

// Even when a worker ends early, no daemon outlives it.
process.once('exit', () => {
  for (const {root, children} of started) {
    for (const child of children) child.kill('SIGKILL');
    rmSync(root, {recursive: true, force: true});
  }
});

/** Starts a store that is empty, within about fifteen seconds, most of which the gateway's first start takes. */
export async function startObjectStore(): Promise<RunningStore> {
  const parts: Parts = {root: mkdtempSync(join(tmpdir(), 'ceph-')), children: []};
  started.add(parts);
  try {
    return await start(parts);
  } catch (error) {
    await stop(parts);
    throw error;
  }
}

async function start(parts: Parts): Promise<RunningStore> {
  const {root} = parts;
  const [monitorPort, port] = [await freePort(), await freePort()];
  const configuration = join(root, 'ceph.conf');
  const environment = {CEPH_CONF: configuration};
  const ceph = (program: string, ...args: readonly string[]) => run(program, args, {env: environment});
  const origin = `http://127.0.0.1:${port}`;
  const id = randomUUID();
  writeFileSync(configuration, settings(root, {id, monitorPort, port}));
  for (const name of ['mon', 'osd', 'rgw']) mkdirSync(join(root, name));
  for (const name of ['mon.', 'client.admin', 'osd.0', 'client.rgw'])
    await ceph(
      'ceph-authtool',
      ...(existsSync(join(root, 'keyring')) ? [] : ['--create-keyring']),
      join(root, 'keyring'),
      '--gen-key',
      '--name',
      name,
      '--cap',
      'mon',
      'allow *',
      '--cap',
      'osd',
      'allow *',
    );
  const address = `[v2:127.0.0.1:${monitorPort}]`;
  await ceph('monmaptool', '--create', '--addv', 'a', address, '--fsid', id, join(root, 'monmap'));
  await ceph(
    'ceph-mon',
    '--mkfs',
    '-i',
    'a',
    '--monmap',
    join(root, 'monmap'),
    '--keyring',
    join(root, 'keyring'),
  );
  launch(parts, 'ceph-mon', ['-i', 'a']);
  // The OSD is known by the identity that it is made with.
  const osd = randomUUID();
  await ceph('ceph', '--connect-timeout', '60', 'osd', 'create', osd, '0');
  await ceph('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd);
  launch(parts, 'ceph-osd', ['-i', '0']);
  launch(parts, 'radosgw', ['--name', 'client.rgw']);
  await waitUntil(() => answers(origin, parts), {
    seconds: 100,
    what: 'radosgw to answer',
    detail: () => logs(root),
  });
  const keys = {
    accessKeyId: randomBytes(10).toString('hex'),
    secretAccessKey: randomBytes(20).toString('hex'),
  };
  const user = ['--uid=tester', '--display-name=Tester'];
  const pair = [`--access-key=${keys.accessKeyId}`, `--secret=${keys.secretAccessKey}`];
  await ceph('radosgw-admin', '--name', 'client.rgw', 'user', 'create', ...user, ...pair);
  return {origin, ...keys, stop: () => stop(parts)};
}

function settings(root: string, store: {id: string; monitorPort: number; port: number}): string {
  return `
[global]
fsid = ${store.id}
keyring = ${root}/keyring
mon host = [v2:127.0.0.1:${store.monitorPort}/0]
mon initial members = a
mon data = ${root}/mon/$id
mon allow pool size one = true
mon data avail crit = 1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd objectstore = memstore
osd data = ${root}/osd
# No more than a limit: the benchmark stores 8 GB, and what is deleted is given back hours later.
memstore device bytes = 17179869184
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
public network = 127.0.0.0/8
ms bind ipv6 = false
run dir = ${root}
admin socket =
pid file =
log file = ${root}/$name.log
rgw data = ${root}/rgw
rgw frontends = beast endpoint=127.0.0.1:${store.port}
rgw enable gc threads = false
rgw enable lc threads = false
`;
}

/** In the foreground, so that it is a child of ours. */
function launch({root, children}: Parts, program: string, args: readonly string[]): void {
  const env = {PATH: process.env.PATH, CEPH_CONF: join(root, 'ceph.conf')};
  children.push(spawn(program, ['-f', ...args], {env, cwd: root, stdio: 'ignore'}));
}

async function answers(origin: string, {root, children}: Parts): Promise<boolean> {
  if (children.some(({exitCode, signalCode}) => exitCode !== null || signalCode !== null))
    throw new Error(`A daemon of Ceph ended.\n${logs(root)}`);
  return fetch(origin).then(
    ({ok}) => ok,
    () => false,
  );
}

function logs(root: string): string {
  const tail = (name: string) => {
    const path = join(root, `${name}.log`);
    return existsSync(path) ? `${name}: ${readFileSync(path, 'utf8').slice(-1500)}` : '';
  };
  return ['mon.a', 'osd.0', 'client.rgw'].map(tail).join('\n');
}

async function stop(parts: Parts): Promise<void> {
  for (const child of parts.children.toReversed()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(parts.root, {recursive: true, force: true});
  started.delete(parts);
}
