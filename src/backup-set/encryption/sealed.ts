import {damaged} from '../digest.js';
import type {Metadata} from '../metadata.js';
import {type Decryption, locked} from './decryption.js';
import type {Encryption} from './encryption.js';

/**
 * What of the metadata tells of the content, or is the user's own text: encrypted like the files. The rest is needed
 * to find a backup, to judge it, and to know that its files are whole.
 */
type Private = Pick<
  Metadata,
  'label' | 'tablespaces' | 'bootstrapSuperuser' | 'collations' | 'preloadLibraries' | 'sizes' | 'warnings'
>;

/** What stands in the place of the encrypted fields: what is written where nobody knows. */
const blanks: Private = {
  label: '',
  tablespaces: [],
  bootstrapSuperuser: null,
  collations: null,
  preloadLibraries: null,
  sizes: undefined,
  warnings: [],
};

/** For messages, and so that it passes for an encrypted file. */
const sealedName = 'encryption.sealed.age';

/** Metadata as they are stored beside encrypted files. */
export async function seal(metadata: Metadata, encryption: Encryption): Promise<Metadata> {
  const {label, tablespaces, bootstrapSuperuser, collations, preloadLibraries, sizes, warnings} = metadata;
  const hidden: Private = {
    ...{label, tablespaces, bootstrapSuperuser, collations, preloadLibraries, warnings},
    ...(sizes && {sizes}),
  };
  const sealed = await gather(encryption.encrypt(once(Buffer.from(JSON.stringify(hidden)))));
  return {
    ...metadata,
    ...blanks,
    encryption: {format: 'age', recipients: encryption.recipients, sealed: sealed.toString('base64')},
  };
}

/**
 * Metadata as they were before they were sealed. Throws a UserError when no key fits, which is known so before
 * anything is fetched, and when they were changed.
 */
export async function unseal(metadata: Metadata, decryption: Decryption): Promise<Metadata> {
  const {encryption} = metadata;
  if (!encryption) return metadata;
  if (!decryption.hasKeys) throw locked(`Backup ${metadata.name}`);
  const text = await gather(decryption.open(sealedName, once(Buffer.from(encryption.sealed, 'base64'))));
  return {...metadata, ...readHidden(text.toString('utf8'))};
}

function readHidden(text: string): Partial<Private> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged('the metadata', 'what is encrypted in them is not JSON');
  }
  const found = (value ?? {}) as Partial<Record<keyof Private, unknown>>;
  const known = Object.keys(blanks).filter((name) => found[name as keyof Private] !== undefined);
  return Object.fromEntries(known.map((name) => [name, found[name as keyof Private]]));
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function gather(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}
