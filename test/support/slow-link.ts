import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync} from 'node:fs';
import {connect, createServer, type Server} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {onTestFinished} from 'vitest';
import {asRoot, sudo} from './as-root.js';
import {isRunning} from './processes.js';

/** A link that takes no more than so much on its way to a port of this machine. */
export interface SlowLink {
  /** What the port is reached by over the link. */
  readonly origin: string;
  /** What has gone over it on its way there. */
  sentBytes(): number;
}

const prefix = 'pg-basebackup-action-';
const namespace = `${prefix}${process.pid}`;
const device = `pgbb${process.pid}`;
const portOverThere = 8000;
/** Of 198.18.0.0/15, which is for measurements (RFC 2544): a network of its own for each process. */
const network = `198.18.${(process.pid >> 6) & 0xff}`;
const [here, there] = [1, 2].map((host) => `${network}.${(process.pid & 0x3f) * 4 + host}`);

/** Runs in the namespace, from which a socket in a file leads out past the link. It ends with its standard input. */
const forwarder = `
  const {connect, createServer} = require('node:net');
  const server = createServer((client) => {
    const upstream = connect(process.argv[1]);
    client.pipe(upstream).pipe(client);
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
  });
  server.listen(${portOverThere}, '${there}', () => console.log('listening'));
  process.stdin.resume().on('end', () => process.exit());`;

interface Parts {
  readonly directory: string;
  readonly way: Server;
  forwarder?: ChildProcess;
}

let parts: Parts | undefined;

/** Makes a link to a port, as fast as tc(8) writes it (`80mbit`), until the end of the test; one at a time. */
export function slowLink(port: number, rate: string): Promise<SlowLink> {
  onTestFinished(remove);
  return createLink(port, rate);
}

/** Makes a link that lasts until this process ends; one at a time. */
export async function createLink(port: number, rate: string): Promise<SlowLink> {
  removeLeftovers();
  const directory = mkdtempSync(join(tmpdir(), 'link-'));
  const way = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    client.pipe(upstream).pipe(client);
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
  });
  parts = {directory, way};
  const socket = join(directory, 'way');
  way.listen(socket);
  await once(way, 'listening');
  asRoot('ip', 'netns', 'add', namespace);
  asRoot('ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'link', 'netns', namespace);
  asRoot('ip', 'address', 'add', `${here}/30`, 'dev', device);
  asRoot('ip', 'link', 'set', device, 'up');
  asRoot('ip', '-n', namespace, 'address', 'add', `${there}/30`, 'dev', 'link');
  asRoot('ip', '-n', namespace, 'link', 'set', 'dev', 'link', 'up');
  asRoot(
    'tc',
    'qdisc',
    'add',
    'dev',
    device,
    'root',
    'tbf',
    'rate',
    rate,
    'burst',
    '64kb',
    'latency',
    '200ms',
  );
  const [program = '', ...args] = [
    ...sudo,
    'ip',
    'netns',
    'exec',
    namespace,
    process.execPath,
    '-e',
    forwarder,
  ];
  const child = spawn(program, [...args, socket], {stdio: ['pipe', 'pipe', 'inherit']});
  parts.forwarder = child;
  await once(child.stdout, 'data');
  return {
    origin: `http://${there}:${portOverThere}`,
    sentBytes: () => Number(/Sent (\d+) bytes/.exec(asRoot('tc', '-s', 'qdisc', 'show', 'dev', device))?.[1]),
  };
}

/** Synchronous, so that it also works while the process ends. */
function remove(): void {
  parts?.forwarder?.stdin?.destroy();
  parts?.way.close();
  if (namespaces().includes(namespace)) asRoot('ip', 'netns', 'delete', namespace);
  if (parts !== undefined) rmSync(parts.directory, {recursive: true, force: true});
  parts = undefined;
}

// Even when a worker ends early, no link outlives it.
process.once('exit', () => {
  if (parts !== undefined) remove();
});

/** What a run left that was killed. The link goes with its namespace. */
function removeLeftovers(): void {
  for (const name of namespaces()) {
    const pid = Number(name.slice(prefix.length));
    if (name.startsWith(prefix) && !isRunning(pid)) asRoot('ip', 'netns', 'delete', name);
  }
}

function namespaces(): readonly string[] {
  return asRoot('ip', 'netns', 'list')
    .split('\n')
    .map((line) => line.replace(/ .*/, ''));
}
