import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {PassThrough} from 'node:stream';
import {Decrypter} from 'age-encryption';
import {messageOf, UserError} from '../../errors.js';
import {CommandError, type Host} from '../../host/host.js';
import {mask} from '../../log.js';
import {damaged} from '../digest.js';
import {needsProgram} from './encryption.js';
import {type OpenedHeader, readHeader} from './header.js';
import {type Identities, IdentityError, readIdentities} from './identities.js';
import {isEncrypted} from './names.js';
import {passphraseIdentity} from './passphrase.js';
import {decryptPayload, nonceBytes, PayloadError} from './payload.js';

/** What a backup is decrypted with. */
export interface DecryptionRequest {
  /** The text of `decrypt-with`, or the path of a file that holds it. */
  readonly identities?: {readonly text: string} | {readonly path: string};
  readonly passphrase?: string;
}

/** Opens the encrypted files of a backup. */
export interface Decryption {
  /** Whether there is anything to open a file with. */
  readonly hasKeys: boolean;
  /**
   * What a file holds: decrypted where its name ends with `.age`, else as it is. Nothing is written to disk. Throws a
   * UserError for a file that no key fits, and a DamageError for one that was changed or cut.
   */
  open(name: string, bytes: AsyncIterable<Buffer>): AsyncIterable<Buffer>;
}

/** Opens what is not encrypted, and refuses what is. */
export const withoutKeys: Decryption = {
  hasKeys: false,
  open: (name, bytes) => (isEncrypted(name) ? refused(name) : bytes),
};

// biome-ignore lint/correctness/useYield: it only throws, as a stream does.
async function* refused(name: string): AsyncGenerator<Buffer> {
  throw locked(name);
}

/** The refusal of an encrypted backup that there is no key for. */
export function locked(what: string): UserError {
  return new UserError(
    `${what} is encrypted, and there is nothing to open it with.`,
    'Set decrypt-with to the secret key of one of its recipients (decrypt-with: ${{ secrets.BACKUP_KEY }}), or passphrase to the passphrase that it was made with.',
  );
}

/** Reads the keys. Throws a UserError, which tells none of them, where they are none. */
export async function openDecryption(
  {identities, passphrase}: DecryptionRequest,
  runner: Host,
): Promise<Decryption> {
  if (identities === undefined && passphrase === undefined) return withoutKeys;
  const keys = identities ? await readKeys(identities) : {age: [], ssh: []};
  const decrypter = new Decrypter();
  for (const key of keys.age) decrypter.addIdentity(key);
  if (passphrase !== undefined) decrypter.addIdentity(passphraseIdentity(passphrase));
  const ring: KeyRing = {
    decrypter,
    keys,
    hasPassphrase: passphrase !== undefined,
    runner,
    fileKeys: new Map(),
  };
  return {hasKeys: true, open: (name, bytes) => (isEncrypted(name) ? decrypt(name, bytes, ring) : bytes)};
}

interface KeyRing {
  readonly decrypter: Decrypter;
  readonly keys: Identities;
  readonly hasPassphrase: boolean;
  readonly runner: Host;
  /** By header: a file is opened twice, and a passphrase takes a second. */
  readonly fileKeys: Map<string, Promise<Uint8Array>>;
}

async function readKeys(from: NonNullable<DecryptionRequest['identities']>): Promise<Identities> {
  const text = 'text' in from ? from.text : await readKeyFile(from.path);
  mask(text);
  try {
    return readIdentities(text);
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    throw new UserError(`decrypt-with: ${error.message}.`, keyCure);
  }
}

const keyCure =
  'Set it to the text of a secret key (AGE-SECRET-KEY-1… as age-keygen writes it, or an SSH private key), or to the path of a file that holds one.';

/** A path is not shown: somebody may have put a secret of another kind there. */
async function readKeyFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new UserError(
      `decrypt-with is no key, and as the path of a file of keys it cannot be read (${code}).`,
      keyCure,
    );
  }
}

async function* decrypt(name: string, bytes: AsyncIterable<Buffer>, ring: KeyRing): AsyncGenerator<Buffer> {
  const opened = await readHeader(name, bytes);
  try {
    const isForSsh = opened.types.some((type) => type.startsWith('ssh-')) && ring.keys.ssh.length > 0;
    const fileKey = await unwrap(name, opened, ring).catch((error: unknown) => {
      if (isForSsh && error instanceof WrongKeyError) return undefined;
      throw error;
    });
    yield* fileKey ? decryptHere(name, opened, fileKey) : decryptByProgram(name, opened, ring);
  } finally {
    await opened.rest.return(undefined);
  }
}

class WrongKeyError extends UserError {}

function unwrap(name: string, {header, types}: OpenedHeader, ring: KeyRing): Promise<Uint8Array> {
  const id = header.toString('latin1');
  const known = ring.fileKeys.get(id);
  if (known) return known;
  const unwrapping = ring.decrypter.decryptHeader(header).catch((cause: unknown) => {
    if (messageOf(cause).startsWith('no identity matched')) throw wrongKey(name, types, ring);
    throw damaged(name, `its header was changed (${messageOf(cause)})`);
  });
  ring.fileKeys.set(id, unwrapping);
  return unwrapping;
}

function wrongKey(
  name: string,
  types: readonly string[],
  {hasPassphrase}: Pick<KeyRing, 'hasPassphrase'>,
): UserError {
  const message = types.includes('scrypt')
    ? `${name} is encrypted with a passphrase, ${hasPassphrase ? 'and it is not the one that was given' : 'which was not given'}.`
    : `${name} is encrypted for other keys than those that were given (it has ${types.join(', ')}).`;
  const cure = types.includes('scrypt')
    ? 'Set passphrase to the one that the backup was made with.'
    : 'Set decrypt-with to the secret key of one of its recipients: age-keygen -y KEYFILE, or ssh-keygen -y -f KEYFILE, shows whose a key is.';
  return new WrongKeyError(message, cure);
}

async function* decryptHere(name: string, {rest}: OpenedHeader, fileKey: Uint8Array): AsyncGenerator<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < nonceBytes) {
    const {done, value} = await rest.next();
    if (done) throw damaged(name, 'it was cut behind its header');
    head = Buffer.concat([head, value]);
  }
  const nonce = head.subarray(0, nonceBytes);
  const payload = async function* () {
    yield head.subarray(nonceBytes);
    yield* rest;
  };
  try {
    yield* decryptPayload(payload(), {fileKey, nonce});
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error;
    throw damaged(name, `it cannot be decrypted: ${error.message}`);
  }
}

/** SSH keys: the program takes them from files alone, which are there as long as it reads. */
async function* decryptByProgram(
  name: string,
  {header, rest, types}: OpenedHeader,
  {keys, runner}: KeyRing,
): AsyncGenerator<Buffer> {
  if ((await runner.findOnPath('age')) === undefined)
    throw needsProgram(`${name} is encrypted for an SSH key`);
  const directory = await mkdtemp(join(runner.scratchDirectory, 'age-'));
  try {
    const paths = keys.ssh.map((_key, index) => join(directory, String(index)));
    for (const [index, path] of paths.entries())
      await writeFile(path, keys.ssh[index] ?? '', {mode: 0o600, flag: 'wx'});
    const args = ['--decrypt', ...paths.flatMap((path) => ['--identity', path])];
    const output = new PassThrough({highWaterMark: 1 << 20});
    const whole = async function* () {
      yield header;
      yield* rest;
    };
    const running = runner
      .run({program: 'age', args}, {stdin: whole(), stdout: output, startsNoOthers: true})
      .catch((error: Error) => output.destroy(error));
    try {
      yield* output;
    } finally {
      output.destroy();
      await running;
    }
  } catch (error) {
    throw error instanceof CommandError ? programFailure(name, error, types) : error;
  } finally {
    await rm(directory, {recursive: true, force: true});
  }
}

function programFailure(name: string, error: CommandError, types: readonly string[]): UserError {
  if (/no identity matched/.test(error.stderr)) return wrongKey(name, types, {hasPassphrase: false});
  return damaged(name, `it cannot be decrypted: ${error.message}`);
}
