import {once} from 'node:events';
import {request as httpRequest, type IncomingMessage, type ServerResponse} from 'node:http';
import {buffer} from 'node:stream/consumers';
import {pipeline} from 'node:stream/promises';
import {setTimeout as sleep} from 'node:timers/promises';
import type {BlobServer} from './azurite.js';
import type {FaultKind} from './results-faults.js';

/** A request and what it is answered with. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Longer than any client waits for a first byte without a thought. */
const slowMilliseconds = 3000;

/** Where blobs are, and the requests that are never answered. */
export interface SpoilOptions {
  readonly blobs: BlobServer;
  readonly hung: Set<IncomingMessage>;
}

/** Tells whether the request is done with; one that is slow is answered after all. */
export async function spoil(
  fault: FaultKind,
  {request, response}: Exchange,
  {blobs, hung}: SpoilOptions,
): Promise<boolean> {
  const say = (status: number, msg: string): true => {
    request.resume();
    response
      .writeHead(status, {'content-type': 'application/json'})
      .end(JSON.stringify({code: 'fault', msg, message: msg}));
    return true;
  };
  switch (fault) {
    case 'unavailable':
      return say(503, 'the stand-in was told to be unavailable');
    case 'failing':
      return say(500, 'the stand-in was told to fail');
    case 'rate-limited':
      return say(429, 'API rate limit exceeded');
    case 'forbidden':
      return say(403, 'Resource not accessible by integration');
    // Both texts as GitHub words them: the second is what @actions/artifact takes for a full storage.
    case 'name-taken':
      return say(409, 'an artifact with this name already exists on the workflow run');
    case 'quota':
      return say(403, 'insufficient usage to create artifact');
    case 'reset':
      request.socket.resetAndDestroy();
      return true;
    case 'slow':
      await sleep(slowMilliseconds);
      return false;
    case 'hang':
      hung.add(request);
      return true;
    case 'cut':
      await cut({request, response}, blobs);
      return true;
    case 'corrupt':
      await corrupt({request, response}, blobs);
      return true;
    default:
      return fault satisfies never;
  }
}

async function cut({request, response}: Exchange, blobs: BlobServer): Promise<void> {
  if (request.method === 'PUT') {
    const half = Number(request.headers['content-length'] ?? 0) / 2;
    let received = 0;
    for await (const chunk of request) {
      received += (chunk as Buffer).length;
      if (received >= half) break;
    }
    request.socket.destroy();
    return;
  }
  const {status, headers, body} = await whole(request, blobs);
  response.writeHead(status, headers);
  response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy());
}

async function corrupt({request, response}: Exchange, blobs: BlobServer): Promise<void> {
  const {status, headers, body} = await whole(request, blobs);
  body[0] = ~(body[0] ?? 0) & 0xff;
  response.writeHead(status, headers).end(body);
}

/** Passes a request on as it came: signatures do not cover the host. */
export async function forward({request, response}: Exchange, blobs: BlobServer): Promise<void> {
  const outgoing = send(request, blobs);
  const [answered] = await Promise.all([
    once(outgoing, 'response').then(([incoming]) => incoming as IncomingMessage),
    pipeline(request, outgoing),
  ]);
  response.writeHead(answered.statusCode ?? 500, answered.headers);
  await pipeline(answered, response);
}

async function whole(request: IncomingMessage, blobs: BlobServer) {
  const outgoing = send(request, blobs);
  outgoing.end();
  const [answered] = (await once(outgoing, 'response')) as [IncomingMessage];
  return {status: answered.statusCode ?? 500, headers: answered.headers, body: await buffer(answered)};
}

function send({url, method, headers}: IncomingMessage, blobs: BlobServer) {
  const {host} = new URL(blobs.origin);
  return httpRequest(new URL(url ?? '/', blobs.origin), {
    method: method ?? 'GET',
    headers: {...headers, host},
    agent: false,
  });
}
