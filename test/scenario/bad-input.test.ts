import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from 'vitest';
import {failure, runAction} from '../support/runner.js';
import type {Inputs} from '../support/steps.js';
import {fingerprint, listAll, workspace} from '../support/workspace.js';

/** One mistake: what the user wrote, and all that the error must tell about it. */
interface Mistake {
  readonly mistake: string;
  readonly inputs: Inputs;
  readonly tells: readonly string[];
}

const everyMode: readonly Mistake[] = [
  {mistake: 'an unknown mode', inputs: {mode: 'dump'}, tells: ['mode', 'dump', 'backup', 'restore']},
  {
    mistake: 'an unknown storage',
    inputs: {storage: 'ftp://host'},
    tells: ['storage', 'ftp://host', 'artifact', 'directory'],
  },
  {
    mistake: 'a boolean that is not YAML 1.2',
    inputs: {'dry-run': 'yes'},
    tells: ['dry-run', 'yes', 'true', 'false'],
  },
  {
    mistake: 'a pg-version that is not a number',
    inputs: {'pg-version': 'newest'},
    tells: ['pg-version', 'newest', 'auto'],
  },
];

const backup: readonly Mistake[] = [
  {mistake: 'an unknown format', inputs: {format: 'zip'}, tells: ['format', 'zip', 'tar', 'plain']},
  {
    mistake: 'an unknown wal-method',
    inputs: {'wal-method': 'copy'},
    tells: ['wal-method', 'copy', 'stream', 'fetch', 'none'],
  },
  {
    mistake: 'an unknown checkpoint',
    inputs: {checkpoint: 'slow'},
    tells: ['checkpoint', 'slow', 'fast', 'spread'],
  },
  {
    mistake: 'an unknown codec',
    inputs: {compress: 'rar'},
    tells: ['compress', 'rar', 'gzip', 'lz4', 'zstd', 'none'],
  },
  {
    mistake: 'an unknown codec on the server',
    inputs: {compress: 'server-rar:3'},
    tells: ['compress', 'server-rar:3', 'zstd'],
  },
  {
    mistake: 'a codec of the client with plain format',
    inputs: {format: 'plain', compress: 'client-gzip'},
    tells: ['compress', 'client-gzip', 'format: tar'],
  },
  {
    mistake: 'a rate that is not one',
    inputs: {'max-rate': 'fast'},
    tells: ['max-rate', 'fast', '32'],
  },
  {mistake: 'a rate that is too low', inputs: {'max-rate': '16'}, tells: ['max-rate', '16', '32']},
  {mistake: 'a label with a newline', inputs: {label: 'one\ntwo'}, tells: ['label', 'one', 'line']},
  {
    mistake: 'a slot with wal-method fetch',
    inputs: {slot: 'nightly', 'wal-method': 'fetch'},
    tells: ['slot', 'stream'],
  },
  {mistake: 'a slot with a bad name', inputs: {slot: 'My Slot'}, tells: ['slot', 'My Slot']},
  {
    mistake: 'an unknown checksum',
    inputs: {'manifest-checksums': 'md5'},
    tells: ['manifest-checksums', 'md5', 'crc32c', 'sha256', 'none'],
  },
  {
    mistake: 'a tablespace-mapping without =',
    inputs: {format: 'plain', 'tablespace-mapping': '/srv/old'},
    tells: ['tablespace-mapping', '/srv/old', 'OLD=NEW'],
  },
  {
    mistake: 'a tablespace-mapping with a relative path',
    inputs: {format: 'plain', 'tablespace-mapping': '/srv/old=new'},
    tells: ['tablespace-mapping', '/srv/old=new', 'absolute'],
  },
  {
    mistake: 'an unknown sslmode',
    inputs: {sslmode: 'on'},
    tells: ['sslmode', 'on', 'disable', 'verify-full'],
  },
  {
    mistake: 'the authorities of the machine with an sslmode that does not ask for them',
    inputs: {sslmode: 'require', sslrootcert: 'system'},
    tells: ['sslmode', 'require', 'verify-full'],
  },
  {
    mistake: 'a time limit that is none',
    inputs: {'connection-string': 'connect_timeout=soon'},
    tells: ['connect_timeout', 'PGCONNECT_TIMEOUT', 'seconds'],
  },
  {mistake: 'a port that is not a number', inputs: {port: 'five'}, tells: ['port', 'five', '65535']},
  {
    mistake: 'a connection string that is not one',
    inputs: {'connection-string': 'somewhere'},
    tells: ['connection-string'],
  },
  {
    mistake: 'retention with a directory',
    inputs: {'retention-days': '5'},
    tells: ['retention-days', 'artifact'],
  },
  {
    mistake: 'an input of restore mode',
    inputs: {'check-sql': 'select true', 'keep-running': 'true'},
    tells: ['check-sql', 'keep-running', 'restore'],
  },
  ...['a/b', 'a\\b', 'a:b', 'a<b', 'a>b', 'a|b', 'a*b', 'a?b', 'a"b', 'a\nb', '..'].map((name) => ({
    mistake: `backup-name ${JSON.stringify(name)}`,
    inputs: {'backup-name': name},
    tells: ['backup-name'],
  })),
];

const restore: readonly Mistake[] = [
  {
    mistake: 'an input of backup mode',
    inputs: {format: 'tar', label: 'x'},
    tells: ['format', 'label', 'backup'],
  },
  {
    mistake: 'a connection input without standby',
    inputs: {host: 'db.example'},
    tells: ['host', 'standby'],
  },
  {
    mistake: 'an unknown check',
    inputs: {checks: 'manifest\nhope'},
    tells: ['checks', 'hope', 'manifest', 'amcheck', 'checksums', 'dump'],
  },
  {
    mistake: 'a port that is too high',
    inputs: {'listen-port': '70000'},
    tells: ['listen-port', '70000', '65535'],
  },
  {
    mistake: 'a time-out that is not a number',
    inputs: {'start-timeout': 'soon'},
    tells: ['start-timeout', 'soon'],
  },
  {
    mistake: 'an age without a unit',
    inputs: {'max-backup-age': '26'},
    tells: ['max-backup-age', '26', '26h'],
  },
  {
    mistake: 'two recovery targets',
    inputs: {'recovery-target-xid': '7', 'recovery-target-lsn': '0/70'},
    tells: ['recovery-target-xid', 'recovery-target-lsn'],
  },
  {
    mistake: 'an unknown recovery-target-action',
    inputs: {'recovery-target': 'immediate', 'recovery-target-action': 'stop'},
    tells: ['recovery-target-action', 'stop', 'promote', 'pause'],
  },
  {
    mistake: 'both sources of archived WAL',
    inputs: {'wal-directory': '/srv/wal', 'restore-command': 'cp /srv/wal/%f %p'},
    tells: ['wal-directory', 'restore-command'],
  },
  {
    mistake: 'a tablespace-mapping without =',
    inputs: {'tablespace-mapping': '/srv/old'},
    tells: ['tablespace-mapping', '/srv/old', 'OLD=NEW'],
  },
  {
    mistake: 'a backup-name that leads elsewhere',
    inputs: {'backup-name': '../other'},
    tells: ['backup-name', '../other'],
  },
  {
    mistake: 'a run-id with a directory',
    inputs: {'run-id': '5', repository: 'octo-org/other'},
    tells: ['run-id', 'repository', 'artifact'],
  },
];

const role = {user: 'backup', password: 'hunter22'};

const preparation: readonly Mistake[] = [
  {
    mistake: 'neither a role nor its password',
    inputs: {'admin-user': 'root'},
    tells: ['2 inputs', 'user', 'password'],
  },
  {
    mistake: 'the administrator as the role',
    inputs: {...role, 'admin-user': 'backup'},
    tells: ['user', '"backup" is the admin-user'],
  },
  {
    mistake: 'an address that is none',
    inputs: {...role, 'client-address': 'db.example.com'},
    tells: ['client-address', 'db.example.com', '192.0.2.0/24'],
  },
  {
    mistake: 'an input of the other modes',
    inputs: {...role, 'backup-name': 'x', compress: 'none', checks: 'dump'},
    tells: ['backup-name', 'compress', 'checks', 'backup or restore'],
  },
  {
    mistake: 'a password of two lines, without telling it',
    inputs: {...role, 'admin-password': 'hunter23\nhunter24'},
    tells: ['admin-password', 'line break'],
  },
];

const base: Inputs = {mode: 'backup', storage: 'directory'};

/** Runs the action, and returns its error after looking that it left nothing on disk. */
async function refused(inputs: Inputs): Promise<string> {
  const home = workspace();
  const error = failure(await runAction({...base, ...inputs}, {workspace: home}));
  expect(listAll(home.directory)).toEqual([]);
  expect(listAll(home.temp)).toEqual([]);
  return error;
}

describe('is told, and nothing is written:', () => {
  const cases = [
    ...everyMode.map((mistake) => ({mode: 'backup', ...mistake})),
    ...everyMode.slice(1).map((mistake) => ({mode: 'restore', ...mistake})),
    ...backup.map((mistake) => ({mode: 'backup', ...mistake})),
    ...restore.map((mistake) => ({mode: 'restore', ...mistake})),
    ...preparation.map((mistake) => ({mode: 'prepare', ...mistake})),
  ];
  test.for(cases)('$mode: $mistake', async ({mode, inputs, tells}) => {
    const error = await refused({mode, ...inputs});
    expect(
      tells.filter((text) => !error.includes(text)),
      error,
    ).toEqual([]);
    expect(error).not.toContain('hunter');
  });

  test('two mistakes, in one error', async () => {
    const error = await refused({format: 'zip', checkpoint: 'slow', 'max-rate': 'fast'});
    for (const text of ['format', 'zip', 'checkpoint', 'slow', 'max-rate']) expect(error).toContain(text);
  });

  test('a wrong value together with an input of the other mode, in one error', async () => {
    const error = await refused({format: 'zip', 'check-sql': 'select true'});
    expect(error).toContain('zip');
    expect(error).toContain('check-sql');
  });

  test('a secret in a wrong input, without its value', async () => {
    const error = await refused({
      mode: 'restore',
      'connection-string': 'postgresql://u:hunter22@h/d',
      password: 'hunter23',
    });
    expect(error).toMatch(/connection-string/);
    expect(error).not.toMatch(/hunter/);
  });

  test('a backup that is not there, with those that are', async () => {
    const home = workspace();
    mkdirSync(join(home.directory, 'backups', 'monday'), {recursive: true});
    writeFileSync(join(home.directory, 'backups', 'monday', 'base.tar'), '');
    const before = fingerprint(home.directory);
    const inputs = {mode: 'restore', storage: 'directory', 'backup-name': 'sunday'};
    const error = failure(await runAction(inputs, {workspace: home}));
    expect(error).toContain('sunday');
    expect(error).toContain('monday');
    expect(fingerprint(home.directory)).toEqual(before);
    // Where every step has a directory of its own, and removes it.
    expect(listAll(home.temp)).toEqual([]);
  });

  test('a restore in a workspace without backups', async () => {
    expect(await refused({mode: 'restore'})).toContain('backups');
  });
});
