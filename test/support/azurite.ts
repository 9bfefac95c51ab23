import {type ChildProcess, spawn} from 'node:child_process';
import {createHmac, randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';

/** Azure's blob storage on a loopback port, empty and in memory; what GitHub keeps artifacts in. */
export interface BlobServer {
  /** Such as `http://127.0.0.1:40000`. */
  readonly origin: string;
  /** The first part of every path. */
  readonly account: string;
  /** A signed path and query that is valid for an hour; put any origin before it that forwards to `origin`. */
  sign(grant: Grant): string;
  stop(): Promise<void>;
}

/** What a signed URL allows. */
export interface Grant {
  readonly blob: string;
  /** Letters in the order `racwd`. */
  readonly permissions: string;
  /** Overrides what a download's headers say. */
  readonly contentDisposition?: string;
  readonly contentType?: string;
}

const account = 'standin';
const container = 'artifacts';
const version = '2021-12-02';

/** Starts azurite as a child process, which ends with this process whatever happens to it. */
export async function startBlobServer(): Promise<BlobServer> {
  const key = randomBytes(64);
  const child = spawnAzurite(key);
  const origin = await listeningAt(child);
  const response = await fetch(
    `${origin}/${account}/${container}?restype=container&${accountSignature(key)}`,
    {
      method: 'PUT',
      headers: {'x-ms-version': version},
    },
  );
  if (response.status !== 201)
    throw new Error(`azurite made no container: ${response.status} ${await response.text()}`);
  return {
    origin,
    account,
    sign: (grant) => `/${account}/${container}/${grant.blob}?${blobSignature(grant, key)}`,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

function spawnAzurite(key: Buffer): ChildProcess {
  const program = createRequire(import.meta.url).resolve('azurite/dist/src/blob/main.js');
  // Its standard input ends when we do, even after SIGKILL.
  const script = "process.stdin.resume().on('end', () => process.exit()); require(process.argv[1]);";
  const options = [
    '--blobPort',
    '0',
    '--inMemoryPersistence',
    '--disableTelemetry',
    '--skipApiVersionCheck',
    '--silent',
  ];
  return spawn(process.execPath, ['-e', script, program, ...options], {
    cwd: tmpdir(),
    env: {PATH: process.env.PATH, AZURITE_ACCOUNTS: `${account}:${key.toString('base64')}`},
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

function listeningAt(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      const origin = /successfully listens on (http:\S+)/.exec(output)?.[1];
      if (origin !== undefined) resolve(origin);
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`azurite ended: ${output}`)));
  });
}

/** https://learn.microsoft.com/rest/api/storageservices/create-service-sas */
function blobSignature(
  {blob, permissions, contentDisposition = '', contentType = ''}: Grant,
  key: Buffer,
): string {
  const expiry = inAnHour();
  const resource = `/blob/${account}/${container}/${blob}`;
  const empty = ['', '', '']; // identifier, IP range, protocol
  const overrides = ['', contentDisposition, '', '', contentType];
  const signed = [permissions, '', expiry, resource, ...empty, version, 'b', '', '', ...overrides];
  const query = new URLSearchParams({
    sp: permissions,
    se: expiry,
    sv: version,
    sr: 'b',
    sig: hmac(signed, key),
  });
  if (contentDisposition !== '') query.set('rscd', contentDisposition);
  if (contentType !== '') query.set('rsct', contentType);
  // "+" for a blank is HTML's way and not Azure's.
  return query.toString().replaceAll('+', '%20');
}

/** https://learn.microsoft.com/rest/api/storageservices/create-account-sas */
function accountSignature(key: Buffer): string {
  const expiry = inAnHour();
  const signed = [account, 'rwc', 'b', 'c', '', expiry, '', '', version, '', ''];
  const sig = hmac(signed, key);
  return new URLSearchParams({sv: version, ss: 'b', srt: 'c', sp: 'rwc', se: expiry, sig}).toString();
}

function inAnHour(): string {
  return new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+Z$/, 'Z');
}

function hmac(parts: readonly string[], key: Buffer): string {
  return createHmac('sha256', key).update(parts.join('\n'), 'utf8').digest('base64');
}
