import {Decrypter} from 'age-encryption';

/** Secret keys that files may be encrypted for. */
export interface Identities {
  /** `AGE-SECRET-KEY-1…`, `AGE-SECRET-KEY-PQ-1…` */
  readonly age: readonly string[];
  /** SSH private keys, each from its first line to its last, with a line break at the end. */
  readonly ssh: readonly string[];
}

/** What is wrong with a text of identities. Its message never holds any of the text. */
export class IdentityError extends Error {}

/** Whether the text is one of keys; else it can only be the path of a file that holds them. */
export function holdsKeys(text: string): boolean {
  return /AGE-SECRET-KEY|PRIVATE KEY|[\r\n]/i.test(text);
}

const sshKey = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----\r?\n[\s\S]*?\r?\n-----END \1-----/g;

/**
 * Reads identities as `age-keygen` writes them (comments and empty lines are passed over), and SSH private keys among
 * them. Throws an IdentityError, which tells nothing of the text.
 */
export function readIdentities(text: string): Identities {
  const ssh = [...text.matchAll(sshKey)].map(([key]) => `${key.replaceAll('\r', '')}\n`);
  for (const key of ssh) refuseSshKey(key);
  const age = text
    .replaceAll(sshKey, '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of age) refuseLine(line);
  if (age.length + ssh.length === 0) throw new IdentityError('it holds no key');
  return {age, ssh};
}

function refuseLine(line: string): void {
  if (/PRIVATE KEY/.test(line))
    throw new IdentityError('it holds an SSH private key that is not whole: all of its lines are needed');
  if (/^age1|^ssh-/.test(line))
    throw new IdentityError('it holds a public key; the secret key that belongs to it is needed');
  if (!line.startsWith('AGE-SECRET-KEY-'))
    throw new IdentityError('a line of it is neither AGE-SECRET-KEY-1… nor of an SSH private key');
  try {
    new Decrypter().addIdentity(line);
  } catch {
    throw new IdentityError('an AGE-SECRET-KEY-… in it is not whole: its checksum or its length is wrong');
  }
}

/** One with a passphrase would have to be asked for it at a terminal. */
function refuseSshKey(key: string): void {
  const body = key.replaceAll(/^-----.*$/gm, '').replaceAll('\n', '');
  // openssh-key-v1, NUL, and the name of the cipher behind its length (PROTOCOL.key).
  const cipher = Buffer.from(body, 'base64').subarray(19, 23).toString('latin1');
  const isOpenSsh = key.startsWith('-----BEGIN OPENSSH');
  if (isOpenSsh ? cipher !== 'none' : /ENCRYPTED/.test(key))
    throw new IdentityError(
      'an SSH private key in it has a passphrase, which nobody can be asked for: take that off a copy, ssh-keygen -p -N "" -f COPY',
    );
}
