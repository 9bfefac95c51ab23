import {Agent as HttpAgent} from 'node:http';
import {Agent as HttpsAgent} from 'node:https';
import {S3Client} from '@aws-sdk/client-s3';
import {addressOf, type S3Location} from './s3-location.js';
import {explainS3, type S3Action} from './s3-refusal.js';

/** How an object store is reached. */
export interface S3Endpoint {
  /** Undefined: what the environment says (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`), else AWS. */
  readonly endpoint?: string | undefined;
  /** Undefined: with every endpoint but those of AWS. */
  readonly pathStyle?: boolean | undefined;
}

/** A bucket, and the place in it where backups are. */
export interface Bucket {
  /** Gives up early: for the first request, which shows whether the store can be reached at all. */
  readonly client: S3Client;
  /** Tries for about half a minute: for files, of which hours of work may depend. */
  readonly patient: S3Client;
  readonly location: S3Location;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

const connectMilliseconds = 10_000;
const idleMilliseconds = 30_000;

/** Opens a bucket; nothing is sent yet. Credentials are looked for where the AWS SDK always does. */
export function openBucket(location: S3Location, endpoint: S3Endpoint, signal: AbortSignal): Bucket {
  return {location, signal, client: connect(endpoint, 4), patient: connect(endpoint, 10)};
}

function connect({endpoint, pathStyle}: S3Endpoint, maxAttempts: number): S3Client {
  const {env} = process;
  const isElsewhere = Boolean(endpoint ?? env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL);
  // The environment's HTTPS_PROXY and NO_PROXY; Node 24 reads them for whoever asks.
  const agent = {keepAlive: true, maxSockets: 32, proxyEnv: env};
  return new S3Client({
    ...(endpoint !== undefined && {endpoint}),
    // Other makes take any. AWS tells the right one, and the client follows.
    region: env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? 'us-east-1',
    followRegionRedirects: true,
    forcePathStyle: pathStyle ?? isElsewhere,
    maxAttempts,
    // A store that does not answer it would make every part wait for 6 s.
    expectContinueHeader: false,
    // Asked for with each request, if the store takes them.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    // What is fetched is compared with the SHA-256 of the metadata; not every store knows the header that asks for this.
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: connectMilliseconds,
      socketTimeout: idleMilliseconds,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent(agent),
    },
  });
}

/** What is done with a bucket, for the message of a failure. */
export interface Doing {
  /** Completes "... could not be ...": `s3://bucket/nightly could not be read`. */
  readonly what: string;
  /** The permission that it needs. */
  readonly action: S3Action;
}

/** Does something with a bucket. Throws a UserError with the cure, or the signal's reason when the run is cancelled. */
export async function explained<T>(
  {location, signal}: Bucket,
  {what, action}: Doing,
  work: () => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  try {
    return await work();
  } catch (thrown) {
    signal.throwIfAborted();
    throw explainS3(thrown, {what, action, location});
  }
}

/** `s3://bucket/prefix`, for people. */
export function addressOfBucket({location}: Bucket): string {
  return addressOf(location);
}

/** GitHub kills a cancelled step 10 seconds after SIGINT. */
export function patienceMilliseconds(signal: AbortSignal): number {
  return signal.aborted ? 2500 : 15_000;
}
