import {endianness} from 'node:os';
import type {Finding} from '../../finding.js';
import type {Host} from '../../host/host.js';
import type {RestoreRequest} from '../request.js';

/** The state of a socket that listens (TCP_LISTEN in the kernel's tcp_states.h). */
const listening = '0A';

/** Whether `listen-port` is free where the server will run; without `keep-running` it listens at no address. */
export async function judgePort(
  {keepRunning, listenPort}: RestoreRequest,
  host: Host,
): Promise<Finding | undefined> {
  if (!keepRunning) return undefined;
  const tables = [await host.readText('/proc/net/tcp'), await host.readText('/proc/net/tcp6')];
  const isTaken = takenPorts(tables.join('\n'), ['127.0.0.1', host.network.address]);
  if (!isTaken(listenPort)) return undefined;
  let free = listenPort;
  while (isTaken(free)) free = free === 65535 ? 1024 : free + 1;
  return {
    level: 'error',
    subject: 'Port',
    observed: `listen-port ${listenPort} is taken on ${host.name}: another server listens there.`,
    cure: `Set listen-port to one that is free, such as ${free}, or end that server in an earlier step.`,
  };
}

/**
 * Tells which ports somebody listens at, at one of some IPv4 addresses or at all, by the kernel's tables
 * (/proc/net/tcp and tcp6; proc_net_tcp in the kernel's documentation). A wildcard of IPv6 takes IPv4's along, unless it
 * says otherwise, which the tables do not tell.
 */
export function takenPorts(tables: string, addresses: readonly string[]): (port: number) => boolean {
  const wildcards = ['0'.repeat(8), '0'.repeat(32)];
  const ours = addresses.map(asKernelWrites);
  // Addresses of IPv4 in a socket of IPv6 (::ffff:127.0.0.1), each word in the machine's order of bytes.
  const mapped = ours.map(
    (address) => `${'0'.repeat(16)}${littleEndian ? 'FFFF0000' : '0000FFFF'}${address}`,
  );
  const relevant = new Set([...wildcards, ...ours, ...mapped]);
  const taken = new Set<number>();
  for (const line of tables.split('\n')) {
    const [, local = '', , state] = line.trim().split(/\s+/);
    const [address = '', port = ''] = local.split(':');
    if (state === listening && relevant.has(address)) taken.add(Number.parseInt(port, 16));
  }
  return (port) => taken.has(port);
}

const littleEndian = endianness() === 'LE';

function asKernelWrites(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0').toUpperCase());
  return (littleEndian ? bytes.reverse() : bytes).join('');
}
