import {mkdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from 'vitest';
import {writeMetadata} from '../../src/store/directory.js';
import {fakeGh} from '../support/gh.js';
import {madeUpMetadata} from '../support/made-up-metadata.js';
import {failure, runAction} from '../support/runner.js';
import {type Inputs, restoreInputs} from '../support/steps.js';
import {listAll, type Workspace, workspace} from '../support/workspace.js';

const demanding = {'github-token': 'job-token', 'require-attestation': 'true'};

/** A workspace with the metadata of a backup, and no file of it. */
async function withMetadata(): Promise<Workspace> {
  const home = workspace();
  const directory = join(home.directory, 'backups');
  mkdirSync(join(directory, 'nightly'), {recursive: true});
  await writeMetadata(directory, madeUpMetadata);
  return home;
}

/** What both modes that read backups say: the same, and with nothing left. */
async function refusal(home: Workspace, programs: string, inputs: Inputs = demanding): Promise<string> {
  const messages = [];
  for (const mode of ['restore', 'verify']) {
    const step = restoreInputs({...inputs, mode});
    messages.push(failure(await runAction(step, {workspace: home, programs})));
    expect(listAll(home.temp)).toEqual([]);
  }
  const [restore, verify] = messages;
  expect(restore).toContain(verify);
  return verify ?? '';
}

describe('a backup without the attestation that is demanded', () => {
  test.for([
    [
      'HTTP 404: Not Found (https://api.github.com/repos/octo-org/octo-repo/attestations/sha256:00?per_page=30)',
      /^Backup nightly \(.*\) has no attestation that octo-org\/octo-repo made it: GitHub knows none for SHA-256 [0-9a-f]{64} \(gh exited with status 1: HTTP 404.*\)\. Nothing of it was extracted\.\n/,
      'permissions:\n  contents: read\n  attestations: read',
    ],
    [
      'Error: expected SourceRepositoryURI to be https://github.com/octo-org/octo-repo, got https://github.com/evil/repo',
      /what GitHub has does not hold \(.*got https:\/\/github.com\/evil\/repo\)/,
      'require-attestation: owner/name',
    ],
    [
      'Error: verifying with issuer "sigstore.dev"',
      /what GitHub has does not hold \(.*sigstore\.dev"\)/,
      'choose another one (backup-name)',
    ],
    [
      'HTTP 401: Bad credentials (https://api.github.com/…)',
      /^The attestation of the backup could not be looked up/,
      'write ${{ github.token }}',
    ],
    [
      'HTTP 403: Resource not accessible by integration',
      /^The attestation of the backup could not be looked up/,
      'Give the job:\npermissions:\n  contents: read\n  attestations: read',
    ],
    [
      'HTTP 403: API rate limit exceeded for installation.',
      /^The attestation of the backup could not be looked up/,
      'run the step later',
    ],
    [
      'error connecting to api.github.com',
      /^The attestation of the backup could not be looked up/,
      'https://www.githubstatus.com',
    ],
    [
      'unknown command "attestation" for "gh"',
      /^require-attestation needs GitHub's program gh, 2\.49 or newer, and the runner has one that is too old/,
      'install_linux.md',
    ],
  ] as const)('is refused: %s', async ([stderr, message, cure]) => {
    const home = await withMetadata();
    const {programs} = fakeGh(home, {stderr: `${stderr}\n`, status: 1});
    const told = await refusal(home, programs);
    expect(told).toMatch(message);
    expect(told).toContain(cure);
  });

  // gh 2.49 to 2.66 (CVE-2025-25204).
  test('is refused also when gh says nothing and ends well', async () => {
    const home = await withMetadata();
    const {programs} = fakeGh(home, {});
    expect(await refusal(home, programs)).toContain('none of its attestations tells that repository');
  });

  test('is refused for the workflow that is named', async () => {
    const home = await withMetadata();
    const {programs} = fakeGh(home, {stdout: '[]'});
    const inputs = {...demanding, 'require-attestation': 'o/n/.github/workflows/backup.yml'};
    expect(await refusal(home, programs, inputs)).toContain(
      'has no attestation that o/n/.github/workflows/backup.yml made it',
    );
  });

  test('is refused when it was made by hand', async () => {
    const home = await withMetadata();
    rmSync(join(home.directory, 'backups', 'nightly.json'));
    const {programs, calls} = fakeGh(home, {});
    expect(await refusal(home, programs)).toContain('it was made without this action');
    expect(listAll(calls)).toEqual([]);
  });

  test('is refused where there is no gh to ask', async () => {
    const home = await withMetadata();
    const nothing = join(home.root, 'nothing');
    mkdirSync(nothing);
    const inputs = restoreInputs({...demanding, mode: 'verify'});
    const result = await runAction(inputs, {workspace: home, env: {PATH: nothing}});
    expect(failure(result)).toMatch(
      /^require-attestation needs GitHub's program gh, 2\.49 or newer, and the runner has no gh\.\n/,
    );
  });
});
