import type {AttestationRequest} from '../provenance/attest.js';
import type {RequiredAttestation} from '../provenance/require-attestation.js';
import type {InputReader} from './reader.js';
import type {RunContext} from './run-context.js';

/** The input that asks for an attestation, for backup mode. */
export const attestInput = 'attest';

/** The input that demands an attestation, for what reads backups. */
export const requireAttestationInput = 'require-attestation';

/** Whether `github-token` is used for attestations, whatever the storage. */
export function needsTokenToAttest(reader: InputReader): boolean {
  return [attestInput, requireAttestationInput].some((name) => !isOff(reader.text(name)));
}

function isOff(value: string | undefined): boolean {
  return value === undefined || value.toLowerCase() === 'false';
}

/** Reads `attest`; undefined: the backup gets no attestation. */
export function readAttestation(
  reader: InputReader,
  {environment}: RunContext,
): AttestationRequest | undefined {
  if (!reader.flag(attestInput, false)) return undefined;
  const {GITHUB_SERVER_URL: serverUrl, GITHUB_REPOSITORY: repository} = environment;
  const {ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: token} = environment;
  return {
    token: readToken(
      reader,
      `${attestInput} needs it: \${{ github.token }}, with permissions: attestations: write`,
    ),
    ...(serverUrl && {serverUrl}),
    ...(repository && {repository}),
    mayIdentify: Boolean(url && token),
  };
}

const allowed =
  'true, false, a repository (owner/name), or a workflow of one (owner/name/.github/workflows/backup.yml, with @refs/heads/main where the branch counts)';
const pattern = /^(true|false|[\w-]+\/[\w.-]+(\/\.github\/workflows\/[\w.-]+\.ya?ml(@refs\/[^\s@]+)?)?)$/i;

/** Reads `require-attestation`; undefined: the backup needs none. */
export function readRequiredAttestation(
  reader: InputReader,
  {environment}: RunContext,
): RequiredAttestation | undefined {
  const value = reader.matching(requireAttestationInput, pattern, allowed);
  if (value === undefined || isOff(value)) return undefined;
  const from =
    value.toLowerCase() === 'true' ? (reader.text('repository') ?? environment.GITHUB_REPOSITORY) : value;
  if (!from) {
    reader.reject(requireAttestationInput, 'GITHUB_REPOSITORY is not set: write owner/name instead of true');
    return undefined;
  }
  const [owner = '', name = '', ...file] = from.split('/');
  return {
    repository: `${owner}/${name}`,
    ...(file.length > 0 && {workflow: file.join('/')}),
    token: readToken(
      reader,
      `${requireAttestationInput} needs it: \${{ github.token }}, with permissions: attestations: read`,
    ),
    serverUrl: environment.GITHUB_SERVER_URL || 'https://github.com',
  };
}

function readToken(reader: InputReader, need: string): string {
  const token = reader.text('github-token');
  if (token === undefined) reader.reject('github-token', `it is not set, and ${need}`);
  return token ?? '';
}
