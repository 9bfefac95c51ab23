import {describe, expect, test} from 'vitest';
import {describe as describeError, messageOf, UserError} from '../../src/errors.js';
import {CommandError} from '../../src/host/host.js';
import {explain} from '../../src/postgres/failures.js';

const connection = {parameters: {host: 'db', port: '5433', user: 'backup'}, environment: {}};
const secured = {...connection, password: 'p@ss'};

describe('the cure of', () => {
  test.each([
    [
      'FATAL:  no pg_hba.conf entry for replication connection from host "172.17.0.1", user "backup", no encryption',
      'host replication "backup" 172.17.0.1/32 scram-sha-256',
    ],
    [
      'FATAL:  no pg_hba.conf entry for replication connection from host "fe80::1%eth0", user "o""k", SSL encryption',
      'hostssl replication "o""""k" fe80::1/128 scram-sha-256',
    ],
    [
      'FATAL:  no pg_hba.conf entry for replication connection from host "[local]", user "backup", no encryption',
      'local replication "backup" scram-sha-256',
    ],
    [
      'FATAL:  pg_hba.conf rejects replication connection for host "10.0.0.9", user "backup", SSL off',
      'host replication "backup" 10.0.0.9/32 scram-sha-256',
    ],
    ['FATAL:  must be superuser or replication role to start walsender', 'ALTER ROLE "backup" REPLICATION;'],
    ['FATAL:  permission denied to start WAL sender', 'ALTER ROLE "backup" REPLICATION;'],
    [
      'number of requested standby connections exceeds "max_wal_senders" (currently 2)',
      'max_wal_senders = 12',
    ],
    ['number of requested standby connections exceeds max_wal_senders (currently 0)', 'max_wal_senders = 10'],
    ['pg_basebackup: error: incompatible server version 18.6', 'postgresql-client-18'],
    ['FATAL:  role "nobody" does not exist', 'CREATE ROLE "nobody" LOGIN REPLICATION'],
    ['connect ECONNREFUSED 127.0.0.1:5433', 'Nothing listens at backup@db:5433'],
    ['could not write to file "x/base.tar": No space left on device', 'Free space'],
  ])('%s', (message, cure) => {
    expect(explain('It failed', new Error(message), connection).cure).toContain(cure);
  });

  test('a refused password tells whether one was given', () => {
    const refusal = new Error('password authentication failed for user "backup"');
    expect(explain('It failed', refusal, connection).cure).toContain('No password was given');
    expect(explain('It failed', refusal, secured).cure).toContain('secret behind `password`');
  });

  test('a message that nobody knows repeats the message', () => {
    const error = new CommandError('/usr/bin/pg_basebackup', 1, 'first\npg_basebackup: error: odd\n');
    expect(explain('The backup failed', error, connection).message).toBe(
      'The backup failed: pg_basebackup exited with status 1: pg_basebackup: error: odd',
    );
  });
});

describe('what a failed step says', () => {
  test.each([
    [new UserError('It broke.', 'Mend it.'), 'It broke.\nMend it.'],
    [new UserError('It broke.', 'Mend it.', {cause: new Error('why')}), 'It broke.\nCause: why\nMend it.'],
    [new Error('bug'), 'bug'],
    ['a string that was thrown', 'a string that was thrown'],
    [undefined, 'undefined'],
    [new Error(''), 'An error without a message was thrown.'],
    [
      new AggregateError([new Error('::1 refused'), new Error('127.0.0.1 refused')], ''),
      '::1 refused; 127.0.0.1 refused',
    ],
  ])('%# is told whole', (thrown, expected) => {
    expect(describeError(thrown)).toBe(expected);
  });

  test('does not repeat a cause that the message tells already', () => {
    expect(messageOf(new Error('It failed: why', {cause: new Error('why')}))).toBe('It failed: why');
  });
});
