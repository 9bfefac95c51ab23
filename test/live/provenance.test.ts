import {createHash} from 'node:crypto';
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, onTestFinished, test} from 'vitest';
import {startAttestationService} from '../support/attestation-service.js';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {fakeGh, ghAnswer} from '../support/gh.js';
import {startResultsService} from '../support/results-service.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {backUp, backupDirectory, backupInputs, dataDirectory, restoreInputs} from '../support/steps.js';
import {copyOf, flipByte, listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

const repository = 'https://github.com/octo-org/octo-repo';
const workflow = `${repository}/.github/workflows/backup.yml@refs/heads/main`;
const token = {'github-token': 'job-token'};
const attesting = {...token, attest: 'true'};
const demanding = {...token, 'require-attestation': 'true'};

const metadataFile = (home: Workspace) => join(home.directory, 'backups', 'nightly.json');
const sha256Of = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** A gh that knows the attestation of the backup of a workspace, as it is now. */
const ghThatKnows = (home: Workspace) =>
  fakeGh(home, {stdout: ghAnswer({sha256: sha256Of(metadataFile(home)), repository, workflow})});

describeWithPostgres('a backup with an attestation', () => {
  let cluster: Cluster;
  let stored: Workspace;

  beforeAll(async () => {
    cluster = await createCluster();
    stored = makeWorkspace();
    await backUp(cluster, stored, {compress: 'none'});
  });
  afterAll(async () => {
    await cluster?.remove();
    await stored?.remove();
  });

  test('is signed for its metadata file, which names all others, once it is stored', async () => {
    const home = workspace();
    const {env, requests, stored: attestations} = await startAttestationService(home);
    const {outputs, summary, stdout} = succeeded(
      await runAction(backupInputs(cluster, attesting), {workspace: home, env}),
    );
    const sha256 = sha256Of(metadataFile(home));
    expect(attestations).toEqual([
      {
        repository: 'octo-org/octo-repo',
        authorization: 'token job-token',
        statement: {
          _type: 'https://in-toto.io/Statement/v1',
          subject: [{name: 'nightly.json', digest: {sha256}}],
          predicateType: 'https://slsa.dev/provenance/v1',
          predicate: expect.objectContaining({
            runDetails: {
              builder: {id: workflow},
              metadata: {invocationId: `${repository}/actions/runs/4242/attempts/1`},
            },
          }),
        },
      },
    ]);
    const audiences = requests.map(({url}) => url.searchParams.get('audience'));
    expect(audiences.filter((one) => one !== null)).toEqual(['nobody', 'sigstore']);
    expect(outputs['attestation-url']).toBe(`${repository}/attestations/77`);
    expect(summary).toContain(`| Attested | [nightly.json](${repository}/attestations/77) |`);
    expect(stdout).toContain(`nightly.json, SHA-256 ${sha256}: ${repository}/attestations/77`);
  });

  // A plain backup travels as archives, so that the metadata that are stored are not those on the disk.
  test('is signed for the metadata that are stored as an artifact, and found by them', async () => {
    const home = workspace();
    const service = await startResultsService();
    onTestFinished(() => service.stop());
    const {env, stored: attestations} = await startAttestationService(home);
    const inputs = {...attesting, storage: 'artifact', format: 'plain'};
    const all = {...service.env, ...env, GITHUB_API_URL: 'https://api.github.com'};
    const {outputs} = succeeded(await runAction(backupInputs(cluster, inputs), {workspace: home, env: all}));
    const {'artifact-digest': sha256 = ''} = outputs;
    expect(attestations.map(({statement}) => statement.subject)).toEqual([
      [{name: 'nightly.json', digest: {sha256}}],
    ]);
    const {programs} = fakeGh(home, {stdout: ghAnswer({sha256, repository, workflow})});
    const step = restoreInputs({...demanding, storage: 'artifact'});
    const restored = succeeded(await runAction(step, {programs, env: service.env}));
    expect(restored.outputs.proof).toBe('recovered');
  });

  test('is refused before it begins where the job may not ask for an ID token', async () => {
    const home = workspace();
    const inputs = {...attesting, 'dry-run': 'true'};
    for (const more of [attesting, inputs]) {
      const result = await runAction(backupInputs(cluster, more), {workspace: home});
      expect(failure(result)).toContain(
        'attest: true needs an ID token, and GitHub lets this job ask for none',
      );
      expect(failure(result)).toContain(
        'permissions:\n  contents: read\n  id-token: write\n  attestations: write',
      );
    }
    expect(listAll(home.directory)).toEqual([]);
  });

  test.for([
    [
      403,
      'Resource not accessible by integration',
      /The token may not write attestations\. Give the job:\npermissions:/,
    ],
    [
      403,
      'Feature not available for user-owned private repositories.',
      /GitHub has attestations for public repositories, and for private ones of an organisation/,
    ],
  ] as const)(
    'that GitHub does not take is red, and the backup stays: %s %s',
    async ([status, message, cure]) => {
      const home = workspace();
      const {env, refuse} = await startAttestationService(home);
      refuse(status, message);
      const result = await runAction(
        backupInputs(cluster, {...attesting, 'keep-last': '1', 'keep-names': '*'}),
        {
          workspace: home,
          env,
        },
      );
      expect(failure(result)).toMatch(
        /^The backup is stored and whole \(.*nightly\), but it is not attested/,
      );
      expect(failure(result)).toContain(message);
      expect(failure(result)).toMatch(cure);
      expect(failure(result)).toContain(`subject-digest: sha256:${sha256Of(metadataFile(home))}`);
      succeeded(await runAction(restoreInputs({mode: 'verify'}), {workspace: home}));
    },
  );

  test('is restored and verified where one is demanded', async () => {
    const home = copyOf(stored);
    const {programs, calls} = ghThatKnows(home);
    const restored = succeeded(await runAction(restoreInputs(demanding), {workspace: home, programs}));
    expect(restored.outputs.proof).toBe('recovered');
    expect(restored.summary).toContain(workflow);
    expect(readFileSync(calls, 'utf8')).toMatch(
      new RegExp(
        `^attestation verify \\S+ --repo octo-org/octo-repo --predicate-type https://slsa.dev/provenance/v1 --format json token=job-token host=github.com ${sha256Of(metadataFile(home))}\n$`,
      ),
    );
    const verified = succeeded(
      await runAction(restoreInputs({...demanding, mode: 'verify'}), {workspace: home, programs}),
    );
    expect(verified.summary).toContain(`| Attested | ${workflow} |`);
    expect(listAll(home.temp).filter((path) => path.includes('attestation-'))).toEqual([]);
  });

  test.for([
    [
      'a file that differs',
      (directory: string) => flipByte(join(directory, 'base.tar'), 5000),
      /base\.tar: its SHA-256 is \w+, but \w+ was recorded/,
    ],
    [
      'a file too many',
      (directory: string) => writeFileSync(join(directory, '16384.tar'), ''),
      /16384\.tar: it was not there when the backup was made/,
    ],
  ] as const)('is refused before anything is extracted: %s', async ([, change, message]) => {
    const home = copyOf(stored);
    change(backupDirectory(home));
    const {programs} = ghThatKnows(home);
    const result = await runAction(restoreInputs(demanding), {workspace: home, programs});
    expect(failure(result)).toMatch(message);
    expect(result.stdout).not.toContain('Extract');
    expect(existsSync(dataDirectory(home))).toBe(false);
  });

  test('is refused when its metadata were changed since', async () => {
    const home = copyOf(stored);
    const {programs} = ghThatKnows(home);
    writeFileSync(
      metadataFile(home),
      readFileSync(metadataFile(home), 'utf8').replace('"label"', '"label" '),
    );
    for (const mode of ['restore', 'verify']) {
      const result = await runAction(restoreInputs({...demanding, mode}), {workspace: home, programs});
      expect(failure(result)).toMatch(
        /^Backup nightly \(.*\) has no attestation that octo-org\/octo-repo made it: none of its attestations tells/,
      );
      expect(result.stdout).not.toContain('Extract');
    }
    expect(existsSync(dataDirectory(home))).toBe(false);
  });
});
