import {describe, expect, test} from 'vitest';
import {judgeAttestation} from '../../src/provenance/attest.js';
import {parseVerified, signerOf} from '../../src/provenance/verified-attestation.js';
import {ghAnswer} from '../support/gh.js';

const sha256 = 'a'.repeat(64);
const wanted = {
  sha256,
  predicateType: 'https://slsa.dev/provenance/v1',
  serverUrl: 'https://github.com',
  repository: 'octo-org/octo.repo',
};
const url = 'https://github.com/octo-org/octo.repo';
const good = {
  sha256,
  repository: url,
  workflow: `${url}/.github/workflows/backup.yml@refs/heads/main`,
};
const signer = (answer: Parameters<typeof ghAnswer>[0], more = {}) =>
  signerOf(parseVerified(ghAnswer(answer)), {...wanted, ...more});

describe('an attestation', () => {
  test('tells who made the backup', () => {
    const runUrl = `${url}/actions/runs/1/attempts/1`;
    expect(signer({...good, runUrl})).toEqual({workflow: good.workflow, runUrl});
    expect(signer(good, {repository: 'Octo-Org/OCTO.repo'})).toEqual({workflow: good.workflow});
    const file = '.github/workflows/backup.yml';
    for (const workflow of [file, `${file}@refs/heads/main`])
      expect(signer(good, {workflow})).toEqual({workflow: good.workflow});
  });

  // What gh lets through: a dot of its pattern is any character, and nothing ends it.
  test.for([
    ['of another backup', {sha256: 'b'.repeat(64)}, {}],
    ['of another predicate', {predicateType: 'https://in-toto.io/attestation/release'}, {}],
    ['of another repository', {repository: 'https://github.com/octo-org/octoXrepo'}, {}],
    ['of another host', {repository: 'https://octo.ghe.com/octo-org/octo.repo'}, {}],
    [
      'by the workflow of another repository',
      {workflow: `${url}-evil/.github/workflows/backup.yml@refs/heads/main`},
      {},
    ],
    ['by the workflow of another branch', {}, {workflow: '.github/workflows/backup.yml@refs/heads/mai'}],
    ['by another workflow', {}, {workflow: '.github/workflows/backup.ym'}],
    [
      'by a workflow whose name begins alike',
      {workflow: `${url}/.github/workflows/backup.yml.yml@refs/heads/main`},
      {workflow: '.github/workflows/backup.yml'},
    ],
  ] as const)('%s is none', ([, answer, more]) => {
    expect(signer({...good, ...answer}, more)).toBeUndefined();
  });

  test.for(['', '[]', '{}', 'null', '[null, {"verificationResult": {"statement": 7}}]', 'no JSON'])(
    'is not found in %o',
    (text) => {
      expect(parseVerified(text)).toEqual([]);
    },
  );

  test('is found beside others', () => {
    const [other] = JSON.parse(ghAnswer({...good, sha256: 'c'.repeat(64)})) as unknown[];
    const [right] = JSON.parse(ghAnswer(good)) as unknown[];
    const text = JSON.stringify([{}, other, right]);
    expect(signerOf(parseVerified(text), wanted)).toEqual({workflow: good.workflow});
  });
});

describe('an attestation that cannot be made', () => {
  const here = {token: 'x', repository: 'octo-org/octo-repo', serverUrl: 'https://github.com'};
  const findings = (request: Partial<typeof here>, mayIdentify = true) =>
    judgeAttestation({token: 'x', ...request, mayIdentify});

  test('is known beforehand', () => {
    expect(judgeAttestation(undefined)).toEqual([]);
    expect(findings(here)).toEqual([]);
    expect(findings({...here, serverUrl: 'https://octo.ghe.com'})).toEqual([]);
    expect(findings({})[0]?.observed).toContain('this is none (GITHUB_SERVER_URL');
    expect(findings({...here, serverUrl: 'https://github.example.com'})[0]?.observed).toContain(
      'https://github.example.com keeps no attestations',
    );
    expect(findings(here, false)).toMatchObject([
      {level: 'error', cure: expect.stringContaining('  id-token: write\n  attestations: write\n')},
    ]);
  });
});
