import {randomBytes} from 'node:crypto';
import {PassThrough} from 'node:stream';
import {Encrypter, type Recipient} from 'age-encryption';
import {UserError} from '../../errors.js';
import {CommandError, type Host, shell} from '../../host/host.js';
import {passphraseRecipient} from './passphrase.js';
import {encryptPayload, nonceBytes} from './payload.js';
import {type EncryptionRequest, recipientKind} from './recipients.js';

/** Encrypts the files of a backup, in the format of age, so that `age -d` opens them. */
export interface Encryption {
  /** How many keys each file opens with; 0 where it is a passphrase. */
  readonly recipients: number;
  /** For people: `the program age`, `Node.js`. */
  readonly by: string;
  /**
   * Encrypts a stream into a file of its own; a stage of a pipe. Reads no more than what is asked for, keeps some
   * 100 KiB, and throws what its source throws. A piece of 64 KiB or more may be gone when the next one is asked for.
   */
  encrypt(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Buffer>;
  /**
   * Has a program encrypt a file into another one, which is written over: that takes a fraction of the time that its
   * bytes would take through this process (bench/encryption.ts). Undefined where no program does it. Throws a
   * CommandError.
   */
  fromFileToFile?(from: string, to: string): Promise<void>;
}

/**
 * Makes ready to encrypt: by the program `age` where the runner has it, which works on another core, else in this
 * process; `bench/encryption.ts` measures both. The program takes a passphrase from a terminal only, and only the
 * program takes SSH keys. Throws a UserError where what is asked for cannot be had.
 */
export async function openEncryption(request: EncryptionRequest, runner: Host): Promise<Encryption> {
  if (request.kind === 'passphrase') return inProcess([passphraseRecipient(request.passphrase)], 0);
  const {recipients} = request;
  const kinds = new Set(recipients.map(recipientKind));
  // Versions of the program before 1.3 do not know the newer kinds.
  const wantsProgram = kinds.has('ssh') || !kinds.has('other');
  if (wantsProgram && (await runner.findOnPath('age')) !== undefined) {
    const encryption = byProgram(recipients, runner);
    await tryOut(encryption);
    return encryption;
  }
  if (kinds.has('ssh')) throw needsProgram('encrypt-to holds an SSH key');
  return inProcess(recipients, recipients.length);
}

/** The refusal of what only the program can do, where the runner lacks it. */
export function needsProgram(what: string): UserError {
  return new UserError(
    `${what}, for which the program age is needed, and the runner does not have it.`,
    'Install it in an earlier step: sudo apt-get install --yes age. Or use a key of age’s own (age-keygen), which needs no program.',
  );
}

function byProgram(recipients: readonly string[], runner: Host): Encryption {
  const args = recipients.flatMap((recipient) => ['--recipient', recipient]);
  return {
    recipients: recipients.length,
    by: 'the program age',
    encrypt: (bytes) => {
      const output = new PassThrough({highWaterMark: 1 << 20});
      runner
        .run(
          {program: 'age', args: ['--encrypt', ...args]},
          {stdin: bytes, stdout: output, startsNoOthers: true},
        )
        .catch((error: Error) => output.destroy(error));
      return output;
    },
    async fromFileToFile(from, to) {
      const script = 'from=$1 to=$2; shift 2; exec age --encrypt "$@" < "$from" > "$to"';
      const running = runner.run(shell(script, [from, to, ...args]), {startsNoOthers: true});
      await running.catch((error: unknown) => {
        throw error instanceof CommandError ? new CommandError('age', error.status, error.stderr) : error;
      });
    },
  };
}

/** What the program does not take is told before a backup is taken. */
async function tryOut(encryption: Encryption): Promise<void> {
  try {
    for await (const _piece of encryption.encrypt(nothing()));
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new UserError(
      `age does not take what encrypt-to holds: ${cause.message}`,
      'Correct encrypt-to. A kind of key that only newer versions of age know needs one: age --version',
      {cause},
    );
  }
}

async function* nothing(): AsyncGenerator<Buffer> {
  // A stream without a byte.
}

function inProcess(to: readonly (string | Recipient)[], recipients: number): Encryption {
  return {
    recipients,
    by: 'Node.js',
    async *encrypt(bytes) {
      const {header, fileKey} = await newHeader(to);
      const nonce = randomBytes(nonceBytes);
      yield Buffer.concat([header, nonce]);
      yield* encryptPayload(bytes, {fileKey, nonce});
    },
  };
}

/** The package makes the header of a file without content, and tells its key to a recipient that adds no line. */
async function newHeader(
  to: readonly (string | Recipient)[],
): Promise<{readonly header: Buffer; readonly fileKey: Uint8Array}> {
  const encrypter = new Encrypter();
  let fileKey: Uint8Array | undefined;
  for (const recipient of to) encrypter.addRecipient(recipient);
  encrypter.addRecipient({
    wrapFileKey: (key) => {
      fileKey = key;
      return [];
    },
  });
  const file = Buffer.from(await encrypter.encrypt(new Uint8Array()));
  if (fileKey === undefined) throw new Error('The package age-encryption gave its recipients no key.');
  // Behind the header stand the nonce and the seal of an empty piece.
  return {header: file.subarray(0, file.length - nonceBytes - 16), fileKey};
}
