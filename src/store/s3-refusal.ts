import {UserError} from '../errors.js';
import {addressOf, type S3Location} from './s3-location.js';

/** The permissions that this action uses. */
export type S3Action =
  | 's3:ListBucket'
  | 's3:ListBucketMultipartUploads'
  | 's3:GetObject'
  | 's3:PutObject'
  | 's3:DeleteObject'
  | 's3:AbortMultipartUpload';

/** What was tried, and where. */
export interface Attempted {
  /** The beginning of the message: `s3://bucket could not be listed`. */
  readonly what: string;
  readonly action: S3Action;
  readonly location: S3Location;
}

/** A failure as the store, or the network on the way there, names it. */
export interface Refusal {
  /** The store's error code (`NoSuchBucket`) or the system's (`ECONNREFUSED`). */
  readonly code: string;
  readonly status: number | undefined;
  /** The region that the store says the bucket is in. */
  readonly region: string | undefined;
  readonly message: string;
}

/** Reads what the AWS SDK throws. */
export function refusalOf(thrown: unknown): Refusal {
  const error = record(thrown);
  const response = record(error.$response);
  const headers = record(response.headers);
  // A wrapper of the SDK hides the system's code in its cause; an AggregateError in its first error.
  const inner = record(error.cause ?? (Array.isArray(error.errors) ? error.errors[0] : undefined));
  const status = record(error.$metadata).httpStatusCode;
  const code = [error.Code, error.code, inner.code, error.name].find((one) => typeof one === 'string');
  const message = [error.message, inner.message].find((one) => one !== '' && one !== 'UnknownError');
  const region = error.Region ?? headers['x-amz-bucket-region'];
  return {
    code: String(code ?? 'Error'),
    status: typeof status === 'number' ? status : undefined,
    region: typeof region === 'string' ? region : undefined,
    message: typeof message === 'string' ? message : '',
  };
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The UserError for what the AWS SDK threw; a UserError stays as it is. */
export function explainS3(thrown: unknown, attempted: Attempted): UserError {
  if (thrown instanceof UserError) return thrown;
  const refusal = refusalOf(thrown);
  const said = refusal.message === '' ? refusal.code : `${refusal.code}: ${refusal.message}`;
  return new UserError(`${attempted.what}. ${said}`, cureOf(refusal, attempted));
}

type Cure = (refusal: Refusal, attempted: Attempted) => string;

/** The first row whose pattern fits the code is taken. */
const cures: readonly (readonly [RegExp, Cure])[] = [
  [
    /^NoSuchBucket$/,
    (_, {location: {bucket}}) =>
      `Correct storage, or make the bucket: aws s3api create-bucket --bucket ${bucket}`,
  ],
  [/^InvalidBucketName$/, () => 'Correct the bucket in storage: s3://bucket/prefix.'],
  [/^KMS\.|^InvalidEncryptionAlgorithm|^ServerSideEncryption/, () => cureOfKey],
  [/^(AccessDenied|AccessDeniedException|AllAccessDisabled|AccountProblem|Forbidden|403)$/, cureOfDenial],
  [
    /^InvalidAccessKeyId$/,
    () =>
      'The store does not know the access key. Correct AWS_ACCESS_KEY_ID in env, or s3-endpoint, if it belongs to another store.',
  ],
  [
    /^SignatureDoesNotMatch$/,
    () => 'The secret key is not that of the access key. Correct AWS_SECRET_ACCESS_KEY in env.',
  ],
  [
    /^(ExpiredToken|ExpiredTokenException|TokenRefreshRequired|InvalidToken|RequestExpired)$/,
    () =>
      'The temporary credentials are over. Run aws-actions/configure-aws-credentials right before this step, and give it role-duration-seconds that is longer than the backup takes.',
  ],
  [
    /^(PermanentRedirect|AuthorizationHeaderMalformed|TemporaryRedirect|IllegalLocationConstraintException|301|MovedPermanently)$/,
    ({region}) => `Set the bucket's region in the step: env: AWS_REGION: ${region ?? 'eu-central-1'}`,
  ],
  [
    /^(RequestTimeTooSkewed|RequestInTheFuture)$/,
    () => 'The clock of this machine is wrong by more than 15 minutes. Set it: timedatectl set-ntp true',
  ],
  [
    /^(CredentialsProviderError|CredentialsError|TokenProviderError|ENOCREDENTIALS)$/,
    () => cureOfNoCredentials,
  ],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+|CERT_\w+|ERR_TLS_\w+|EPROTO|ERR_SSL_\w+)$/,
    () =>
      'The certificate of the store is not trusted, or is not for this name. Give its authority to the step: env: NODE_EXTRA_CA_CERTS: /path/to/ca.pem. For a store without TLS write http:// in s3-endpoint.',
  ],
  [
    /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EPIPE|TimeoutError)$/,
    () =>
      'The store cannot be reached. Check s3-endpoint (https://host:port, without the bucket), HTTPS_PROXY and NO_PROXY, and that this runner may reach it. With a store whose bucket is no part of its host name, set s3-path-style: true.',
  ],
  [
    /^(EntityTooLarge|QuotaExceeded|QuotaExceededException|ServiceQuotaExceededException|XMinioStorageFull|XMinioAdminBucketQuotaExceeded|InsufficientStorage|InsufficientCapacity|StorageFull|507)$/,
    () => 'The store has no room for it: delete old backups there, or raise the quota of the bucket.',
  ],
  [
    /^(SlowDown|ServiceUnavailable|RequestLimitExceeded|TooManyRequests|ThrottlingException|InternalError|503|500|502|504)$/,
    () => 'The store is overloaded, and was tried again several times. Run the step again later.',
  ],
  [/^InvalidStorageClass$/, () => 'Set s3-storage-class to one that the store has, or leave it out.'],
  [
    /^InvalidObjectState$/,
    (_, {location}) =>
      `The object is archived. Bring it back first: aws s3api restore-object --bucket ${location.bucket} --restore-request Days=2 --key <each key under ${addressOf(location)}>`,
  ],
  [
    /^(BadDigest|XAmzContentSHA256Mismatch|InvalidDigest|IncompleteBody|RequestTimeout)$/,
    () => 'The data arrived damaged, or not whole, at the store. Run the step again.',
  ],
  [
    /^PreconditionFailed$|^412$|^InvalidRange$|^416$/,
    () =>
      'Somebody replaced the object while it was read. Restore another backup, and find out who may write there: a file of a backup never changes.',
  ],
  [/^NoSuchKey$|^NotFound$|^404$/, () => 'It was removed meanwhile. Restore another backup.'],
  [
    /^NotImplemented$/,
    () =>
      'The store does not have what it was asked for. Leave out s3-storage-class and s3-server-side-encryption.',
  ],
  [
    /^Invalid(Argument|Request)$/,
    () =>
      'Check s3-storage-class, s3-server-side-encryption and s3-kms-key-id: not every store has each of them.',
  ],
];

/** The codes that have a cure, for docs/troubleshooting.md to be held to. */
export const knownCodes: readonly RegExp[] = cures.map(([pattern]) => pattern);

const cureOfKey =
  'Check s3-server-side-encryption and s3-kms-key-id, and that the role may use the key: Action: kms:GenerateDataKey and kms:Decrypt in the policy of the role or of the key.';

const cureOfNoCredentials = [
  'Give the job credentials in a step before this one:',
  '- uses: aws-actions/configure-aws-credentials@v6',
  '  with: {role-to-assume: "arn:aws:iam::123456789012:role/backup", aws-region: eu-central-1}',
  'with permissions: id-token: write; or set env: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from secrets in this step.',
].join('\n');

function cureOf(refusal: Refusal, attempted: Attempted): string {
  const ofStatus = String(refusal.status ?? '');
  const cure =
    cures.find(([pattern]) => pattern.test(refusal.code)) ??
    cures.find(([pattern]) => ofStatus !== '' && pattern.test(ofStatus));
  if (cure !== undefined) return cure[1](refusal, attempted);
  return 'Run the step again. If it fails again, look into the log of the store.';
}

function cureOfDenial({message}: Refusal, {action, location}: Attempted): string {
  // AWS names the action that was missing, which may be the key's.
  const named = /(?:perform|action)[: ]+(\w+:\w+)/.exec(message)?.[1] ?? action;
  if (named.startsWith('kms:')) return cureOfKey;
  return `Give the role this statement (a policy of the bucket, too, can forbid it):\n${statementFor(named, location)}`;
}

/** A statement of an IAM policy that allows one action on the place where backups are. */
export function statementFor(action: string, {bucket, prefix}: S3Location): string {
  const isOfBucket = action.startsWith('s3:List');
  const resource = isOfBucket ? `arn:aws:s3:::${bucket}` : `arn:aws:s3:::${bucket}/${prefix}*`;
  return JSON.stringify({Effect: 'Allow', Action: action, Resource: resource});
}

/** The refusal of a name that is in use, as `key` shows. */
export function nameTaken({bucket, prefix}: S3Location, key: string): UserError {
  const name = key.slice(prefix.length).replace(/\/.*$|\.(json|claim)$/, '');
  const address = `s3://${bucket}/${prefix}${name}`;
  return new UserError(
    `s3://${bucket}/${key} exists already, and nothing is overwritten.`,
    'Put the time into backup-name (basebackup-%Y%m%d-%H%M%S). What a run left that was killed is removed with: ' +
      `aws s3 rm --recursive ${address}/ && aws s3 rm ${address}.claim`,
  );
}
