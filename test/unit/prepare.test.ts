import {describe, expect, test} from 'vitest';
import {isMd5, isStoredAs, scramSecret} from '../../src/postgres/password.js';
import {type Findings, missingEntries} from '../../src/prepare/entries.js';
import type {Login} from '../../src/prepare/login.js';
import {cureOfRights} from '../../src/prepare/plan.js';
import type {PrepareRequest} from '../../src/prepare/request.js';
import {needsPassword, roleStatements} from '../../src/prepare/role.js';
import type {RoleState} from '../../src/prepare/survey.js';

const ready: RoleState = {
  canLogin: true,
  canReplicate: true,
  isSuperuser: false,
  canMonitor: true,
  isExpired: false,
  groups: ['backup', 'pg_monitor'],
};
const login = {
  in: {end: 'in'},
  wrong: {end: 'wrong-password', error: new Error('password authentication failed')},
  notAllowed: {end: 'not-allowed', error: new Error('is not permitted to log in')},
  out: {
    end: 'kept-out',
    refusal: {role: 'backup', address: '192.0.2.7', isEncrypted: true},
    error: new Error('no entry'),
  },
  other: {end: 'kept-out', error: new Error('LDAP authentication failed for user "backup"')},
} as const satisfies Record<string, Login>;

describe('the statements', () => {
  test.each([
    [
      'make a role',
      undefined,
      's',
      ['create role %I login replication password %L', 'grant pg_monitor to %I'],
    ],
    ['leave one alone that is ready', ready, undefined, []],
    ['set a password', ready, 's', ['alter role %I password %L']],
    [
      'add what is missing',
      {...ready, canReplicate: false, canMonitor: false},
      undefined,
      ['alter role %I replication', 'grant pg_monitor to %I'],
    ],
    ['let one log in', {...ready, canLogin: false}, 's', ['alter role %I login password %L']],
  ])('%s', (_, found, secret, templates) => {
    const statements = roleStatements({name: 'backup', ...(secret !== undefined && {secret})}, found);
    expect(statements.map(({template}) => template)).toEqual(templates);
    expect(JSON.stringify(statements.map(({shown, values}) => shown ?? values))).not.toContain('"s"');
  });
});

describe('the password is set', () => {
  test.each<readonly [string, RoleState | undefined, readonly Login[], boolean]>([
    ['of a new role', undefined, [login.in], true],
    ['not when it is stored', {...ready, stored: 'as-scram'}, [login.wrong], false],
    ['when another one is stored, although the role gets in', {...ready, stored: 'other'}, [login.in], true],
    ['not when it is stored as md5 and works', {...ready, stored: 'as-md5'}, [login.in, login.out], false],
    ['when it is stored as md5 and does not work', {...ready, stored: 'as-md5'}, [login.wrong], true],
    ['not when what is stored is out of sight and the role gets in', ready, [login.in], false],
    ['not when it is right and only an attribute is missing', ready, [login.notAllowed], false],
    ['when it is wrong', ready, [login.in, login.wrong], true],
    ['when nothing is known of it', ready, [login.out, login.out], true],
  ])('%s', (_, found, logins, expected) => {
    expect(needsPassword(found, logins)).toBe(expected);
  });
});

describe('an administrator without the rights is told', () => {
  const shown = [`alter role old password '…';`];
  const admin = {role: 'o"b', isSuperuser: false, mayCreate: false};

  test('the statements, and from 16 on how to get the rights', () => {
    expect(cureOfRights({admin, major: 15}, 'old', shown).split('\n').slice(1)).toEqual(shown);
    expect(cureOfRights({admin, major: 16}, 'old', shown)).toContain(
      'GRANT "old" TO "o""b" WITH ADMIN OPTION;',
    );
    const anew = cureOfRights({admin, major: 16}, 'new', ['create role new;']);
    expect(anew).toContain('ALTER ROLE "o""b" CREATEROLE REPLICATION;');
    expect(anew).not.toContain('GRANT "new"');
  });
});

describe('pg_hba.conf lacks', () => {
  const request: PrepareRequest = {
    mode: 'prepare',
    connection: {parameters: {host: 'db', user: 'backup'}, environment: {}, password: 'secret'},
    admin: {},
    dryRun: false,
  };
  const findings: Findings = {
    server: {
      major: 16,
      isStandby: false,
      hasTls: true,
      storesMd5: false,
      scramIterations: 4096,
      admin: {role: 'postgres', isSuperuser: true, mayCreate: true},
    },
    found: ready,
    logins: {replication: login.out, sql: login.in},
  };
  const entry = {type: 'hostssl', role: 'backup', address: '192.0.2.7/32', method: 'scram-sha-256'};
  const sqlEntry = {...entry, database: 'postgres'};

  test('what a login was refused for', () => {
    expect(missingEntries(request, findings)).toEqual([entry]);
    const logins = {replication: login.wrong, sql: login.out};
    expect(missingEntries(request, {...findings, logins})).toEqual([sqlEntry]);
  });

  test('nothing when both get in', () => {
    expect(missingEntries(request, {...findings, logins: {replication: login.in, sql: login.wrong}})).toEqual(
      [],
    );
  });

  test('an entry for md5 where the server or the role stores that', () => {
    const server = {...findings.server, storesMd5: true};
    expect(missingEntries(request, {...findings, server})).toEqual([{...entry, method: 'md5'}]);
    const found: RoleState = {...ready, stored: 'as-md5'};
    expect(missingEntries(request, {...findings, found})).toEqual([{...entry, method: 'md5'}]);
  });

  test('an entry for the administrator’s own address when a rule asks for something else', () => {
    const logins = {replication: login.other, sql: login.in};
    const server = {...findings.server, clientAddress: '2001:db8::7'};
    expect(missingEntries(request, {...findings, logins, server})).toEqual([
      {...entry, address: '2001:db8::7/128'},
    ]);
    expect(() => missingEntries(request, {...findings, logins})).toThrow('LDAP authentication failed');
    const socket = {
      ...request,
      connection: {...request.connection, parameters: {host: '/s', user: 'backup'}},
    };
    expect(missingEntries(socket, {...findings, logins})).toEqual([
      {type: 'local', role: 'backup', method: 'scram-sha-256'},
    ]);
  });

  test('what client-address needs by the rules, wherever this runner gets in', () => {
    const far = {...request, clientNetwork: '10.0.0.0/8'};
    const logins = {replication: login.in, sql: login.in};
    const rules = [
      {type: 'host', databases: ['all'], users: ['all'], address: 'all', method: 'scram-sha-256'},
      {type: 'host', databases: ['replication'], users: ['all'], address: '192.0.2.7', method: 'md5'},
    ];
    const server = {...findings.server, rules};
    expect(missingEntries(far, {...findings, logins, server})).toEqual([{...entry, address: '10.0.0.0/8'}]);
    // Where they cannot be read, a login is all there is to go by.
    expect(missingEntries(far, {...findings, logins})).toEqual([]);
    expect(missingEntries(far, findings)).toEqual([{...entry, address: '10.0.0.0/8'}]);
    const untold = {
      ...far,
      connection: {...request.connection, parameters: {user: 'backup', sslmode: 'disable'}},
    };
    expect(missingEntries(untold, findings)).toMatchObject([{type: 'host'}]);
  });
});

describe('what PostgreSQL stores of a password', () => {
  // RFC 7677, section 3: the password `pencil`.
  const stored =
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=';

  test('is that of the standard’s example', () => {
    expect(isStoredAs(stored, 'pencil', 'user')).toBe(true);
    expect(isStoredAs(stored, 'pen', 'user')).toBe(false);
  });

  test('is that of the password that it was made of, and new each time', () => {
    const secrets = [scramSecret('pässwörd', 4096), scramSecret('pässwörd', 1000)];
    expect(secrets[0]).toMatch(/^SCRAM-SHA-256\$4096:/);
    for (const secret of secrets) {
      expect(isStoredAs(secret, 'pa\u0308sswo\u0308rd', 'user')).toBe(true);
      expect(isStoredAs(secret, 'password', 'user')).toBe(false);
    }
    expect(secrets[0]).not.toBe(scramSecret('pässwörd', 4096));
  });

  test('may be md5', () => {
    const md5 = 'md5a3556571e93b0d20722ba62be61e8c2d';
    expect([isMd5(md5), isMd5(stored)]).toEqual([true, false]);
    expect(isStoredAs('md5', 'x', 'y')).toBe(false);
  });

  test('may be nothing', () => {
    expect(isStoredAs('', '', 'user')).toBe(false);
  });
});
