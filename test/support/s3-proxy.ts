import {once} from 'node:events';
import {
  type ClientRequest,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import {buffer} from 'node:stream/consumers';
import {setTimeout as sleep} from 'node:timers/promises';
import {describeRequest, type Operation, type SeenRequest} from './s3-request.js';

/**
 * How a request goes wrong: an answer with an error code; a connection that is cut after so many bytes of the body,
 * on its way up or down, or after a share of it (0 to 1), which the store has seen by then; a request that is never
 * answered; one whose answer is lost after the store did it; a byte that is changed on its way.
 */
export type Fault =
  | {readonly kind: 'refuse'; readonly status: number; readonly code: string; readonly message?: string}
  | {readonly kind: 'cut'; readonly afterBytes: number}
  | {readonly kind: 'cut-midway'; readonly share: number}
  | {readonly kind: 'hang'}
  | {readonly kind: 'lose-answer'}
  | {readonly kind: 'corrupt'}
  | {readonly kind: 'delay'; readonly milliseconds: number};

/** Which requests go wrong. */
export interface Where {
  /** Undefined: any. */
  readonly at?: Operation;
  /** Only where the key ends so. */
  readonly key?: string;
  /** How many of them go well first. */
  readonly after?: number;
  /** How often; undefined: until it is cleared. */
  readonly times?: number;
}

/** Stands in front of an object store on a loopback port, and spoils what it is told to. */
export interface S3Proxy {
  readonly origin: string;
  readonly seen: readonly SeenRequest[];
  spoil(where: Where, fault: Fault): void;
  /** Changes the text of the answers to a kind of request, as a store of another make or age would word it. */
  rewrite(at: Operation, change: (body: string) => string): void;
  /** Forgets what was seen, and spoils nothing more. */
  clear(): void;
  stop(): Promise<void>;
}

interface Spoiling {
  readonly where: Where;
  readonly fault: Fault;
  toGoWell: number;
  left: number;
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly origin: string;
}

/** Starts a proxy for the store at `origin`. Signatures cover the host, which is therefore passed on as it came. */
export async function startS3Proxy(origin: string): Promise<S3Proxy> {
  const seen: SeenRequest[] = [];
  const spoilings: Spoiling[] = [];
  const changes = new Map<Operation, (body: string) => string>();
  const server = createServer((request, response) => {
    response.on('error', () => undefined);
    const one = describeRequest(request);
    seen.push(one);
    const spoiling = spoilings.find((spoiling) => strikes(spoiling, one));
    const exchange = {request, response, origin};
    const change = changes.get(one.operation);
    const work = spoiling ? spoil(spoiling.fault, exchange) : forward(exchange, change && {answer: change});
    work.catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The proxy has no port.');
  return {
    origin: `http://127.0.0.1:${address.port}`,
    seen,
    spoil: (where, fault) =>
      void spoilings.push({where, fault, toGoWell: where.after ?? 0, left: where.times ?? Infinity}),
    rewrite: (at, change) => void changes.set(at, change),
    clear: () => {
      seen.length = 0;
      spoilings.length = 0;
      changes.clear();
    },
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function strikes(spoiling: Spoiling, {operation, key}: SeenRequest): boolean {
  const {at = operation, key: end = ''} = spoiling.where;
  if (spoiling.left === 0 || at !== operation || !key.endsWith(end)) return false;
  if (spoiling.toGoWell > 0) {
    spoiling.toGoWell -= 1;
    return false;
  }
  spoiling.left -= 1;
  return true;
}

async function spoil(fault: Fault, exchange: Exchange): Promise<void> {
  const {request, response} = exchange;
  switch (fault.kind) {
    case 'refuse':
      await buffer(request);
      response
        .writeHead(fault.status, {'content-type': 'application/xml'})
        .end(request.method === 'HEAD' ? undefined : errorBody(fault));
      return;
    case 'cut':
      return cut(fault.afterBytes, exchange);
    case 'cut-midway':
      return cutMidway(fault.share, exchange);
    case 'hang':
      request.resume();
      return;
    case 'lose-answer':
      await answerOf(exchange, await buffer(request));
      request.socket.destroy();
      return;
    case 'corrupt':
      return forward(exchange, {corrupt: true});
    case 'delay':
      await sleep(fault.milliseconds);
      return forward(exchange);
    default:
      fault satisfies never;
  }
}

function errorBody({code, message = 'as the test wants'}: {code: string; message?: string}): string {
  return `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message><RequestId>1</RequestId></Error>`;
}

async function cut(afterBytes: number, exchange: Exchange): Promise<void> {
  const {request, response} = exchange;
  if (request.method === 'PUT') {
    let received = 0;
    for await (const chunk of request) {
      received += (chunk as Buffer).length;
      if (received >= afterBytes) break;
    }
    request.socket.destroy();
    return;
  }
  const {status, headers, body} = await answerOf(exchange, await buffer(request));
  response.writeHead(status, headers);
  response.write(body.subarray(0, afterBytes), () => response.destroy());
}

async function cutMidway(share: number, exchange: Exchange): Promise<void> {
  const {request, response} = exchange;
  const sent = await buffer(request);
  const passed = sent.subarray(0, Math.floor(sent.length * share));
  if (passed.length < sent.length) {
    const outgoing = begin(exchange);
    // With no byte of the body, the store has seen its head.
    await new Promise<void>((resolve) => outgoing.write(passed, () => resolve()));
    outgoing.destroy();
  } else {
    const {status, headers, body} = await answerOf(exchange, sent);
    const told = body.subarray(0, Math.floor(body.length * share));
    // An answer that has no body is lost as a whole.
    if (told.length > 0) {
      response.writeHead(status, headers);
      await new Promise<void>((resolve) => response.write(told, () => resolve()));
    }
  }
  request.socket.destroy();
}

async function forward(
  exchange: Exchange,
  {answer, corrupt = false}: {answer?: (body: string) => string; corrupt?: boolean} = {},
): Promise<void> {
  const {request, response} = exchange;
  const sent = await buffer(request);
  if (corrupt && sent.length > 0) flip(sent);
  const {status, headers, body} = await answerOf(exchange, sent);
  if (corrupt && sent.length === 0) flip(body);
  const shown = answer === undefined ? body : Buffer.from(answer(body.toString('utf8')));
  const length = request.method === 'HEAD' ? {} : {'content-length': String(shown.length)};
  response.writeHead(status, {...headers, ...length});
  response.end(request.method === 'HEAD' ? undefined : shown);
}

function flip(bytes: Buffer): void {
  bytes[0] = ~(bytes[0] ?? 0) & 0xff;
}

function begin({request, origin}: Exchange): ClientRequest {
  const {method = 'GET', url = '/', headers} = request;
  const {expect: _, connection: __, ...rest} = headers;
  // A store that refuses may close before it has read all; its answer is what counts.
  return httpRequest(new URL(url, origin), {method, headers: rest, agent: false}).on(
    'error',
    () => undefined,
  );
}

async function answerOf(exchange: Exchange, body: Buffer) {
  const outgoing = begin(exchange).end(body);
  const [answered] = (await once(outgoing, 'response')) as [IncomingMessage];
  const {'transfer-encoding': _, connection: __, ...kept} = answered.headers;
  return {status: answered.statusCode ?? 500, headers: kept, body: await buffer(answered)};
}
