import {execFileSync} from 'node:child_process';
import {chmodSync, chownSync, copyFileSync, mkdirSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Cluster} from './cluster.js';
import {waitUntil} from './command.js';

/** A certificate and its key. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/** What a certificate says. */
export interface SignOptions {
  /** `DNS:db.example` or `IP:127.0.0.1`. */
  readonly subjectAltName: string;
  /** Its last second, as OpenSSL writes it (`20200102000000Z`); in two days without it. */
  readonly endsAt?: string;
}

/** Whoever signs certificates in a test. */
export interface Authority {
  /** Its own certificate, for sslrootcert. */
  readonly certificate: string;
  /** Makes a key and a certificate for it. */
  sign(name: string, options: SignOptions): Certificate;
}

const openssl = (...args: readonly string[]) => execFileSync('openssl', args, {stdio: 'pipe'});
const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Makes an authority in a directory that does not exist yet. */
export function createAuthority(directory: string): Authority {
  mkdirSync(directory);
  chmodSync(directory, 0o755);
  const path = (name: string) => join(directory, name);
  const own = ['-keyout', path('ca.key'), '-out', path('ca.crt')];
  openssl('req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=test authority', ...own);
  writeFileSync(path('index.txt'), '');
  writeFileSync(path('ca.conf'), configuration(directory));
  return {
    certificate: path('ca.crt'),
    sign(name, {subjectAltName, endsAt}) {
      const [request, certificate, key] = [path(`${name}.csr`), path(`${name}.crt`), path(`${name}.key`)];
      const wanted = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${subjectAltName}`];
      openssl('req', '-new', ...newKey, ...wanted, '-keyout', key, '-out', request);
      const time =
        endsAt === undefined ? ['-days', '2'] : ['-startdate', '20200101000000Z', '-enddate', endsAt];
      openssl('ca', '-batch', '-config', path('ca.conf'), '-in', request, '-out', certificate, ...time);
      return {certificate, key};
    },
  };
}

/** `openssl ca` is what can sign with an end in the past, in every release. */
const configuration = (directory: string) => `
[ca]
default_ca = own
[own]
database = ${directory}/index.txt
new_certs_dir = ${directory}
certificate = ${directory}/ca.crt
private_key = ${directory}/ca.key
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
`;

/** Has a server use TLS with a certificate, from the next connection on. */
export async function useCertificate(
  {dataDirectory, sql}: Cluster,
  {certificate, key}: Certificate,
): Promise<void> {
  const {uid, gid} = statSync(dataDirectory);
  for (const [from, name] of [
    [certificate, 'server.crt'],
    [key, 'server.key'],
  ] as const) {
    const to = join(dataDirectory, name);
    copyFileSync(from, to);
    chmodSync(to, 0o600);
    chownSync(to, uid, gid);
  }
  const before = await sql('select pg_conf_load_time()');
  await sql('alter system set ssl = on');
  await sql('select pg_reload_conf()');
  const isLoaded = async () =>
    (await sql('select pg_conf_load_time()')) !== before && (await sql('show ssl')) === 'on';
  await waitUntil(isLoaded, {seconds: 10, what: 'the server to load its certificate'});
}
