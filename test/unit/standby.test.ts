import {mkdtemp, readdir, readFile, rm, stat, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, onTestFinished, test} from 'vitest';
import {parseManifest} from '../../src/backup-set/manifest.js';
import {UserError} from '../../src/errors.js';
import {runner} from '../../src/host/local.js';
import {placeConninfo, placedFiles} from '../../src/postgres/placed-conninfo.js';
import {type Primary, requireFit, requireSameSystem} from '../../src/restore/standby/primary.js';
import {isFinal} from '../../src/restore/standby/standby-cures.js';
import {cureOf} from '../../src/restore/start-cures.js';
import {manifestText} from '../support/manifest.js';

const primary: Primary = {
  connection: {parameters: {}, environment: {}},
  name: 'replica@db:5432',
  systemIdentifier: '7712112719190138919',
  major: 17,
  timeline: 2,
};
const metadata = {systemIdentifier: primary.systemIdentifier, serverVersionNumber: 170004, timeline: 2};

describe('a backup fits its primary', () => {
  test('when system and major version are the same, and its timeline is no newer', () => {
    expect(() => requireFit(primary, metadata)).not.toThrow();
    expect(() => requireFit(primary, {...metadata, timeline: 1})).not.toThrow();
    expect(() => requireSameSystem(primary, undefined)).not.toThrow();
  });

  test.each([
    [{systemIdentifier: '1'}, /system 1, and replica@db:5432 is system 7712112719190138919/],
    [{serverVersionNumber: 160009}, /of PostgreSQL 16, and replica@db:5432 is of 17/],
    [{timeline: 3}, /of timeline 3, and replica@db:5432 is on timeline 2/],
  ])('and not with %j', (change, message) => {
    expect(() => requireFit(primary, {...metadata, ...change})).toThrow(message);
    expect(() => requireFit(primary, {...metadata, ...change})).toThrow(UserError);
  });
});

test('a manifest of version 2 names its system, which no number of JavaScript holds', () => {
  const text = (system?: string) => manifestText([], undefined, system);
  expect(parseManifest(text('7712112719190138919')).systemIdentifier).toBe('7712112719190138919');
  expect(parseManifest(text()).systemIdentifier).toBeUndefined();
});

describe('a connection that a server uses on its own', () => {
  async function place(connection: Primary['connection'], major = 17) {
    const directory = await mkdtemp(join(tmpdir(), 'placed-'));
    onTestFinished(() => rm(directory, {recursive: true}));
    const host = runner(new AbortController().signal, directory);
    return {directory, conninfo: await placeConninfo(connection, {host, directory, major})};
  }

  test('has libpq’s variables as parameters, those that its version knows', async () => {
    const environment = {
      PGSSLCRLDIR: '/crl',
      PGSSLNEGOTIATION: 'direct',
      PGGSSENCMODE: 'disable',
      PGTZ: 'UTC',
    };
    const parameters = {host: 'db', gssencmode: 'require'};
    const {conninfo} = await place({parameters, environment}, 13);
    expect(conninfo).toMatchObject({host: 'db', gssencmode: 'require', keepalives_idle: '30'});
    expect(Object.keys(conninfo)).not.toEqual(expect.arrayContaining(['sslcrldir']));
    const newer = await place({parameters, environment}, 17);
    expect(newer.conninfo).toMatchObject({sslcrldir: '/crl', sslnegotiation: 'direct'});
  });

  test('finds password, certificate and key beside it, for its own account alone', async () => {
    const own = await mkdtemp(join(tmpdir(), 'own-'));
    onTestFinished(() => rm(own, {recursive: true}));
    const [key, binary] = [join(own, 'key'), join(own, 'binary')];
    await writeFile(key, '-----BEGIN PRIVATE KEY-----\nsecret\n');
    await writeFile(binary, 'DER');
    const environment = {PGSSLKEY: key, PGSSLCERT: binary};
    const parameters = {sslrootcert: 'system', sslcrl: '/nowhere'};
    const {directory, conninfo} = await place({parameters, environment, password: 'a:b\\c'});
    expect(conninfo).toMatchObject({
      sslkey: join(directory, 'primary.key'),
      passfile: join(directory, 'primary.pgpass'),
      sslcert: binary,
      sslrootcert: 'system',
      sslcrl: '/nowhere',
    });
    expect(Object.values(conninfo).join()).not.toContain('a:b');
    expect(await readFile(join(directory, 'primary.pgpass'), 'utf8')).toBe('*:*:*:*:a\\:b\\\\c\n');
    for (const name of await readdir(directory)) {
      expect(placedFiles).toContain(name);
      expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
    }
  });
});

describe('a standby’s log', () => {
  const lines = [
    [
      'FATAL:  could not receive data from WAL stream: ERROR:  requested WAL segment 000000010000000000000003 has already been removed',
      'Take a newer backup',
    ],
    [
      'FATAL:  could not start WAL streaming: ERROR:  replication slot "x" does not exist',
      "pg_create_physical_replication_slot('x', true)",
    ],
    [
      'FATAL:  could not start WAL streaming: ERROR:  can no longer access replication slot "x"',
      "pg_drop_replication_slot('x')",
    ],
    ['ERROR:  cannot read from replication slot "x"', "pg_drop_replication_slot('x')"],
    [
      'FATAL:  could not connect to the primary server: connection to server at "::1", port 5432 failed: FATAL:  password authentication failed for user "r"',
      'check the secret',
    ],
    [
      'FATAL:  could not connect to the primary server: FATAL:  no pg_hba.conf entry for replication connection from host "192.0.2.7", user "r", no encryption',
      'host replication "r" 192.0.2.7/32',
    ],
    ['FATAL:  database system identifier differs between the primary and standby', 'another cluster'],
    ['FATAL:  highest timeline 1 of the primary is behind recovery timeline 2', 'Take a new backup'],
  ] as const;
  test.each(lines)('ends the wait, with the cure: %s', (line, cure) => {
    expect(isFinal(`2026-11-22 08:00:00 UTC [7] ${line}`, false)).toBe(true);
    expect(cureOf([line], 17)).toContain(cure);
  });

  test.each([
    'FATAL:  could not connect to the primary server: connection to server at "::1", port 5432 failed: Connection refused',
    'FATAL:  could not start WAL streaming: ERROR:  replication slot "x" is active for PID 7',
    'LOG:  waiting for WAL to become available at 0/3000018',
    'LOG:  statement: select $$requested WAL segment 0 has already been removed$$',
  ])('goes on waiting: %s', (line) => {
    expect(isFinal(line, false)).toBe(false);
  });

  test('goes on waiting for WAL that an archive may bring', () => {
    expect(isFinal(lines[0][0], true)).toBe(false);
    expect(isFinal(lines[1][0], true)).toBe(true);
  });
});
