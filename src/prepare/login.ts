import {messageOf} from '../errors.js';
import type {Connection} from '../postgres/connection.js';
import {identify} from '../postgres/facts.js';
import {explain} from '../postgres/failures.js';
import {type HbaRefusal, hbaRefusalIn} from '../postgres/hba.js';
import {openSession, type SessionKind} from '../postgres/session.js';

/** How far a login as the role comes. */
export type Login =
  | {readonly end: 'in'}
  /** pg_hba.conf keeps it out, or asks for something else than a password. */
  | {readonly end: 'kept-out'; readonly refusal?: HbaRefusal; readonly error: unknown}
  /** pg_hba.conf lets it in to a password, and the password is wrong or the role is not there. */
  | {readonly end: 'wrong-password'; readonly error: unknown}
  /** The password is right, and the role or the database is not. */
  | {readonly end: 'not-allowed'; readonly error: unknown};

/** Logs in and out again. Throws a UserError when the server cannot be reached at all. */
export async function tryLogin(connection: Connection, kind: SessionKind): Promise<Login> {
  try {
    if (kind === 'replication') await identify(connection);
    else await (await openSession(connection, {kind})).close();
    return {end: 'in'};
  } catch (error) {
    const message = messageOf(error);
    const refusal = hbaRefusalIn(message);
    if (refusal) return {end: 'kept-out', refusal, error};
    if (otherMethod.test(message)) return {end: 'kept-out', error};
    if (wrongPassword.test(message)) return {end: 'wrong-password', error};
    if (notAllowed.test(message)) return {end: 'not-allowed', error};
    throw explain('The server cannot be reached', error, connection);
  }
}

/** Messages by their stable fragments: PostgreSQL 13 to 18, LC_MESSAGES=C. */
const otherMethod =
  /(?<!password) authentication failed for user|requires a valid client certificate|Unknown authenticationOk/;
const wrongPassword = /password authentication failed for user|role ".*" does not exist/;
const notAllowed =
  /is not permitted to log in|to start (walsender|WAL sender)|database ".*" does not exist|permission denied for database|too many connections|number of requested standby connections/;
