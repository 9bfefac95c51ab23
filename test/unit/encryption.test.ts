import {createHash, randomBytes} from 'node:crypto';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Decrypter, Encrypter, generateX25519Identity, identityToRecipient} from 'age-encryption';
import fc from 'fast-check';
import {describe, expect, onTestFinished, test, vi} from 'vitest';
import {openDecryption, withoutKeys} from '../../src/backup-set/encryption/decryption.js';
import {openEncryption} from '../../src/backup-set/encryption/encryption.js';
import {encryptFiles} from '../../src/backup-set/encryption/files.js';
import {holdsKeys, readIdentities} from '../../src/backup-set/encryption/identities.js';
import {passphraseRecipient} from '../../src/backup-set/encryption/passphrase.js';
import {decryptPayload, encryptPayload} from '../../src/backup-set/encryption/payload.js';
import {problemOfRecipient, recipientKind} from '../../src/backup-set/encryption/recipients.js';
import {seal, unseal} from '../../src/backup-set/encryption/sealed.js';
import {formatMetadata, type Metadata, parseMetadata} from '../../src/backup-set/metadata.js';
import type {Host} from '../../src/host/host.js';
import {runner} from '../../src/host/local.js';

const here: Host = runner(new AbortController().signal, tmpdir());
/** A runner without the program, whose work this process does. */
const bare: Host = {...here, findOnPath: async () => undefined};

const pieceBytes = 65_536;
const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);
const stranger = await generateX25519Identity();

async function* pieces(bytes: Buffer, size = 50_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function gather(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Buffer[] = [];
  for await (const piece of stream) found.push(Buffer.from(piece));
  return Buffer.concat(found);
}

const withKey = (text: string) => openDecryption({identities: {text}}, bare);
const encrypted = async (bytes: Buffer) => {
  const encryption = await openEncryption({kind: 'recipients', recipients: [recipient]}, bare);
  return gather(encryption.encrypt(pieces(bytes)));
};

describe('what this process encrypts', () => {
  const sizes = [0, 1, pieceBytes - 1, pieceBytes, pieceBytes + 1, 3 * pieceBytes, 200_000];

  test.for(sizes)('is opened by the package, and the other way round: %i bytes', async (size) => {
    const plain = randomBytes(size);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    expect(Buffer.from(await decrypter.decrypt(await encrypted(plain)))).toEqual(plain);

    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const theirs = Buffer.from(await encrypter.encrypt(plain));
    const decryption = await withKey(identity);
    expect(await gather(decryption.open('a.age', pieces(theirs, 7777)))).toEqual(plain);
  });

  test('by a passphrase is opened by the package, and the other way round', async () => {
    const passphrase = 'korrekt pferd batterie';
    const plain = randomBytes(1000);
    const ours = new Encrypter();
    // The package takes seconds for what age's own factor asks for.
    ours.addRecipient(passphraseRecipient(passphrase, 12));
    const decrypter = new Decrypter();
    decrypter.addPassphrase(passphrase);
    expect(Buffer.from(await decrypter.decrypt(await ours.encrypt(plain)))).toEqual(plain);

    const encrypter = new Encrypter();
    encrypter.setPassphrase(passphrase);
    encrypter.setScryptWorkFactor(12);
    const theirs = Buffer.from(await encrypter.encrypt(plain));
    const decryption = await openDecryption({passphrase}, here);
    expect(await gather(decryption.open('a.age', pieces(theirs)))).toEqual(plain);
  });

  test('is another file each time', async () => {
    const plain = randomBytes(10);
    expect(await encrypted(plain)).not.toEqual(await encrypted(plain));
  });

  test('fails as its source does', async () => {
    const encryption = await openEncryption({kind: 'recipients', recipients: [recipient]}, bare);
    const broken = async function* () {
      yield randomBytes(100_000);
      throw new Error('the disk is gone');
    };
    await expect(gather(encryption.encrypt(broken()))).rejects.toThrow('the disk is gone');
  });
});

describe('files that a program encrypts in their place', () => {
  /** By a script in the place of age, which has tried itself out once. */
  async function encryptBy(script: string, prepare: (directory: string) => void = () => undefined) {
    const root = mkdtempSync(join(tmpdir(), 'encryption-'));
    onTestFinished(() => rmSync(root, {recursive: true}));
    const [programs, directory] = [join(root, 'programs'), join(root, 'backup')];
    mkdirSync(programs);
    mkdirSync(directory);
    writeFileSync(join(programs, 'age'), `#!/bin/sh\n${script}\n`, {mode: 0o755});
    writeFileSync(join(directory, 'base.tar'), 'plain');
    prepare(directory);
    vi.stubEnv('PATH', `${programs}:${process.env.PATH}`);
    onTestFinished(() => void vi.unstubAllEnvs());
    const {signal} = new AbortController();
    const encryption = await openEncryption(
      {kind: 'recipients', recipients: [recipient]},
      runner(signal, root),
    );
    const files = encryptFiles(directory, {encryption, signal});
    return {directory, files: await files.catch((error: Error) => error)};
  }

  test('are its output, for their owner alone', async () => {
    const {directory, files} = await encryptBy('tr a-z A-Z');
    const sha256 = createHash('sha256').update('PLAIN').digest('hex');
    expect(files).toEqual([{name: 'base.tar.age', sizeBytes: 5, sha256}]);
    expect(readdirSync(directory)).toEqual(['base.tar.age']);
    expect(statSync(join(directory, 'base.tar.age')).mode & 0o777).toBe(0o600);
  });

  test('stay when it fails', async () => {
    const {directory, files} = await encryptBy(
      '[ "$(head -c 1 | wc -c)" -eq 0 ] || { echo no >&2; exit 3; }',
    );
    expect(files).toMatchObject({message: 'age exited with status 3: no'});
    expect(readFileSync(join(directory, 'base.tar'), 'utf8')).toBe('plain');
  });

  test('take the place of no other', async () => {
    const {directory, files} = await encryptBy('cat', (where) =>
      writeFileSync(join(where, 'base.tar.age'), 'other'),
    );
    expect(files).toMatchObject({code: 'EEXIST'});
    expect(readFileSync(join(directory, 'base.tar.age'), 'utf8')).toBe('other');
  });
});

describe('an encrypted file', () => {
  const open = async (bytes: Buffer, text = identity) =>
    gather((await withKey(text)).open('base.tar.age', pieces(bytes)));

  test('that was changed anywhere is refused', async () => {
    const whole = await encrypted(randomBytes(100_000));
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({min: 1, max: 255}), async (at, change) => {
        const bytes = Buffer.from(whole);
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        await expect(open(bytes)).rejects.toThrow(/base\.tar\.age/);
      }),
      {numRuns: 60},
    );
  });

  test('that was cut anywhere is refused', async () => {
    const whole = await encrypted(randomBytes(3 * pieceBytes));
    const header = whole.indexOf('\n', whole.indexOf('\n--- ') + 1) + 1 + 16;
    const cuts = [0, 1, 30, header - 20, header, header + 1, header + pieceBytes + 16, whole.length - 1];
    for (const length of cuts)
      await expect(open(whole.subarray(0, length))).rejects.toThrow(/base\.tar\.age/);
    await expect(open(Buffer.concat([whole, Buffer.from('x')]))).rejects.toThrow(/it was changed/);
  });

  test('whose pieces were exchanged is refused', async () => {
    const keys = {fileKey: randomBytes(16), nonce: randomBytes(16)};
    const sealed = await gather(encryptPayload(pieces(randomBytes(3 * pieceBytes)), keys));
    const size = pieceBytes + 16;
    const [first, second, third] = [0, 1, 2].map((index) =>
      sealed.subarray(index * size, (index + 1) * size),
    );
    const exchanged = Buffer.concat([second, first, third].map((piece) => piece ?? Buffer.alloc(0)));
    await expect(gather(decryptPayload(pieces(exchanged), keys))).rejects.toThrow('it was changed');
  });

  test('for other keys is refused with the cure, and without any key', async () => {
    const whole = await encrypted(randomBytes(10));
    await expect(open(whole, stranger)).rejects.toMatchObject({
      message: 'base.tar.age is encrypted for other keys than those that were given (it has X25519).',
      cure: expect.stringContaining('age-keygen -y'),
    });
    await expect(gather(withoutKeys.open('base.tar.age', pieces(whole)))).rejects.toMatchObject({
      message: 'base.tar.age is encrypted, and there is nothing to open it with.',
      cure: expect.stringContaining('decrypt-with'),
    });
  });

  test('that is none, or is armored, is refused', async () => {
    await expect(open(Buffer.from('not encrypted at all'))).rejects.toThrow('it is not encrypted with age');
    await expect(open(Buffer.from('-----BEGIN AGE ENCRYPTED FILE-----\n'))).rejects.toThrow('armored');
  });

  test('that asks for more memory than a passphrase may take is not tried', async () => {
    const text = `age-encryption.org/v1\n-> scrypt ${'A'.repeat(22)} 30\n${'A'.repeat(43)}\n--- ${'A'.repeat(43)}\n`;
    const decryption = await openDecryption({passphrase: 'korrekt pferd batterie'}, here);
    await expect(gather(decryption.open('a.age', pieces(Buffer.from(text))))).rejects.toThrow(/a\.age/);
  });

  test('of a plain name passes as it is', async () => {
    const plain = randomBytes(100);
    expect(await gather((await withKey(identity)).open('base.tar', pieces(plain)))).toEqual(plain);
  });
});

describe('a recipient', () => {
  const ed25519 = `ssh-ed25519 ${Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, 7)]).toString('base64')}`;

  test('is taken as it is written', () => {
    for (const good of [recipient, ed25519, `${ed25519} user@host`])
      expect(problemOfRecipient(good)).toBeUndefined();
    expect([recipient, ed25519, 'age1pq1qqqq'].map(recipientKind)).toEqual(['x25519', 'ssh', 'other']);
  });

  test.for([
    [`${recipient.slice(0, -1)}${recipient.endsWith('q') ? 'p' : 'q'}`, 'its checksum or its length'],
    [recipient.slice(0, 30), 'its checksum or its length'],
    ['alice@example.com', 'is no recipient'],
    ['age1yubikey1q2w2lrtu5cqlkr6j0pz', 'plugins are not supported'],
    ['ssh-ed25519 AAAA', 'not a whole SSH public key'],
    [ed25519.replace('ssh-ed25519 ', 'ssh-rsa '), 'not a whole SSH public key'],
  ])('that is wrong is refused: %s', ([text = '', reason]) => {
    expect(problemOfRecipient(text)).toContain(reason);
  });

  test('that is a secret key is refused, and not shown', () => {
    expect(problemOfRecipient(identity)).toContain('it is a secret key');
    expect(problemOfRecipient(identity)).not.toContain(identity.slice(16, 30));
  });
});

describe('identities', () => {
  const ssh = (cipher: string) =>
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.concat([Buffer.from('openssh-key-v1\0'), Buffer.from([0, 0, 0, cipher.length]), Buffer.from(cipher), Buffer.alloc(40)]).toString('base64')}\n-----END OPENSSH PRIVATE KEY-----`;

  test('are read among comments, age’s and SSH’s together', () => {
    const text = `# created: today\r\n\r\n${identity}\r\n${ssh('none')}\n${stranger}`;
    const {age, ssh: sshKeys} = readIdentities(text);
    expect(age).toEqual([identity, stranger]);
    expect(sshKeys).toEqual([`${ssh('none')}\n`]);
  });

  test.for([
    [identity.slice(0, -2), 'not whole'],
    [recipient, 'a public key'],
    [ssh('aes256-ctr'), 'has a passphrase'],
    [ssh('none').slice(0, 80), 'not whole'],
    [`${identity}\nsomething else`, 'neither AGE-SECRET-KEY'],
    ['# nothing\n', 'it holds no key'],
  ])('that are wrong are refused without a word of them: %#', ([text = '', reason]) => {
    const refusal = (() => {
      try {
        readIdentities(text);
        return 'nothing';
      } catch (error) {
        return String(error);
      }
    })();
    expect(refusal).toContain(reason);
    expect(refusal).not.toContain(identity.slice(16, 30));
  });

  test('are told from the path of their file', () => {
    expect([identity, ssh('none'), `${identity}\n`].map(holdsKeys)).toEqual([true, true, true]);
    expect(['/keys/backup.key', 'backup.key'].map(holdsKeys)).toEqual([false, false]);
  });

  test('in a file that is not there are refused without its name, which may be a secret', async () => {
    const path = '/tmp/hunter2-is-no-path';
    await expect(openDecryption({identities: {path}}, here)).rejects.toThrow(/cannot be read \(ENOENT\)/);
    await expect(openDecryption({identities: {path}}, here)).rejects.not.toThrow(/hunter2/);
  });
});

describe('the metadata of an encrypted backup', () => {
  const metadata: Metadata = {
    schemaVersion: 1,
    name: 'nightly',
    label: 'the label',
    startedAt: '2026-11-22T02:17:00Z',
    finishedAt: '2026-11-22T02:18:00Z',
    durationSeconds: 60,
    startLsn: '0/2000028',
    endLsn: '0/2000100',
    timeline: 1,
    systemIdentifier: '7312345678901234567',
    serverVersion: '15.18',
    serverVersionNumber: 150018,
    clientVersion: 'pg_basebackup (PostgreSQL) 15.18',
    format: 'tar',
    walMethod: 'stream',
    compression: 'none',
    tablespaces: [{oid: '16384', path: '/srv/customer', sizeBytes: 1}],
    bootstrapSuperuser: 'chief',
    requiredSettings: {max_connections: '100'},
    selfContained: true,
    fromStandby: false,
    dataChecksums: true,
    collations: [{database: 'customers', collate: 'C', version: null}],
    libcVersion: '2.36',
    preloadLibraries: ['pg_cron'],
    dataSizeBytes: 1,
    sizeBytes: 1,
    files: [{name: 'base.tar.age', sizeBytes: 1, sha256: 'a'.repeat(64)}],
    warnings: ['skipping special file "./secret"'],
  };
  const hidden = ['the label', '/srv/customer', 'chief', 'customers', 'pg_cron', 'secret"'];

  test('hide what tells of the content, and give it back to who has the key', async () => {
    const encryption = await openEncryption({kind: 'recipients', recipients: [recipient]}, bare);
    const text = formatMetadata(await seal(metadata, encryption));
    for (const word of hidden) expect(text).not.toContain(word);
    const stored = parseMetadata(text, 'nightly.json');
    expect(stored).toMatchObject({name: 'nightly', sizeBytes: 1, systemIdentifier: '7312345678901234567'});
    expect(stored.encryption).toMatchObject({format: 'age', recipients: 1});
    const opened = await unseal(stored, await withKey(identity));
    expect(opened).toEqual({...metadata, encryption: stored.encryption});
    await expect(unseal(stored, withoutKeys)).rejects.toThrow('Backup nightly is encrypted');
    await expect(unseal(stored, await withKey(stranger))).rejects.toThrow('for other keys');
  });

  test.for([{format: 'gpg'}, {recipients: -1}, {sealed: '<'}, {sealed: undefined}])(
    'are refused where they tell of the encryption what cannot be: %j',
    (change) => {
      const encryption = {format: 'age', recipients: 1, sealed: 'QQ==', ...change};
      const text = JSON.stringify({...metadata, encryption});
      expect(() => parseMetadata(text, 'nightly.json')).toThrow('missing or wrong: encryption');
    },
  );

  test('that are not encrypted need no key', async () => {
    expect(await unseal(metadata, withoutKeys)).toBe(metadata);
  });
});
