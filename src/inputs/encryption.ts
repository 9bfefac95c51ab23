import {resolve} from 'node:path';
import type {DecryptionRequest} from '../backup-set/encryption/decryption.js';
import {holdsKeys, IdentityError, readIdentities} from '../backup-set/encryption/identities.js';
import {type EncryptionRequest, problemOfRecipient} from '../backup-set/encryption/recipients.js';
import type {InputReader} from './reader.js';
import type {RunContext} from './run-context.js';

/** The inputs of backup mode alone. */
export const encryptionInputs = ['encrypt-to', 'allow-public-plaintext'] as const;

/** Shorter ones are found by trying them all. */
const leastCharacters = 10;

/** Reads whom a backup is encrypted for; undefined: nobody. */
export function readEncryption(reader: InputReader): EncryptionRequest | undefined {
  const recipients = reader
    .lines('encrypt-to')
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.replaceAll(/\s+/g, ' '));
  const passphrase = readPassphrase(reader);
  if (recipients.length > 0 && passphrase !== undefined)
    reader.reject('passphrase', 'it does not go together with encrypt-to: age allows one of the two');
  if (passphrase !== undefined && [...passphrase].length < leastCharacters)
    reader.reject('passphrase', `it has fewer than ${leastCharacters} characters, which can be guessed`);
  for (const recipient of recipients) {
    const problem = problemOfRecipient(recipient);
    if (problem !== undefined) reader.reject('encrypt-to', problem);
  }
  if (recipients.length > 0) return {kind: 'recipients', recipients: [...new Set(recipients)]};
  return passphrase === undefined ? undefined : {kind: 'passphrase', passphrase};
}

/** Reads what an encrypted backup is opened with. */
export function readDecryption(reader: InputReader, {workspace}: RunContext): DecryptionRequest {
  const text = reader.text('decrypt-with');
  const passphrase = readPassphrase(reader);
  return {
    ...(text !== undefined && {identities: readKeys(reader, text, workspace)}),
    ...(passphrase !== undefined && {passphrase}),
  };
}

/**
 * Reads what the manifest is opened with that an incremental backup builds on: the passphrase that it is encrypted
 * with itself, or a secret key.
 */
export function readParentKeys(
  reader: InputReader,
  {workspace}: RunContext,
  {
    encryption,
    isIncremental,
  }: {readonly encryption: EncryptionRequest | undefined; readonly isIncremental: boolean},
): DecryptionRequest {
  const text = reader.text('decrypt-with');
  if (text !== undefined && !isIncremental)
    reader.reject(
      'decrypt-with',
      'in backup mode it opens what an incremental backup builds on: set incremental: true, or leave it out',
    );
  return {
    ...(text !== undefined && {identities: readKeys(reader, text, workspace)}),
    ...(encryption?.kind === 'passphrase' && {passphrase: encryption.passphrase}),
  };
}

function readKeys(
  reader: InputReader,
  text: string,
  workspace: string,
): NonNullable<DecryptionRequest['identities']> {
  if (!holdsKeys(text)) return {path: resolve(workspace, text)};
  try {
    readIdentities(text);
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    reader.reject('decrypt-with', error.message);
  }
  return {text};
}

function readPassphrase(reader: InputReader): string | undefined {
  const passphrase = reader.text('passphrase');
  if (passphrase !== undefined && /[\r\n\0]/.test(passphrase))
    reader.reject('passphrase', 'it must not contain a line break');
  return passphrase;
}
