import {createHash} from 'node:crypto';
import {formatMetadata, type Metadata} from '../backup-set/metadata.js';
import {messageOf, UserError} from '../errors.js';
import {type Finding, findingOf} from '../finding.js';
import {group, info} from '../log.js';

/** What making an attestation of a backup needs. */
export interface AttestationRequest {
  /** A token of the job that may write attestations. */
  readonly token: string;
  /** `https://github.com`; undefined outside of GitHub Actions. */
  readonly serverUrl?: string;
  /** `owner/name` of the repository whose workflow runs, which keeps the attestation. */
  readonly repository?: string;
  /** Whether GitHub lets this job ask for an ID token: the step has `ACTIONS_ID_TOKEN_REQUEST_URL` and `…_TOKEN`. */
  readonly mayIdentify: boolean;
}

/** An attestation that GitHub keeps. */
export interface Attestation {
  /** Its page. */
  readonly url: string;
}

/** A stored backup, as its attestation names it. */
export interface AttestedBackup {
  readonly metadata: Metadata;
  /** For people: where it is stored. */
  readonly location: string;
}

/** What a job that makes attestations needs, as text to paste (GitHub Docs, "Using artifact attestations"). */
const permissions = `permissions:
  contents: read
  id-token: write
  attestations: write`;

/** What is known ahead of a backup to stand in the way of its attestation. Asks nobody. */
export function judgeAttestation(request: AttestationRequest | undefined): readonly Finding[] {
  if (request === undefined) return [];
  const {serverUrl, repository, mayIdentify} = request;
  if (serverUrl === undefined || repository === undefined)
    return refusal(
      'attest: true needs a step of GitHub Actions, whose identity an attestation tells; this is none (GITHUB_SERVER_URL and GITHUB_REPOSITORY are not set).',
      'Leave attest out here.',
    );
  if (!hasAttestations(serverUrl))
    return refusal(
      `attest: true needs github.com or GHE.com: ${serverUrl} keeps no attestations.`,
      'Leave attest out here.',
    );
  if (mayIdentify) return [];
  return refusal(
    'attest: true needs an ID token, and GitHub lets this job ask for none (ACTIONS_ID_TOKEN_REQUEST_URL is not set).',
    `Give the job:\n${permissions}\nA job that a pull request from a fork starts never gets one, and a step with "run:" does not see it.`,
  );
}

function refusal(message: string, cure: string): readonly Finding[] {
  return [findingOf('Attestation', new UserError(message, cure))];
}

/** Only these two have attestations; the library takes no other either (\@actions/attest 3.2.0, oidc.js). */
function hasAttestations(serverUrl: string): boolean {
  return serverUrl === 'https://github.com' || /^https:\/\/[a-z0-9-]+\.ghe\.com$/.test(serverUrl);
}

/**
 * Has GitHub attest a stored backup: that this run of this workflow made the metadata file, and so the files whose
 * SHA-256 it names. Throws a UserError that says that the backup is stored, and how it can be attested afterwards.
 */
export async function attest(backup: AttestedBackup, request: AttestationRequest): Promise<Attestation> {
  return group('Attest', async () => {
    const subject = subjectOf(backup.metadata);
    // It takes long to start, and few steps need it. `eager` keeps it in the one file of dist.
    const {attestProvenance} = await import('@actions/attest');
    try {
      const {token} = request;
      const {attestationID} = await attestProvenance({subjects: [subject], token});
      if (attestationID === undefined) throw new Error('GitHub gave the attestation no id.');
      const url = `${request.serverUrl}/${request.repository}/attestations/${attestationID}`;
      info(`${subject.name}, SHA-256 ${subject.digest.sha256}: ${url}`);
      return {url};
    } catch (thrown) {
      throw explain(thrown, {backup, subject});
    }
  });
}

interface Subject {
  readonly name: string;
  readonly digest: {readonly sha256: string};
}

/** The metadata file: one small file that names the SHA-256 of all others, and so stands for them. */
function subjectOf(metadata: Metadata): Subject & {digest: Record<string, string>} {
  const sha256 = createHash('sha256').update(formatMetadata(metadata)).digest('hex');
  return {name: `${metadata.name}.json`, digest: {sha256}};
}

function explain(
  thrown: unknown,
  {backup, subject}: {readonly backup: AttestedBackup; readonly subject: Subject},
): UserError {
  const afterwards = `To attest the stored backup afterwards, in a job of this repository with id-token: write and attestations: write:
- uses: actions/attest@v4
  with:
    subject-name: ${subject.name}
    subject-digest: sha256:${subject.digest.sha256}`;
  return new UserError(
    `The backup is stored and whole (${backup.location}), but it is not attested, and no older backup was removed.`,
    `${cureOf(messageOf(thrown))}\n${afterwards}`,
    {cause: thrown},
  );
}

/** By what GitHub answers; the library puts it into the text of an Error. */
function cureOf(text: string): string {
  if (text.includes('Resource not accessible by integration'))
    return `The token may not write attestations. Give the job:\n${permissions}`;
  if (text.includes('Bad credentials'))
    return 'github-token is none that GitHub knows: write ${{ github.token }}.';
  if (text.includes('Feature not available'))
    return 'GitHub has attestations for public repositories, and for private ones of an organisation with Enterprise Cloud. Leave attest out elsewhere.';
  if (/ID token|ID_TOKEN/.test(text))
    return `GitHub gave the job no ID token. Give the job:\n${permissions}\nA job that a pull request from a fork starts never gets one.`;
  return 'See https://www.githubstatus.com, and whether the runner reaches GitHub’s certificate authority (fulcio.sigstore.dev and rekor.sigstore.dev for a public repository, fulcio.githubapp.com and timestamp.githubapp.com for a private one).';
}
