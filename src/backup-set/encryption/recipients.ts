import {Encrypter} from 'age-encryption';

/** Whom a backup is encrypted for: the owners of keys, or whoever knows a passphrase. */
export type EncryptionRequest =
  | {readonly kind: 'recipients'; readonly recipients: readonly string[]}
  | {readonly kind: 'passphrase'; readonly passphrase: string};

/** A kind of key that backups can be encrypted for, as a recipient's text tells. */
export type RecipientKind = 'x25519' | 'ssh' | 'other';

const sshTypes = ['ssh-ed25519', 'ssh-rsa'];

/**
 * The kind of a recipient: X25519, which everything that knows age takes; an SSH public key, which only the program
 * takes; another of age's own (`age1pq1…`), which old versions of the program do not take.
 */
export function recipientKind(recipient: string): RecipientKind {
  if (sshTypes.some((type) => recipient.startsWith(`${type} `))) return 'ssh';
  return /^age1(pq|tag|tagpq)1/.test(recipient) ? 'other' : 'x25519';
}

/** Its secret key is 32 bytes of 0x42, which tests of age use, and so it stands in many a text about it. */
const publicTestKey = 'age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj';

/** What is wrong with a recipient, or undefined. The checksum of age's own finds every slip of the pen. */
export function problemOfRecipient(recipient: string): string | undefined {
  if (/PRIVATE KEY|AGE-SECRET-KEY/i.test(recipient))
    return 'it is a secret key; encrypt-to takes public keys: age-keygen -y KEYFILE prints that of an age key';
  if (recipient === publicTestKey)
    return `${recipient} is a key of age's tests, whose secret key everybody knows: make one of your own, age-keygen -o backup.key`;
  if (recipientKind(recipient) === 'ssh') return problemOfSshKey(recipient);
  if (!recipient.startsWith('age1'))
    return `${JSON.stringify(recipient)} is no recipient: age1…, ssh-ed25519 … or ssh-rsa …`;
  // What stands between two ones is the name of a plugin.
  if (recipientKind(recipient) === 'x25519' && /^age1[a-z0-9+._-]+1/.test(recipient))
    return `${JSON.stringify(recipient)} is of a plugin of age, and plugins are not supported`;
  try {
    new Encrypter().addRecipient(recipient);
    return undefined;
  } catch {
    return `${JSON.stringify(recipient)} is not a whole age recipient: its checksum or its length is wrong`;
  }
}

/** The blob repeats the type in front, behind the type's length (RFC 4253, 6.6). */
function problemOfSshKey(recipient: string): string | undefined {
  const [type = '', blob = ''] = recipient.split(/\s+/);
  const bytes = Buffer.from(blob, 'base64');
  const prefix = Buffer.concat([Buffer.from([0, 0, 0, type.length]), Buffer.from(type)]);
  const isWhole =
    /^[A-Za-z0-9+/]+={0,2}$/.test(blob) &&
    bytes.subarray(0, prefix.length).equals(prefix) &&
    bytes.length >= (type === 'ssh-rsa' ? leastRsaBytes : ed25519Bytes);
  return isWhole
    ? undefined
    : `${JSON.stringify(`${type} ${blob.slice(0, 16)}…`)} is not a whole SSH public key of 2048 bits or more: copy the line of the .pub file`;
}

/** age takes no RSA key of less than 2048 bits (agessh.go). */
const leastRsaBytes = 256;
const ed25519Bytes = 51;
