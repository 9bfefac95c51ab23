import {connect, createServer, type Socket} from 'node:net';
import {setTimeout as sleep} from 'node:timers/promises';
import {onTestFinished} from 'vitest';

/** What goes by on a connection, by which a fault knows its time. Both are spoken in clear text. */
export interface Sight {
  readonly from: 'client' | 'server';
  readonly text: string;
}

/**
 * What a proxy does with a connection: it is cut, or goes silent both ways for ever, or for a while (`pause`, of
 * 300 ms). When: once `sight` has gone by, or from the start without one, and then so many bytes from the server.
 */
export interface Fault {
  readonly kind: 'cut' | 'stall' | 'pause';
  readonly sight?: Sight;
  /** 0 when absent: at once, before the server can answer. */
  readonly afterBytes?: number;
  /** How many connections it hits; all when absent. */
  readonly times?: number;
}

const pauseMilliseconds = 300;

/** A proxy that runs. */
export interface TcpProxy {
  readonly port: number;
  close(): void;
}

/** Stands between the action and a server on the loopback interface until the end of the test; returns its port. */
export async function tcpProxy(serverPort: number, ...faults: readonly Fault[]): Promise<number> {
  const {port, close} = await startTcpProxy(serverPort, ...faults);
  onTestFinished(close);
  return port;
}

/** Starts a proxy; the caller closes it. */
export async function startTcpProxy(serverPort: number, ...faults: readonly Fault[]): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const left = new Map(faults.map((fault) => [fault, fault.times ?? Number.POSITIVE_INFINITY]));
  const isLeft = (fault: Fault): boolean => {
    const times = left.get(fault) ?? 0;
    left.set(fault, times - 1);
    return times > 0;
  };
  const server = createServer((client) => {
    const upstream = connect(serverPort, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    relay(
      {client, upstream},
      faults.map((fault) => watch(fault, isLeft)),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The proxy has no port.');
  return {
    port: address.port,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Tells when a fault of one connection strikes: once. */
type Watch = (from: Sight['from'], data: Buffer) => Fault['kind'] | undefined;

function watch(fault: Fault, isLeft: (fault: Fault) => boolean): Watch {
  const {kind, sight, afterBytes = 0} = fault;
  let [isSeen, hasStruck, received] = [sight === undefined, false, 0];
  let tail = Buffer.alloc(0);
  return (from, data) => {
    if (hasStruck) return undefined;
    if (isSeen && from === 'server') received += data.length;
    if (!isSeen && sight?.from === from) {
      // The text may arrive in two pieces.
      const seen = Buffer.concat([tail, data]);
      isSeen = seen.includes(sight.text);
      tail = seen.subarray(-sight.text.length);
    }
    if (!isSeen || received < afterBytes) return undefined;
    hasStruck = true;
    return isLeft(fault) ? kind : undefined;
  };
}

interface Ends {
  readonly client: Socket;
  readonly upstream: Socket;
}

function relay({client, upstream}: Ends, watches: readonly Watch[]): void {
  let open = Promise.resolve();
  let isSilent = false;
  const pass = (from: Sight['from'], data: Buffer): void => {
    if (isSilent) return;
    const struck = watches.map((strikes) => strikes(from, data)).filter((kind) => kind !== undefined);
    if (struck.includes('cut')) {
      client.destroy();
      return;
    }
    isSilent = struck.includes('stall');
    if (isSilent) return;
    if (struck.includes('pause')) open = open.then(() => sleep(pauseMilliseconds));
    // In order, both ways, also after a pause.
    open = open.then(() => void (from === 'client' ? upstream : client).write(data));
  };
  client.on('data', (data) => pass('client', data));
  upstream.on('data', (data) => pass('server', data));
}
