import {createServer} from 'node:net';

/**
 * A TCP port of the loopback interface that nothing listens on: below those that the kernel gives to outgoing
 * connections (32768 and above), so that none of these takes it before it is used, or while a server restarts.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 50; tries += 1) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (await isFree(port)) return port;
  }
  throw new Error('No port is free.');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
