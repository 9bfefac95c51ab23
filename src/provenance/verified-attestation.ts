/** Who signed an attestation. */
export interface Signer {
  /** `https://github.com/owner/name/.github/workflows/backup.yml@refs/heads/main` */
  readonly workflow: string;
  /** The page of the run. */
  readonly runUrl?: string;
}

/** For people: the workflow and the run. */
export function describeSigner({workflow, runUrl}: Signer): string {
  return runUrl === undefined ? workflow : `${workflow} in ${runUrl}`;
}

/** What an attestation must say. */
export interface Wanted {
  /** Of the metadata file, lower-case hexadecimal. */
  readonly sha256: string;
  readonly predicateType: string;
  /** `https://github.com` */
  readonly serverUrl: string;
  /** `owner/name` */
  readonly repository: string;
  /** `.github/workflows/backup.yml`, with `@refs/heads/main` where the branch counts; undefined: any. */
  readonly workflow?: string;
}

/** An attestation whose signature is known to be good. */
export interface VerifiedAttestation {
  readonly predicateType: string;
  /** SHA-256 of what it is about. */
  readonly sha256: readonly string[];
  readonly sourceRepositoryUrl: string;
  readonly signerWorkflow: string;
  readonly runUrl?: string;
}

/**
 * Reads what `gh attestation verify --format json` prints: a list, with the statement and the extensions of the
 * certificate (sigstore-go, pkg/fulcio/certificate/extensions.go). What is not understood is left out.
 */
export function parseVerified(text: string): readonly VerifiedAttestation[] {
  const results = parsed(text);
  return Array.isArray(results) ? results.flatMap(attestationOf) : [];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Versions of gh that find none of the predicate type print nothing.
    return undefined;
  }
}

function attestationOf(result: unknown): readonly VerifiedAttestation[] {
  const statement = at(result, 'verificationResult', 'statement');
  const certificate = at(result, 'verificationResult', 'signature', 'certificate');
  const subjects = at(statement, 'subject');
  const [predicateType, sourceRepositoryUrl, signerWorkflow, runUrl] = [
    at(statement, 'predicateType'),
    at(certificate, 'sourceRepositoryURI'),
    at(certificate, 'buildSignerURI'),
    at(certificate, 'runInvocationURI'),
  ];
  if (!isText(predicateType) || !isText(sourceRepositoryUrl) || !isText(signerWorkflow)) return [];
  const digests = Array.isArray(subjects) ? subjects.map((one) => at(one, 'digest', 'sha256')) : [];
  const sha256 = digests.filter(isText);
  return [{predicateType, sha256, sourceRepositoryUrl, signerWorkflow, ...(isText(runUrl) && {runUrl})}];
}

const isText = (value: unknown): value is string => typeof value === 'string';

function at(value: unknown, ...path: readonly string[]): unknown {
  let here = value;
  for (const name of path) {
    if (typeof here !== 'object' || here === null) return undefined;
    here = Object.entries(here).find(([key]) => key === name)?.[1];
  }
  return here;
}

/**
 * Who signed the first attestation that says all that is wanted; undefined: none does. gh has compared the digest and
 * the repository already, but by a pattern in which a dot is any character.
 */
export function signerOf(attestations: readonly VerifiedAttestation[], wanted: Wanted): Signer | undefined {
  const found = attestations.find((one) => fits(one, wanted));
  if (found === undefined) return undefined;
  const {signerWorkflow: workflow, runUrl} = found;
  return {workflow, ...(runUrl !== undefined && {runUrl})};
}

function fits(attestation: VerifiedAttestation, wanted: Wanted): boolean {
  const {predicateType, sha256, sourceRepositoryUrl, signerWorkflow} = attestation;
  const repositoryUrl = `${wanted.serverUrl}/${wanted.repository}`;
  // GitHub takes names of repositories that differ only in case for the same.
  const isSame = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
  const repository = signerWorkflow.slice(0, repositoryUrl.length);
  const path = signerWorkflow.slice(repositoryUrl.length);
  const [file = ''] = path.split('@');
  return (
    predicateType === wanted.predicateType &&
    sha256.includes(wanted.sha256) &&
    isSame(sourceRepositoryUrl, repositoryUrl) &&
    isSame(repository, repositoryUrl) &&
    path.startsWith('/') &&
    (wanted.workflow === undefined || [path, file].includes(`/${wanted.workflow}`))
  );
}
