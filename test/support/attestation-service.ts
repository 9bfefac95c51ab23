import {
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  randomUUID,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {createServer, type IncomingMessage} from 'node:http';
import {createServer as createTlsServer} from 'node:https';
import type {AddressInfo, Socket} from 'node:net';
import {join} from 'node:path';
import {onTestFinished} from 'vitest';
import {createAuthority} from './tls.js';
import type {Workspace} from './workspace.js';

/** What a request to GitHub carried. */
export interface SeenRequest {
  readonly host: string;
  readonly method: string;
  readonly url: URL;
  readonly authorization: string | undefined;
  readonly body: unknown;
}

/** The part of an attestation that GitHub is sent, its signature found to be good. */
export interface StoredAttestation {
  readonly repository: string;
  readonly authorization: string | undefined;
  readonly statement: {
    readonly _type: string;
    readonly subject: readonly {readonly name: string; readonly digest: {readonly sha256: string}}[];
    readonly predicateType: string;
    readonly predicate: {
      readonly buildDefinition: {readonly externalParameters: {readonly workflow: object}};
      readonly runDetails: {readonly metadata: {readonly invocationId: string}};
    };
  };
}

/** What a bundle of Sigstore holds here (https://github.com/sigstore/protobuf-specs, sigstore_bundle.proto). */
interface Bundle {
  readonly dsseEnvelope: {
    readonly payload: string;
    readonly payloadType: string;
    readonly signatures: readonly {readonly sig: string}[];
  };
}

/** GitHub and its certificate authority, as a step of a private repository reaches them. */
export interface AttestationService {
  /** For the step's environment: by way of a proxy, and with this authority's certificate. */
  readonly env: Readonly<Record<string, string>>;
  readonly requests: readonly SeenRequest[];
  readonly stored: readonly StoredAttestation[];
  /** Has GitHub refuse to store attestations from now on. */
  refuse(status: number, message: string): void;
}

interface Answer {
  readonly status: number;
  readonly body: Buffer | object;
}

const hosts = {
  issuer: 'token.actions.githubusercontent.com',
  tokens: 'pipelines.actions.githubusercontent.com',
  authority: 'fulcio.githubapp.com',
  timestamps: 'timestamp.githubapp.com',
  rest: 'api.github.com',
} as const;

/**
 * Answers for the hosts that \@actions/attest speaks to. Their names are fixed in it, so that the step gets there as it
 * would in a company's network: by a proxy, and by an authority that is trusted besides (NODE_EXTRA_CA_CERTS).
 */
export async function startAttestationService(home: Workspace): Promise<AttestationService> {
  const authority = createAuthority(join(home.root, 'authority'));
  const names = Object.values(hosts).map((host) => `DNS:${host}`);
  const {certificate, key} = authority.sign('github', {subjectAltName: names.join(',')});
  const github = new GitHub(new X509Certificate(readFileSync(certificate)).toString());
  const tls = createTlsServer(
    {cert: readFileSync(certificate), key: readFileSync(key)},
    async (request, response) => {
      const {status, body} = github.answer(await readRequest(request));
      const isBinary = Buffer.isBuffer(body);
      response.writeHead(status, {
        'content-type': isBinary ? 'application/timestamp-reply' : 'application/json',
      });
      response.end(isBinary ? body : JSON.stringify(body));
    },
  );
  const proxy = createServer();
  const sockets = new Set<Socket>();
  proxy.on('connect', (_request, socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    tls.emit('connection', socket);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const {port} = proxy.address() as AddressInfo;
  return {
    env: {
      HTTPS_PROXY: `http://127.0.0.1:${port}`,
      NO_PROXY: '127.0.0.1',
      NODE_EXTRA_CA_CERTS: authority.certificate,
      ACTIONS_ID_TOKEN_REQUEST_URL: `https://${hosts.tokens}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request-token',
    },
    requests: github.requests,
    stored: github.stored,
    refuse: (status, message) => {
      github.refusal = {status, body: {message}};
    },
  };
}

async function readRequest(request: IncomingMessage): Promise<SeenRequest> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  const {method = '', headers, url = '/'} = request;
  const {host = '', authorization} = headers;
  const text = Buffer.concat(pieces).toString();
  const body: unknown = text === '' ? undefined : JSON.parse(text);
  return {host, method, url: new URL(url, `https://${host}`), authorization, body};
}

class GitHub {
  readonly requests: SeenRequest[] = [];
  readonly stored: StoredAttestation[] = [];
  refusal: Answer | undefined;
  readonly #certificate: string;
  readonly #keys = generateKeyPairSync('rsa', {modulusLength: 2048});
  readonly #keyId = randomUUID();
  #signerKey = '';

  constructor(certificate: string) {
    this.#certificate = certificate;
  }

  answer(request: SeenRequest): Answer {
    this.requests.push(request);
    switch (request.host) {
      case hosts.tokens:
        return this.#idToken(request);
      case hosts.issuer:
        return this.#issuer(request);
      case hosts.authority:
        return this.#certify(request);
      case hosts.timestamps:
        return {status: 201, body: Buffer.from('a timestamp')};
      case hosts.rest:
        return this.refusal ?? this.#store(request);
      default:
        return {status: 404, body: {message: `Nobody answers for ${request.host}`}};
    }
  }

  /** https://docs.github.com/en/actions/reference/security/oidc */
  #idToken({url, authorization}: SeenRequest): Answer {
    if (authorization !== 'Bearer request-token') return {status: 401, body: {}};
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: `https://${hosts.issuer}`,
      aud: url.searchParams.get('audience'),
      sub: 'repo:octo-org/octo-repo:ref:refs/heads/main',
      iat: now,
      exp: now + 300,
      ref: 'refs/heads/main',
      sha: '0123456789abcdef0123456789abcdef01234567',
      repository: 'octo-org/octo-repo',
      event_name: 'schedule',
      job_workflow_ref: 'octo-org/octo-repo/.github/workflows/backup.yml@refs/heads/main',
      workflow_ref: 'octo-org/octo-repo/.github/workflows/backup.yml@refs/heads/main',
      repository_id: '1',
      repository_owner_id: '2',
      runner_environment: 'github-hosted',
      run_id: '4242',
      run_attempt: '1',
    };
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const head = `${encode({alg: 'RS256', typ: 'JWT', kid: this.#keyId})}.${encode(claims)}`;
    const signature = sign('RSA-SHA256', Buffer.from(head), this.#keys.privateKey).toString('base64url');
    return {status: 200, body: {value: `${head}.${signature}`}};
  }

  #issuer({url}: SeenRequest): Answer {
    if (url.pathname === '/.well-known/openid-configuration')
      return {status: 200, body: {jwks_uri: `https://${hosts.issuer}/keys`}};
    const jwk: JsonWebKey = this.#keys.publicKey.export({format: 'jwk'});
    return {status: 200, body: {keys: [{...jwk, kid: this.#keyId, alg: 'RS256', use: 'sig'}]}};
  }

  /** https://github.com/sigstore/fulcio, fulcio.proto: CreateSigningCertificate */
  #certify({body}: SeenRequest): Answer {
    const {publicKeyRequest} = body as {publicKeyRequest: {publicKey: {content: string}}};
    this.#signerKey = publicKeyRequest.publicKey.content;
    const chain = {certificates: [this.#certificate]};
    return {status: 200, body: {signedCertificateEmbeddedSct: {chain}}};
  }

  /** https://docs.github.com/en/rest/repos/attestations */
  #store({url, method, body, authorization}: SeenRequest): Answer {
    const [, repository] = /^\/repos\/([^/]+\/[^/]+)\/attestations$/.exec(url.pathname) ?? [];
    if (method !== 'POST' || repository === undefined) return {status: 404, body: {message: 'Not Found'}};
    const {dsseEnvelope} = (body as {bundle: Bundle}).bundle;
    const payload = Buffer.from(dsseEnvelope.payload, 'base64');
    const signature = Buffer.from(dsseEnvelope.signatures[0]?.sig ?? '', 'base64');
    if (!verify('sha256', signed(dsseEnvelope, payload), createPublicKey(this.#signerKey), signature))
      return {status: 422, body: {message: 'Invalid signature'}};
    const statement = JSON.parse(payload.toString()) as StoredAttestation['statement'];
    this.stored.push({repository, authorization, statement});
    return {status: 201, body: {id: 77}};
  }
}

/** What a signature is over (https://github.com/secure-systems-lab/dsse, protocol.md). */
function signed({payloadType}: Bundle['dsseEnvelope'], payload: Buffer): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}
