import {mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {run} from './command.js';

/** A key to encrypt for. */
export interface KeyPair {
  /** What `encrypt-to` takes. */
  readonly recipient: string;
  /** What `decrypt-with` takes. */
  readonly identity: string;
  /** A file that holds `identity`. */
  readonly path: string;
}

/** Makes a key of age's own. */
export async function ageKey(directory: string, name: string): Promise<KeyPair> {
  const path = join(directory, `${name}.key`);
  await run('age-keygen', ['-o', path]);
  return {
    recipient: (await run('age-keygen', ['-y', path])).trim(),
    identity: readFileSync(path, 'utf8'),
    path,
  };
}

/** Makes an SSH key. */
export async function sshKey(directory: string, type: 'ed25519' | 'rsa', passphrase = ''): Promise<KeyPair> {
  const path = join(directory, `${type}${passphrase === '' ? '' : '-locked'}.key`);
  await run('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-C', 'of a test', '-f', path]);
  return {
    recipient: readFileSync(`${path}.pub`, 'utf8').trim(),
    identity: readFileSync(path, 'utf8'),
    path,
  };
}

/** Encrypts a file with the program, as somebody does by hand; the plain one stays. */
export async function encryptByHand(path: string, {recipient}: KeyPair): Promise<string> {
  await run('age', ['--recipient', recipient, '--output', `${path}.age`, path]);
  return `${path}.age`;
}

/** Opens a file with the program, and returns where its content is. */
export async function openByHand(path: string, key: KeyPair, directory: string): Promise<string> {
  const opened = join(directory, 'opened');
  await run('age', ['--decrypt', '--identity', key.path, '--output', opened, path]);
  return opened;
}

/** Opens a file with the program, which asks for the passphrase at a terminal of its own. */
export async function openByPassphrase(path: string, passphrase: string, directory: string): Promise<string> {
  const opened = join(directory, 'opened');
  await run('script', ['--quiet', '--return', '--command', `age -d -o ${opened} ${path}`, '/dev/null'], {
    stdin: `${passphrase}\n`,
  });
  return opened;
}

/** Makes a directory for PATH that has every program of this machine but `age`. */
export function pathWithoutAge(directory: string): string {
  mkdirSync(directory);
  const places = (process.env.PATH ?? '').split(':').filter(Boolean);
  const seen = new Set(['age']);
  for (const place of places)
    for (const name of listed(place)) {
      if (seen.has(name) || !statSync(join(place, name), {throwIfNoEntry: false})?.isFile()) continue;
      seen.add(name);
      symlinkSync(join(place, name), join(directory, name));
    }
  return directory;
}

function listed(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // PATH may name what is not there.
  }
}

/** A program of the name `age` that goes on for ever once it has been given a byte to encrypt. */
export function hangingAge(directory: string): void {
  writeFileSync(
    join(directory, 'age'),
    '#!/bin/sh\n[ -n "$(head -c 1 | od -An -tx1)" ] || exit 0\nexec sleep 600\n',
    {mode: 0o755},
  );
}
