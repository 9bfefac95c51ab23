import {lookup} from 'node:dns/promises';
import {UserError} from '../errors.js';
import type {ServiceContainer} from '../host/service.js';
import type {Connection} from './connection.js';

/**
 * A connection that says nothing of where the server is leads to the container's own. Throws a UserError when that
 * has no address that the runner could reach.
 */
export function fromRunner(connection: Connection, {reachableAt, name}: ServiceContainer): Connection {
  if (connection.parameters.host !== undefined) return connection;
  if (reachableAt === undefined) {
    throw new UserError(
      `Container ${name} publishes no port and has no address of its own.`,
      'Publish its port (ports: 5432:5432), or set host and port.',
    );
  }
  const {port = String(reachableAt.port)} = connection.parameters;
  return {...connection, parameters: {...connection.parameters, host: reachableAt.host, port}};
}

/**
 * The connection as it is made inside of the container's network: to the container's own server over its loopback,
 * where no certificate has a fitting name; to any other server as from the runner.
 */
export async function fromInside(connection: Connection, service: ServiceContainer): Promise<Connection> {
  if (!(await leadsTo(service, connection))) return connection;
  const kept = Object.entries(connection.parameters).filter(([keyword]) => !/^(ssl|gss)/.test(keyword));
  // Paths of the runner lead nowhere there.
  const environment = Object.entries(connection.environment).filter(
    ([name]) => !/^PG(SSL|GSS|PASSFILE)/.test(name),
  );
  return {
    ...connection,
    parameters: {...Object.fromEntries(kept), host: '127.0.0.1', port: String(service.serverPort)},
    environment: Object.fromEntries(environment),
  };
}

/** Whether a connection from the runner ends at the container's own server; a service's name resolves to it. */
async function leadsTo(
  {reachableAt, host: {network}, serverPort}: ServiceContainer,
  {parameters}: Connection,
): Promise<boolean> {
  const {host = '', port = '5432'} = parameters;
  const ownNames = [reachableAt?.host, '127.0.0.1', 'localhost', '::1'];
  if (Number(port) === reachableAt?.port && ownNames.includes(host)) return true;
  if (Number(port) !== serverPort || host === '') return false;
  const found = await lookup(host, {all: true}).catch(() => []);
  return found.some(({address}) => address === network.address);
}
