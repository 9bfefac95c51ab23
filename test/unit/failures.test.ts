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
    ['unsupported startup parameter: replication', 'A pooler is in between: it answers at backup@db:5433'],
    ['FATAL:  Unsupported startup parameter: replication', 'A pooler is in between'],
    ['FATAL:  database "replication" does not exist', 'A pooler is in between'],
    [
      'pg_basebackup: error: backup failed: ERROR:  could not open file "./server.key": Permission denied',
      "chown postgres './server.key'",
    ],
    ['ERROR:  file name too long for tar format: "base/x"', 'format: plain'],
    ['backup failed: ERROR:  the standby was promoted during online backup', 'Run the step again'],
    ['ERROR:  WAL generated with full_page_writes=off was replayed since last restartpoint', 'CHECKPOINT'],
    ['ERROR:  WAL generated with "full_page_writes=off" was replayed since last restartpoint', 'CHECKPOINT'],
    ['ERROR:  replication slot "mine" does not exist', "pg_create_physical_replication_slot('mine')"],
    ['ERROR:  replication slot "mine" is active for PID 42', 'give each its own'],
    ['pg_basebackup: error: background process terminated unexpectedly', 'max_slot_wal_keep_size'],
    ['pg_basebackup: error: could not read COPY data: server closed the connection unexpectedly', 'was lost'],
    ['FATAL:  the database system is starting up', 'was lost'],
    ['read ECONNRESET', 'was lost'],
    ['write EPIPE', 'was lost'],
    ['FATAL:  sorry, too many clients already', 'max_connections'],
    ['could not write to file "x/base.tar": No space left on device', 'Free space'],
    [
      'pg_basebackup: error: could not open write-ahead log file "00000001000000000000002E": No space left on device\npg_basebackup: error: background process terminated unexpectedly',
      'Free space',
    ],
    ['root certificate file "/x/root.crt" does not exist', 'Set sslrootcert'],
    ['could not read root certificate file "/x/root.crt": no start line', 'in PEM format'],
    ["ENOENT: no such file or directory, open '/x/root.crt'", 'in PEM format'],
    ['server does not support SSL, but SSL was required', 'ALTER SYSTEM SET ssl = on'],
    ['The server does not support SSL connections', 'ALTER SYSTEM SET ssl = on'],
    ['certificate has expired', 'Renew'],
    ['certificate is not yet valid', 'clocks'],
    ["Hostname/IP does not match certificate's altnames", 'is not for db'],
    ['server certificate for "other" does not match host name "db"', 'is not for db'],
    ['self-signed certificate in certificate chain', 'Set sslrootcert to the file of the authority'],
    ['unable to verify the first certificate', 'Set sslrootcert to the file of the authority'],
    ['SSL error: certificate verify failed', 'openssl s_client -starttls postgres -connect db:5433'],
    ['FATAL:  SASL authentication failed', 'No password was given'],
    ['The server did not answer for 600 s', 'stall-timeout gives more time'],
  ])('%s', (message, cure) => {
    expect(explain('It failed', new Error(message), connection).cure).toContain(cure);
  });

  test('a refused password tells whether one was given', () => {
    const refusal = new Error('password authentication failed for user "backup"');
    expect(explain('It failed', refusal, connection).cure).toContain('No password was given');
    expect(explain('It failed', refusal, secured).cure).toContain('secret behind `password`');
  });

  test('what Node advises about its own options is left out', () => {
    const text =
      'unable to verify the first certificate; if the root CA is installed locally, try running Node.js with --use-system-ca';
    expect(explain('It failed', new Error(text), connection).message).toBe(
      'It failed: unable to verify the first certificate',
    );
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
