import {mkdtempSync, realpathSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, onTestFinished, test, vi} from 'vitest';
import {runner} from '../../src/host/local.js';
import {parseRequest} from '../../src/inputs/inputs.js';
import {requireSystem} from '../../src/inputs/operating-system.js';
import {readRunContext} from '../../src/inputs/run-context.js';
import {parseCandidate} from '../../src/postgres/apt.js';
import {aptFailure} from '../../src/postgres/apt-failures.js';
import {packageOf} from '../../src/postgres/install.js';
import {chooseClient, listPrograms, type Programs} from '../../src/postgres/search.js';

describe('the client for a server', () => {
  const of = (...majors: readonly number[]): readonly Programs[] =>
    majors.map((major, index) => ({directory: `/${index}`, major, version: `pg_basebackup ${major}`}));

  test.for([
    {there: [15, 16, 17], server: 16, wanted: 'auto', chosen: 16},
    {there: [18, 17, 15], server: 16, wanted: 'auto', chosen: 17},
    {there: [15, 14], server: 16, wanted: 'auto', chosen: undefined},
    {there: [], server: 16, wanted: 'auto', chosen: undefined},
    {there: [16, 17, 18], server: 16, wanted: 18, chosen: 18},
    {there: [16, 18], server: 16, wanted: 17, chosen: undefined},
    // Never an older one, also when it is asked for.
    {there: [15, 16], server: 16, wanted: 15, chosen: undefined},
  ] as const)(
    'of $there for $server with pg-version $wanted is $chosen',
    ({there, server, wanted, chosen}) => {
      expect(chooseClient(of(...there), server, wanted)?.major).toBe(chosen);
    },
  );

  test('is the first of several of the same version: the one on PATH', () => {
    expect(chooseClient(of(17, 16, 16), 16, 'auto')?.directory).toBe('/1');
  });
});

describe('the programs on PATH', () => {
  const listed = async (script: string) => {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), 'programs-')));
    onTestFinished(() => rmSync(directory, {recursive: true}));
    for (const name of ['pg_basebackup', 'psql'])
      writeFileSync(join(directory, name), `#!/bin/sh\n${script}`, {mode: 0o755});
    vi.stubEnv('PATH', `${directory}:${process.env.PATH}`);
    onTestFinished(() => void vi.unstubAllEnvs());
    const found = await listPrograms(runner(new AbortController().signal, directory), [
      'pg_basebackup',
      'psql',
    ]);
    return found.filter((programs) => programs.directory === directory);
  };

  test('are known by the first line that they print for their version', async () => {
    const [found] = await listed(
      'echo "pg_basebackup (PostgreSQL) 99.1 (of a test)"; echo "more of it"; cat',
    );
    expect(found).toMatchObject({major: 99, version: 'pg_basebackup (PostgreSQL) 99.1 (of a test)'});
  });

  test.each([
    ['fails', 'echo "pg_basebackup (PostgreSQL) 99.1"; exit 127'],
    ['prints nothing', ':'],
    ['is no program of PostgreSQL', 'echo "version 99"'],
  ])('are none where one of them %s', async (_, script) => {
    expect(await listed(script)).toEqual([]);
  });
});

test.for([
  ['client', 17, 'postgresql-client-17'],
  ['server', 9, 'postgresql-9'],
] as const)('the package of the %s of %i is %s', ([what, major, name]) => {
  expect(packageOf(what, major)).toBe(name);
});

describe('apt-cache policy', () => {
  const policy = (candidate: string) =>
    `postgresql-client-17:\n  Installed: (none)\n  Candidate: ${candidate}\n  Version table:\n     17.5-1 500\n`;

  test('tells the version that would be installed', () => {
    expect(parseCandidate(policy('17.5-1.pgdg24.04+1'))).toBe('17.5-1.pgdg24.04+1');
  });

  // The first is what apt-cache prints for a package that it has never heard of.
  test.for(['', policy('(none)')])('tells that there is none: %j', (text) => {
    expect(parseCandidate(text)).toBeUndefined();
  });
});

describe('a failure of apt-get', () => {
  // As apt 2.6 and dpkg 1.21 print them.
  test.for([
    [
      "W: Failed to fetch http://example.com/debian/dists/trixie/InRelease  Temporary failure resolving 'example.com'\nW: Some index files failed to download. They have been ignored, or old ones used instead.",
      'the package sources cannot be reached (Failed to fetch http://example.com/debian/dists/trixie/InRelease  Temporary failure resolving',
      'Let the runner reach its package sources',
    ],
    [
      'E: Failed to fetch http://example.com/pool/p.deb  404  Not Found [IP: 192.0.2.1 80]\nE: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?',
      'the package sources cannot be reached (Failed to fetch http://example.com/pool/p.deb  404',
      'apt-get update',
    ],
    [
      'E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?',
      'another program is installing packages (Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812',
      'sudo systemctl stop apt-daily.service',
    ],
    [
      "E: dpkg was interrupted, you must manually run 'sudo dpkg --configure -a' to correct the problem. ",
      'an earlier installation was interrupted (dpkg was interrupted',
      'sudo dpkg --configure -a',
    ],
    [
      "E: You don't have enough free space in /var/cache/apt/archives/.",
      "the disk is full (You don't have enough free space",
      'Free space',
    ],
    [
      "dpkg: error processing archive /tmp/p.deb (--unpack):\n cannot copy extracted data for './usr/bin/p': failed to write (No space left on device)\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
      'the disk is full (cannot copy extracted data',
      'Free space',
    ],
    [
      "W: GPG error: http://example.com sid InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 0123456789ABCDEF",
      'a package source is not to be trusted (GPG error: http://example.com',
      'keys',
    ],
    [
      'The following packages have unmet dependencies:\n postgresql-client-17 : Depends: libpq5 (>= 17.0) but 15.18 is to be installed\nE: Unable to correct problems, you have held broken packages.',
      'it does not fit what else is installed (The following packages have unmet dependencies:)',
      '--fix-broken',
    ],
    ['E: Something new.', 'cannot be installed: Something new.', 'By hand'],
    ['', 'cannot be installed: apt-get does not say why.', 'By hand'],
  ] as const)('is told with its cure: %j', ([output, reason, cure]) => {
    const failure = aptFailure('postgresql-client-17', output);
    expect(failure.message).toContain('postgresql-client-17 cannot be installed: ');
    expect(failure.message).toContain(reason);
    expect(failure.cure).toContain(cure);
    expect(failure.cure).toContain('sudo apt-get install --yes postgresql-client-17');
  });
});

describe('a runner with', () => {
  const request = (inputs: Record<string, string>) =>
    parseRequest((name) => inputs[name] ?? (name === 'container' ? 'none' : ''), readRunContext({}));
  const prepare = {mode: 'prepare', user: 'backup', password: 'secret'};

  test.for([
    ['Linux', {mode: 'restore', container: 'db'}],
    ['macOS', {mode: 'backup'}],
    ['macOS', prepare],
  ] as const)('%s does %j', ([system, inputs]) => {
    requireSystem(request(inputs), system);
  });

  test.for([
    ['macOS', {mode: 'restore'}, /The runner is macOS, and mode: restore needs one with Linux/],
    ['macOS', {mode: 'backup', container: 'db'}, /The runner is macOS, and container needs one with Linux/],
    ['macOS', {...prepare, container: 'db'}, /macOS, and container needs/],
    ['Windows', {mode: 'backup'}, /The runner is Windows, and this action needs one with Linux/],
    ['Windows', {mode: 'restore'}, /Windows, and this action/],
    ['Windows', prepare, /Windows, and this action/],
  ] as const)('%s refuses %j', ([system, inputs, message]) => {
    expect(() => requireSystem(request(inputs), system)).toThrow(message);
  });
});
