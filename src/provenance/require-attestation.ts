import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {UserError} from '../errors.js';
import {CommandError, type Host} from '../host/host.js';
import {info} from '../log.js';
import {describeSigner, parseVerified, type Signer, signerOf} from './verified-attestation.js';

/** Whose attestation a backup must have. */
export interface RequiredAttestation {
  /** `owner/name` of the repository whose workflow must have made the backup. */
  readonly repository: string;
  /**
   * That workflow's file, `.github/workflows/backup.yml`, with `@refs/heads/main` where its branch counts; undefined:
   * any of the repository.
   */
  readonly workflow?: string;
  /** A token that may read attestations of that repository. */
  readonly token: string;
  /** `https://github.com` */
  readonly serverUrl: string;
}

/** A backup that was found. */
export interface Attestable {
  readonly name: string;
  readonly location: string;
  /** The metadata file as it is stored; undefined for a backup that somebody made by hand. */
  readonly metadataText?: string;
  /** Of that text. */
  readonly metadataSha256?: string;
}

/** What a check works with. */
export interface CheckingSurroundings {
  readonly runner: Host;
  /** For files that outlive no step. */
  readonly scratchDirectory: string;
}

const permissions = 'permissions:\n  contents: read\n  attestations: read';

/** What the metadata file is attested as (https://slsa.dev/provenance/v1). */
const predicateType = 'https://slsa.dev/provenance/v1';

/**
 * Has `gh attestation verify` look whether GitHub has an attestation of a backup's metadata file by the workflow that
 * is wanted, and returns who signed it. gh has the roots of trust of both of GitHub's signing services, and keeps them
 * up to date. Its answer is read, and not its status alone: from 2.49 to 2.66 it ends with 0 when attestations are of
 * another predicate type (CVE-2025-25204). Throws a UserError with the cure.
 */
export async function requireAttestation(
  found: Attestable,
  required: RequiredAttestation,
  {runner, scratchDirectory}: CheckingSurroundings,
): Promise<Signer> {
  const {metadataText, metadataSha256: sha256} = found;
  if (metadataText === undefined || sha256 === undefined)
    throw refused(
      found,
      required,
      'it was made without this action, and has no metadata file that could be attested',
    );
  if ((await runner.findOnPath('gh')) === undefined) throw lacksGh(runner, 'has no gh');
  const directory = await mkdtemp(join(scratchDirectory, 'attestation-'));
  try {
    const path = join(directory, 'metadata.json');
    await writeFile(path, metadataText, {mode: 0o600});
    const answer = await ask(path, {found, required, runner});
    const signer = signerOf(parseVerified(answer), {sha256, predicateType, ...required});
    if (signer === undefined)
      throw refused(
        found,
        required,
        'none of its attestations tells that repository, workflow and this backup together',
      );
    info(`The backup was made by ${describeSigner(signer)}`);
    return signer;
  } finally {
    await rm(directory, {recursive: true, force: true});
  }
}

interface Question {
  readonly found: Attestable;
  readonly required: RequiredAttestation;
  readonly runner: Host;
}

async function ask(path: string, {found, required, runner}: Question): Promise<string> {
  const {repository, token, serverUrl} = required;
  const {hostname} = new URL(serverUrl);
  const args = ['attestation', 'verify', path, '--repo', repository, '--predicate-type', predicateType];
  // A stray GH_HOST would lead it elsewhere.
  const env = {GH_TOKEN: token, GH_HOST: hostname, GH_PROMPT_DISABLED: '1', NO_COLOR: '1'};
  try {
    return (await runner.run({program: 'gh', args: [...args, '--format', 'json'], env})).stdout;
  } catch (error) {
    if (error instanceof CommandError) throw explain(error, {found, required, runner});
    throw error;
  }
}

/** By what gh writes to standard error (cli/cli, pkg/cmd/attestation). */
function explain(error: CommandError, {found, required, runner}: Question): UserError {
  const {stderr} = error;
  if (/unknown (command|flag)/.test(stderr)) return lacksGh(runner, 'has one that is too old', error);
  if (/HTTP 401|Bad credentials|gh auth login/.test(stderr))
    return unanswered(
      error,
      'github-token is none that GitHub knows: write ${{ github.token }}, or a token that may read that repository.',
    );
  if (/rate limit/i.test(stderr))
    return unanswered(
      error,
      'GitHub takes no more requests of this token for the moment: run the step later.',
    );
  if (/HTTP 403|Resource not accessible/.test(stderr))
    return unanswered(error, `The token may not read attestations. Give the job:\n${permissions}`);
  if (/HTTP 404|no attestations/i.test(stderr))
    return refused(
      found,
      required,
      `GitHub knows none for SHA-256 ${found.metadataSha256} (${error.message})`,
    );
  if (/expected \w+ to be|verif/i.test(stderr))
    return refused(found, required, `what GitHub has does not hold (${error.message})`);
  return unanswered(
    error,
    'Run the step again. If it fails again, see whether the runner reaches GitHub, and https://www.githubstatus.com.',
  );
}

function refused(
  {name, location}: Attestable,
  {repository, workflow}: RequiredAttestation,
  reason: string,
): UserError {
  const by = workflow === undefined ? repository : `${repository}/${workflow}`;
  return new UserError(
    `Backup ${name} (${location}) has no attestation that ${by} made it: ${reason}. Nothing of it was extracted.`,
    `If it was made without attest: true, or its metadata were changed since, choose another one (backup-name). If it comes from another repository, name that: require-attestation: owner/name. GitHub also answers so to a token that may not read attestations. Give the job:\n${permissions}`,
  );
}

function unanswered({message}: CommandError, cure: string): UserError {
  return new UserError(
    `The attestation of the backup could not be looked up (${message}). Nothing of it was extracted.`,
    cure,
  );
}

function lacksGh({name}: Host, what: string, cause?: CommandError): UserError {
  return new UserError(
    `require-attestation needs GitHub's program gh, 2.49 or newer, and ${name} ${what}${cause ? ` (${cause.message})` : ''}.`,
    "GitHub's own runners have it. Elsewhere install it in an earlier step: https://github.com/cli/cli/blob/trunk/docs/install_linux.md (the package of Debian 12 and Ubuntu 24.04 is too old).",
  );
}
