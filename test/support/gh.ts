import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {writeScript} from './steps.js';
import type {Workspace} from './workspace.js';

/** What an attestation says that the stand-in for gh has verified. */
export interface Attested {
  readonly sha256: string;
  /** `https://github.com/owner/name` */
  readonly repository: string;
  /** `<repository>/.github/workflows/backup.yml@refs/heads/main` */
  readonly workflow: string;
  readonly predicateType?: string;
  readonly runUrl?: string;
}

/** What `gh attestation verify --format json` prints of one attestation, as far as it matters here. */
export function ghAnswer({sha256, repository, workflow, predicateType, runUrl}: Attested): string {
  return JSON.stringify([
    {
      attestation: {bundle: {}},
      verificationResult: {
        mediaType: 'application/vnd.dev.sigstore.verificationresult+json;version=0.1',
        statement: {
          _type: 'https://in-toto.io/Statement/v1',
          subject: [{name: 'nightly.json', digest: {sha256}}],
          predicateType: predicateType ?? 'https://slsa.dev/provenance/v1',
          predicate: {},
        },
        signature: {
          certificate: {
            certificateIssuer: 'CN=Fulcio Intermediate l2,O=GitHub\\, Inc.',
            subjectAlternativeName: workflow,
            issuer: 'https://token.actions.githubusercontent.com',
            buildSignerURI: workflow,
            sourceRepositoryURI: repository,
            ...(runUrl !== undefined && {runInvocationURI: runUrl}),
          },
        },
        verifiedTimestamps: [],
        verifiedIdentity: {},
      },
    },
  ]);
}

/** A directory for PATH with a gh that only notes its call, writes an answer, and ends. */
export interface FakeGh {
  readonly programs: string;
  /** Its arguments, the variables that lead it, and the SHA-256 of the file that it was given. */
  readonly calls: string;
}

/**
 * Puts a gh on PATH that asks nobody: the real one verifies signatures of GitHub's own authority, which no test can
 * have made.
 */
export function fakeGh(
  home: Workspace,
  {stdout = '', stderr = '', status = 0}: {stdout?: string; stderr?: string; status?: number},
): FakeGh {
  const programs = join(home.root, 'gh');
  const calls = join(programs, 'calls');
  mkdirSync(programs, {recursive: true});
  writeFileSync(join(programs, 'stdout'), stdout);
  writeFileSync(join(programs, 'stderr'), stderr);
  writeScript(join(programs, 'gh'), [
    `echo "$* token=$GH_TOKEN host=$GH_HOST $(sha256sum <"$3" | cut -c1-64)" >>'${calls}'`,
    `cat '${join(programs, 'stdout')}'`,
    `cat '${join(programs, 'stderr')}' >&2`,
    `exit ${status}`,
  ]);
  return {programs, calls};
}
