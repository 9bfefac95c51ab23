import {resolve} from 'node:path';
import {latestVerified} from '../backup-set/naming.js';
import {isS3Url, parseS3Url, problemOfS3Url, type S3Location} from '../store/s3-location.js';
import {needsTokenToAttest} from './provenance.js';
import type {InputReader} from './reader.js';
import {keepInputs} from './retention.js';
import type {RunContext} from './run-context.js';

/** A place in an object store, and how it is reached and written. */
export interface S3Request {
  readonly location: S3Location;
  readonly endpoint?: string;
  readonly pathStyle?: boolean;
  readonly encryption?: Encryption;
  readonly kmsKeyId?: string;
  readonly storageClass?: string;
}

const encryptions = ['AES256', 'aws:kms', 'aws:kms:dsse'] as const;
type Encryption = (typeof encryptions)[number];

/** The inputs that say how objects are kept, for backup mode alone. */
export const keepingInputs = ['s3-server-side-encryption', 's3-kms-key-id', 's3-storage-class'] as const;

/** The inputs that say how an object store is reached. */
export const endpointInputs = ['s3-endpoint', 's3-path-style'] as const;

const artifactInputs = [
  'retention-days',
  'artifact-part-size',
  'run-id',
  'repository',
  'allow-public-plaintext',
] as const;

/** Where backups are kept, and which run's artifacts are meant. */
export type StorageRequest =
  | {readonly kind: 'directory'; readonly directory: string}
  | ({readonly kind: 's3'} & S3Request)
  | {
      readonly kind: 'artifact';
      readonly retentionDays?: number;
      /** Files of larger backups are cut into parts of this size; undefined: none is. */
      readonly partBytes?: number;
      readonly runId?: number | 'latest';
      readonly repository?: {readonly owner: string; readonly name: string};
      readonly token?: string;
    };

/** Reads the inputs that say where backups are kept. */
export function readStorage(
  reader: InputReader,
  {workspace}: RunContext,
  mode: 'backup' | 'restore' | 'verify',
): StorageRequest {
  const directory = resolve(workspace, reader.text('directory') ?? 'backups');
  const s3 = readS3(reader);
  if (s3 !== undefined) {
    refuseArtifactInputs(reader);
    return {kind: 's3', ...s3};
  }
  const kind = reader.choice('storage', ['artifact', 'directory', 's3://bucket/prefix'], 'artifact');
  refuseAll(
    reader,
    [...endpointInputs, ...(mode === 'backup' ? keepingInputs : [])],
    'it is used with storage: s3://bucket/prefix only',
  );
  const artifact = {
    kind: 'artifact',
    ...(mode === 'backup' ? readKept(reader, kind) : readWhere(reader, kind)),
  } as const;
  if (kind === 'artifact') return artifact;
  refuseArtifactInputs(reader);
  return {kind: 'directory', directory};
}

function refuseArtifactInputs(reader: InputReader): void {
  refuseAll(reader, artifactInputs, 'it is used with storage: artifact only');
  if (!needsTokenToAttest(reader))
    refuseAll(
      reader,
      ['github-token'],
      'it is used with storage: artifact, attest or require-attestation only',
    );
}

function refuseAll(reader: InputReader, names: readonly string[], problem: string): void {
  for (const name of names) if (reader.text(name) !== undefined) reader.reject(name, problem);
}

/** Undefined when another kind of storage is meant. */
function readS3(reader: InputReader): S3Request | undefined {
  const storage = reader.text('storage') ?? '';
  if (!isS3Url(storage)) return undefined;
  const problem = problemOfS3Url(storage);
  if (problem !== undefined) reader.reject('storage', `${JSON.stringify(storage)} ${problem}`);
  const endpoint = reader.matching(
    's3-endpoint',
    /^https?:\/\/[^/?#@\s]+(\/[^?#@\s]*)?$/,
    'an address such as https://minio.example.com:9000',
  );
  const pathStyle = reader.text('s3-path-style') && reader.flag('s3-path-style', true);
  return {
    location: parseS3Url(storage),
    ...(endpoint !== undefined && {endpoint}),
    ...(typeof pathStyle === 'boolean' && {pathStyle}),
    ...readKeeping(reader),
  };
}

function readKeeping(reader: InputReader): Pick<S3Request, 'encryption' | 'kmsKeyId' | 'storageClass'> {
  const wanted = reader.text('s3-server-side-encryption');
  const encryption = encryptions.find((one) => one === wanted);
  if (wanted !== undefined && encryption === undefined) {
    const problem = `${JSON.stringify(wanted)} is not one of ${encryptions.join(', ')}`;
    reader.reject('s3-server-side-encryption', problem);
  }
  const kmsKeyId = reader.matching('s3-kms-key-id', /^[\w:/.-]{1,2048}$/, 'the id, ARN or alias of a key');
  if (kmsKeyId !== undefined && !encryption?.startsWith('aws:kms'))
    reader.reject('s3-kms-key-id', 'it is used with s3-server-side-encryption: aws:kms or aws:kms:dsse only');
  const storageClass = reader.matching(
    's3-storage-class',
    /^[A-Z][A-Z0-9_-]{0,40}$/,
    'the name of a storage class, such as STANDARD_IA',
  );
  return {
    ...(encryption !== undefined && {encryption}),
    ...(kmsKeyId !== undefined && {kmsKeyId}),
    ...(storageClass !== undefined && {storageClass}),
  };
}

type ArtifactRequest = Partial<Extract<StorageRequest, {kind: 'artifact'}>>;

function readKept(reader: InputReader, kind: string): ArtifactRequest {
  const retentionDays = reader.integer('retention-days', {min: 1, max: 400});
  const token = reader.text('github-token');
  const isPruning = keepInputs.some((name) => reader.text(name) !== undefined);
  if (kind === 'artifact' && isPruning && token === undefined) {
    reader.reject(
      'github-token',
      'it is not set, and keep-* needs it to delete artifacts: ${{ github.token }}, with permissions: actions: write',
    );
  }
  const partBytes = readPartSize(reader);
  return {
    ...(retentionDays !== undefined && {retentionDays}),
    ...(partBytes !== undefined && {partBytes}),
    ...(token !== undefined && {token}),
  };
}

const bytesOf = {MiB: 2 ** 20, GiB: 2 ** 30} as const;
/** What the client sends at a time (@actions/artifact 6.2.1), and what it can send as one artifact. */
const [leastPartBytes, mostPartBytes] = [8 * bytesOf.MiB, 390 * bytesOf.GiB];

function readPartSize(reader: InputReader): number | undefined {
  const name = 'artifact-part-size';
  const allowed = 'none, or a size from 8MiB to 390GiB';
  const text = reader.matching(name, /^(none|\d{1,6}[MG]iB)$/, allowed) ?? '1GiB';
  if (text === 'none') return undefined;
  const bytes = Number(text.slice(0, -3)) * bytesOf[text.slice(-3) as keyof typeof bytesOf];
  if (bytes < leastPartBytes || bytes > mostPartBytes)
    reader.reject(name, `${JSON.stringify(text)} is not ${allowed}`);
  return bytes;
}

function readWhere(reader: InputReader, kind: string): ArtifactRequest {
  const runId = reader.matching('run-id', /^(latest|\d{1,15})$/, 'latest or the number of a run');
  const repository = reader.matching('repository', /^[\w.-]+\/[\w.-]+$/, 'owner/name');
  const token = reader.text('github-token');
  const isVerified = kind === 'artifact' && reader.text('backup-name') === latestVerified;
  if ((runId !== undefined || isVerified) && token === undefined) {
    const what = isVerified ? `backup-name: ${latestVerified}` : 'run-id';
    reader.reject(
      'github-token',
      `it is not set, and ${what} needs it: \${{ github.token }}, with permissions: actions: read`,
    );
  }
  if (isVerified && runId !== undefined && runId !== 'latest')
    reader.reject(
      'run-id',
      `backup-name: ${latestVerified} looks in all runs: leave it out, or write latest`,
    );
  if (repository !== undefined && runId === undefined) {
    reader.reject('run-id', 'it is not set, and repository needs it: latest or the number of a run');
  }
  const [owner = '', name = ''] = repository?.split('/') ?? [];
  return {
    ...(runId !== undefined && {runId: runId === 'latest' ? runId : Number(runId)}),
    ...(repository !== undefined && {repository: {owner, name}}),
    ...(token !== undefined && {token}),
  };
}
