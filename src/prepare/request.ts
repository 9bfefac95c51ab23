import type {Connection} from '../postgres/connection.js';

/** A role that may create others. */
export interface AdminLogin {
  /** Without one, `postgres`, or the superuser of the container. */
  readonly user?: string;
  readonly password?: string;
}

/** What a step with `mode: prepare` asks for. */
export interface PrepareRequest {
  readonly mode: 'prepare';
  /** Where the server is, and the replication role to prepare, as it will log in there. */
  readonly connection: Connection & {readonly password: string};
  readonly admin: AdminLogin;
  /** Id or name of the container whose server is prepared. */
  readonly container?: string;
  /** `192.0.2.0/24`: the network that the role shall be let in from, instead of this runner's address. */
  readonly clientNetwork?: string;
  readonly dryRun: boolean;
}
