import {createCipheriv, createDecipheriv, randomBytes, scrypt} from 'node:crypto';
import {type Identity, type Recipient, Stanza} from 'age-encryption';

// The scrypt recipient of age-encryption.org/v1 ("The scrypt recipient type"). By Node's own scrypt, which works beside
// this thread; that of the package would hold everything up for seconds.
const [saltBytes, keyBytes, tagBytes] = [16, 32, 16];
const workFactor = 18;
/** 2^20 takes 1 GiB of memory: a stranger's file may ask for any. age itself writes 18. */
const mostWorkFactor = 20;

/** One after the other, because each takes 256 MiB. */
let turn: Promise<unknown> = Promise.resolve();

function derive(passphrase: string, salt: Uint8Array, logN: number): Promise<Buffer> {
  const label = Buffer.concat([Buffer.from('age-encryption.org/v1/scrypt'), salt]);
  const [cost, blockSize] = [2 ** logN, 8];
  // What it needs, and the little more that OpenSSL counts.
  const limits = {cost, blockSize, parallelization: 1, maxmem: 128 * blockSize * (cost + 16)};
  const next = turn.then(
    () =>
      new Promise<Buffer>((resolve, reject) => {
        scrypt(passphrase, label, keyBytes, limits, (error, key) => (error ? reject(error) : resolve(key)));
      }),
  );
  turn = next.catch(() => undefined);
  return next;
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replaceAll('=', '');

/** Wraps a file's key for whoever knows a passphrase; `logN` is how hard guessing it is made. */
export function passphraseRecipient(passphrase: string, logN = workFactor): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = randomBytes(saltBytes);
      const key = await derive(passphrase, salt, logN);
      // The key is used once, so that its nonce may be zero.
      const sealing = createCipheriv('chacha20-poly1305', key, Buffer.alloc(12), {authTagLength: tagBytes});
      const sealed = sealing.update(fileKey);
      sealing.final();
      const body = Buffer.concat([sealed, sealing.getAuthTag()]);
      return [new Stanza(['scrypt', base64(salt), String(logN)], body)];
    },
  };
}

/** Unwraps a file's key by a passphrase; null where it is not the one. */
export function passphraseIdentity(passphrase: string): Identity {
  return {
    async unwrapFileKey(stanzas) {
      const [stanza, ...others] = stanzas;
      const [type, salt = '', factor = ''] = stanza?.args ?? [];
      // The format allows no other recipient beside: nobody else shall have been able to write the file.
      if (stanza === undefined || type !== 'scrypt' || others.length > 0) return null;
      const logN = /^[1-9]\d?$/.test(factor) ? Number(factor) : Number.POSITIVE_INFINITY;
      if (logN > mostWorkFactor || stanza.body.length !== 16 + tagBytes) return null;
      const key = await derive(passphrase, Buffer.from(salt, 'base64'), logN);
      const opening = createDecipheriv('chacha20-poly1305', key, Buffer.alloc(12), {authTagLength: tagBytes});
      opening.setAuthTag(stanza.body.subarray(16));
      const fileKey = opening.update(stanza.body.subarray(0, 16));
      try {
        opening.final();
        return fileKey;
      } catch {
        return null;
      }
    },
  };
}
