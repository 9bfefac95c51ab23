import {connect} from 'node:net';
import type {Reachable} from '../host/service.js';
import {warning} from '../log.js';
import type {Server} from './server.js';

const patienceSeconds = 5;

/** Where later steps on this runner reach a server that is kept running; undefined, with a warning, where they cannot. */
export async function reach({host: {name, network}, port}: Server): Promise<Reachable | undefined> {
  const at = {host: network.address, port};
  if (network.isReachable && (await answers(at))) return at;
  warning(
    `The restored server runs on ${name}, and this runner cannot reach it${network.isReachable ? ` at ${at.host}:${at.port}` : ': that has no address of its own'}. The outputs host, port and connection-string are not set. Give the container a network that the runner is in, or ask the server there: docker exec`,
  );
  return undefined;
}

function answers({host, port}: Reachable): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({host, port, timeout: patienceSeconds * 1000});
    const end = (isReached: boolean) => {
      socket.destroy();
      resolve(isReached);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}
