import {createHash, createHmac, pbkdf2Sync, randomBytes} from 'node:crypto';
import {saslprep} from '@mongodb-js/saslprep';

/**
 * What PostgreSQL stores of a password for scram-sha-256. Made here, as psql's `\password` does, so that the
 * password itself reaches no statement and with it no log, no view, and no other session of the server.
 */
export function scramSecret(password: string, iterations: number): string {
  const salt = randomBytes(16);
  const keys = scramKeys(password, salt, iterations);
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${keys}`;
}

/** Whether what PostgreSQL stores of a role's password (`pg_authid.rolpassword`) is that of this password. */
export function isStoredAs(stored: string, password: string, role: string): boolean {
  if (isMd5(stored)) return stored === `md5${createHash('md5').update(`${password}${role}`).digest('hex')}`;
  const [, iterations, salt = '', keys] = /^SCRAM-SHA-256\$(\d+):([^$]+)\$(.+)$/.exec(stored) ?? [];
  return keys !== undefined && keys === scramKeys(password, Buffer.from(salt, 'base64'), Number(iterations));
}

/** Whether a stored password is of the old form, which `scram-sha-256` in pg_hba.conf does not take. */
export function isMd5(stored: string): boolean {
  return /^md5[0-9a-f]{32}$/.test(stored);
}

/** Stored key and server key (RFC 5802), as scram-common.c, scram_build_secret, writes them. */
function scramKeys(password: string, salt: Buffer, iterations: number): string {
  const salted = pbkdf2Sync(prepared(password), salt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  return `${storedKey}:${hmac('Server Key').toString('base64')}`;
}

/**
 * PostgreSQL and libpq take a password that SASLprep refuses as it is (auth-scram.c). They look for what it refuses
 * before they normalise and not after, which makes a difference for characters such as U+0340 alone.
 */
function prepared(password: string): string {
  try {
    return saslprep(password);
  } catch {
    return password;
  }
}
