import {describe, expect, test} from 'vitest';
import type {BackupRequest} from '../../src/backup/request.js';
import {parseRequest, type Request} from '../../src/inputs/inputs.js';
import {readRunContext} from '../../src/inputs/run-context.js';
import type {PrepareRequest} from '../../src/prepare/request.js';
import type {RestoreRequest} from '../../src/restore/request.js';

function parse(inputs: Record<string, string>, environment: NodeJS.ProcessEnv = {}): Request {
  return parseRequest((name) => inputs[name] ?? (name === 'container' ? 'none' : ''), {
    workspace: '/work',
    temporaryDirectory: '/temp',
    operatingSystem: 'Linux',
    environment,
    now: new Date('2026-11-22T08:09:10Z'),
    applicationName: 'pg-basebackup-action 1-1',
    runName: 'run 4242, attempt 1',
    defaultLabel: 'nightly, run 1, attempt 1',
  });
}

function parseBackup(inputs: Record<string, string>, environment?: NodeJS.ProcessEnv): BackupRequest {
  const request = parse(inputs, environment);
  if (request.mode !== 'backup') throw new Error('not a backup');
  return request;
}

function parseRestore(inputs: Record<string, string>): RestoreRequest {
  const request = parse({mode: 'restore', ...inputs});
  if (request.mode !== 'restore') throw new Error('not a restore');
  return request;
}

function parsePrepare(inputs: Record<string, string>, environment?: NodeJS.ProcessEnv): PrepareRequest {
  const request = parse({mode: 'prepare', ...inputs}, environment);
  if (request.mode !== 'prepare') throw new Error('not a preparation');
  return request;
}

test('a backup without inputs has every default', () => {
  expect(parse({})).toEqual({
    mode: 'backup',
    storage: {kind: 'artifact', partBytes: 2 ** 30},
    install: 'auto',
    connection: {parameters: {application_name: 'pg-basebackup-action 1-1'}, environment: {}},
    name: 'basebackup-20261122-080910',
    directory: '/work/backups',
    pgVersion: 'auto',
    format: 'tar',
    walMethod: 'stream',
    checkpoint: 'fast',
    compress: 'auto',
    decryption: {},
    allowPublicPlaintext: false,
    label: 'nightly, run 1, attempt 1',
    writeRecoveryConf: false,
    stallTimeoutSeconds: 600,
    manifestChecksums: 'crc32c',
    tablespaceMapping: new Map(),
    dryRun: false,
  });
});

test('a restore without inputs has every default', () => {
  expect(parse({mode: 'restore'})).toEqual({
    mode: 'restore',
    decryption: {},
    storage: {kind: 'artifact'},
    install: 'auto',
    backupName: 'latest',
    pgVersion: 'auto',
    dataDirectory: '/temp/pgdata',
    tablespaceMapping: new Map(),
    recovery: {inclusive: true, timeline: 'latest', action: 'promote'},
    postgresqlConf: [],
    inPlace: false,
    isolate: true,
    listenPort: 5433,
    startTimeoutSeconds: 300,
    checks: ['manifest'],
    checkSql: [],
    checkDatabase: 'postgres',
    keepRunning: false,
    dryRun: false,
  });
});

test.each(['backup', 'restore', 'verify'])('%s keeps the token that other runs and deletion need', (mode) => {
  expect(parse({mode, 'github-token': 'secret'})).toMatchObject({storage: {token: 'secret'}});
});

test.each([
  [undefined, 2 ** 30],
  ['8MiB', 8 * 2 ** 20],
  ['2GiB', 2 ** 31],
  ['none', undefined],
])('artifact-part-size: %s', (text, partBytes) => {
  const {storage} = parse({...(text && {'artifact-part-size': text})}) as {storage: {partBytes?: number}};
  expect(storage.partBytes).toBe(partBytes);
});

test('a restore finds the artifacts of another run and repository', () => {
  const other = {'run-id': '7', repository: 'octo-org/shop', 'github-token': 'secret'};
  expect(parse({mode: 'restore', ...other})).toMatchObject({
    storage: {kind: 'artifact', runId: 7, repository: {owner: 'octo-org', name: 'shop'}, token: 'secret'},
  });
});

test('a preparation takes a role, its password, and who makes it', () => {
  const role = {user: 'backup', password: 'secret', host: 'db'};
  const connection = {
    parameters: {application_name: 'pg-basebackup-action 1-1', host: 'db', user: 'backup'},
    environment: {},
    password: 'secret',
  };
  expect(parsePrepare(role)).toEqual({mode: 'prepare', connection, admin: {}, dryRun: false});
  const admin = {'admin-user': 'root', 'admin-password': ' p ', 'client-address': '10.0.0.0/8'};
  expect(parsePrepare({...role, ...admin, 'dry-run': 'true'})).toEqual({
    mode: 'prepare',
    connection,
    admin: {user: 'root', password: ' p '},
    clientNetwork: '10.0.0.0/8',
    dryRun: true,
  });
});

test('with a container, variables do not tell where the server is', () => {
  const variables = {PGHOST: 'prod.example.com', PGPORT: '6432', PGUSER: 'backup'};
  const {host, port, user} = parseBackup({container: 'abc'}, variables).connection.parameters;
  expect({host, port, user}).toEqual({host: undefined, port: undefined, user: 'backup'});
  expect(parseBackup({container: 'abc', host: 'db'}, variables).connection.parameters.host).toBe('db');
  expect(parseBackup({}, variables).connection.parameters.host).toBe('prod.example.com');
});

test('the time limit of a connection comes from the string, else from libpq’s variable', () => {
  const limitOf = (inputs: Record<string, string>) =>
    parseBackup(inputs, {PGCONNECT_TIMEOUT: '7'}).connection.parameters.connect_timeout;
  expect(limitOf({})).toBe('7');
  expect(limitOf({'connection-string': 'connect_timeout=3'})).toBe('3');
});

test('a preparation does not give the role the password of the administrator', () => {
  expect(() => parsePrepare({user: 'backup'}, {PGPASSWORD: 'of the superuser'})).toThrow(
    'password: it is not set',
  );
});

test('a preparation falls back on libpq’s variables, the administrator’s password on PGPASSWORD', () => {
  const request = parsePrepare({password: 'secret'}, {PGUSER: 'backup', PGPASSWORD: 'other'});
  expect(request.connection.parameters.user).toBe('backup');
  expect(request.connection.password).toBe('secret');
  expect(request.admin).toEqual({password: 'other'});
});

test.each([
  ['192.0.2.7', '192.0.2.7/32'],
  ['2001:db8::7', '2001:db8::7/128'],
  ['2001:db8::/32', '2001:db8::/32'],
])('client-address %s is the network %s', (text, network) => {
  const role = {user: 'backup', password: 'secret'};
  expect(parsePrepare({...role, 'client-address': text}).clientNetwork).toBe(network);
});

test('all that a preparation lacks is told together', () => {
  const problems =
    /3 inputs[\s\S]*user: it is not set[\s\S]*password: it is not set[\s\S]*client-address: "db.example.com"/;
  expect(() => parse({mode: 'prepare', 'client-address': 'db.example.com'})).toThrow(problems);
});

test.each([
  [{user: 'pg_backup'}, 'that PostgreSQL reserves'],
  [{user: 'public'}, 'that PostgreSQL reserves'],
  [{user: 'ü'.repeat(32)}, 'longer than 63 bytes'],
  [{user: 'a\nb'}, 'user: it must not contain a line break'],
  [{user: 'root', 'admin-user': 'root'}, 'is the admin-user'],
  [{'admin-password': 'a\nb'}, 'admin-password: it must not contain a line break'],
  [{'client-address': '10.0.0.0/33'}, 'client-address'],
  [
    {'backup-name': 'x'},
    'backup-name: it belongs to mode: backup or restore or verify, and this is mode: prepare',
  ],
  [{'tablespace-mapping': '/a=/b'}, 'tablespace-mapping: it belongs to mode: backup or restore'],
  [{format: 'tar'}, 'format: it belongs to mode: backup'],
  [{checks: 'dump'}, 'checks: it belongs to mode: restore'],
])('a preparation is refused with %j', (inputs, message) => {
  const role = {user: 'backup', password: 'secret'};
  expect(() => parsePrepare({...role, ...(inputs as unknown as Record<string, string>)})).toThrow(message);
});

describe('a connection', () => {
  test('takes single inputs before the string, and the string before the environment', () => {
    const inputs = {host: 'input', 'connection-string': 'host=string port=1 user=string'};
    const environment = {
      PGHOST: 'variable',
      PGPORT: '2',
      PGUSER: 'variable',
      PGDATABASE: 'variable',
      PGSSLMODE: 'require',
    };
    expect(parseBackup(inputs, environment).connection.parameters).toEqual({
      application_name: 'pg-basebackup-action 1-1',
      host: 'input',
      port: '1',
      user: 'string',
      dbname: 'variable',
      sslmode: 'require',
    });
  });

  test('keeps its password apart, wherever it comes from', () => {
    const password = `p@ss:/ w%rd?#'"\\`;
    for (const connection of [
      parseBackup({password}).connection,
      parseBackup({'connection-string': `postgresql://u:${encodeURIComponent(password)}@db`}).connection,
      parseBackup({}, {PGPASSWORD: password}).connection,
    ]) {
      expect(connection.password).toBe(password);
      expect(JSON.stringify([connection.parameters, connection.environment])).not.toContain('w%rd');
    }
  });

  test('hands on libpq’s other variables, but none that leads elsewhere', () => {
    const environment = {
      PGSSLCERT: '/c',
      PGPASSFILE: '/p',
      PGSERVICE: 'x',
      PGOPTIONS: '-c x=y',
      PGDATA: '/d',
      OTHER: 'x',
    };
    expect(parseBackup({}, environment).connection.environment).toEqual({PGSSLCERT: '/c', PGPASSFILE: '/p'});
  });
});

describe('compress', () => {
  test.each([
    ['none', {method: 'none'}],
    ['gzip', {method: 'gzip'}],
    ['gzip:6', {method: 'gzip', detail: '6'}],
    ['client-zstd:level=3,workers=4', {method: 'zstd', where: 'client', detail: 'level=3,workers=4'}],
    ['server-lz4', {method: 'lz4', where: 'server'}],
    ['zstd:long', {method: 'zstd', detail: 'long'}],
  ])('%s', (text, expected) => {
    expect(parseBackup({compress: text}).compress).toEqual(expected);
  });

  test.each(['rar', 'gzip:', 'gzip:thunk', 'client-none', 'none:1', 'middle-gzip', 'gzip:level=x'])(
    'refuses %s',
    (text) => {
      expect(() => parse({compress: text})).toThrow(/compress: .* is not auto, none/);
    },
  );

  test('in the client is refused for a plain backup', () => {
    expect(() => parse({format: 'plain', compress: 'gzip'})).toThrow('only format: tar');
    expect(parseBackup({format: 'plain', compress: 'server-gzip'}).compress).toEqual({
      method: 'gzip',
      where: 'server',
    });
  });
});

test('a mapping reads escaped equals signs', () => {
  const request = parseRestore({'tablespace-mapping': '/a\\=b=/c\n\n /d = /e '});
  expect([...request.tablespaceMapping]).toEqual([
    ['/a=b', '/c'],
    ['/d', '/e'],
  ]);
});

test.each([
  ['90m', 5400],
  ['26h', 93_600],
  ['8d', 691_200],
  ['2w', 1_209_600],
])('an age of %s is %d seconds', (text, seconds) => {
  expect(parseRestore({'max-backup-age': text}).maxBackupAgeSeconds).toBe(seconds);
});

test.each([
  [{'recovery-target-time': '2026-11-22 08:00:00+00'}, {kind: 'time', value: '2026-11-22 08:00:00+00'}],
  [{'recovery-target-lsn': '0/3000060'}, {kind: 'lsn', value: '0/3000060'}],
  [{'recovery-target': 'immediate'}, {kind: 'immediate', value: 'immediate'}],
])('%j is a recovery target', (inputs, target) => {
  expect(parseRestore(inputs).recovery.target).toEqual(target);
});

test('checks are listed by line, comma or blank, and run in a fixed order', () => {
  expect(parseRestore({checks: 'amcheck, dump\nmanifest'}).checks).toEqual(['manifest', 'dump', 'amcheck']);
});

test('a standby takes a connection and is not isolated', () => {
  const request = parseRestore({standby: 'true', host: 'primary'});
  expect(request.primary?.parameters.host).toBe('primary');
  expect(request.isolate).toBe(false);
  expect(parseRestore({standby: 'true', slot: 'replica_1'}).slot).toBe('replica_1');
});

test.each([
  [{mode: 'restore', 'recovery-target-time': '2026-11-22 08:00:00'}, 'with a zone'],
  [
    {mode: 'restore', 'recovery-target-time': '2026-11-22 08:00+00', 'recovery-target-lsn': '0/1'},
    'one target at most',
  ],
  [{mode: 'restore', format: 'tar'}, 'format: it belongs to mode: backup'],
  [{mode: 'restore', host: 'db'}, 'host: in mode: restore it is used with standby: true only'],
  [{mode: 'restore', slot: 's'}, 'slot: in mode: restore it is used with standby: true only'],
  [{mode: 'restore', standby: 'true', slot: 'S'}, 'the name of a replication slot'],
  [{mode: 'restore', standby: 'true', isolate: 'true'}, 'isolate: a standby follows its primary'],
  [
    {mode: 'restore', standby: 'true', 'recovery-target': 'immediate'},
    'recovery-target: a standby replays all',
  ],
  [{mode: 'restore', standby: 'true', checks: 'amcheck'}, 'amcheck installs its extension'],
  [
    {mode: 'restore', 'recovery-target': 'immediate', 'recovery-target-action': 'pause', checks: 'amcheck'},
    'amcheck cannot install its extension',
  ],
  [{'keep-running': 'true'}, 'keep-running: it belongs to mode: restore'],
  [{'admin-user': 'root'}, 'admin-user: it belongs to mode: prepare, and this is mode: backup'],
  [{mode: 'restore', 'client-address': '::1'}, 'client-address: it belongs to mode: prepare'],
  [{mode: 'restore', 'run-id': '7'}, 'github-token: it is not set'],
  [{'artifact-part-size': '7MiB'}, 'artifact-part-size: "7MiB" is not none, or a size from 8MiB'],
  [{'artifact-part-size': '1GB'}, 'artifact-part-size: "1GB" is not none'],
  [
    {'artifact-part-size': '1GiB', storage: 'directory'},
    'artifact-part-size: it is used with storage: artifact',
  ],
  [{'artifact-part-size': '1GiB', format: 'plain'}, 'artifact-part-size: a plain backup'],
  [{mode: 'restore', 'artifact-part-size': '1GiB'}, 'artifact-part-size: it belongs to mode: backup'],
  [{mode: 'restore', 'data-directory': '/x$(id)'}, 'data-directory'],
  [{mode: 'restore', 'listen-port': '70000'}, 'listen-port'],
  [
    {mode: 'restore', 'postgresql-conf': "work_mem = 8MB\nData_Directory='/srv/production'"},
    'would start the server on other data',
  ],
  [{mode: 'restore', checks: 'everything'}, '"everything" is not one of manifest'],
  [{'tablespace-mapping': '/a=/b'}, 'belongs to format: plain'],
  [{format: 'plain', 'tablespace-mapping': '/a=b'}, 'two absolute paths'],
  [{'wal-method': 'fetch', slot: 's'}, 'wal-method: stream only'],
  [{storage: 'directory', 'retention-days': '3'}, 'storage: artifact only'],
  [{storage: 's3://backups', 'retention-days': '3'}, 'storage: artifact only'],
  [{storage: 's3://'}, "has no bucket's name"],
  [{storage: 'tape'}, '"tape" is not one of artifact, directory, s3://bucket/prefix'],
  [{'s3-endpoint': 'https://minio'}, 's3-endpoint: it is used with storage: s3://bucket/prefix only'],
  [{'s3-storage-class': 'STANDARD_IA'}, 's3-storage-class: it is used with storage: s3://bucket/prefix only'],
  [{storage: 's3://backups', 's3-endpoint': 'minio:9000'}, 'an address such as https://'],
  [{storage: 's3://backups', 's3-endpoint': 'https://key:secret@minio'}, 'an address such as https://'],
  [{storage: 's3://backups', 's3-path-style': 'yes'}, 'true or false'],
  [
    {storage: 's3://backups', 's3-server-side-encryption': 'rot13'},
    'not one of AES256, aws:kms, aws:kms:dsse',
  ],
  [{storage: 's3://backups', 's3-kms-key-id': 'alias/x'}, 'with s3-server-side-encryption: aws:kms'],
  [{storage: 's3://backups', 's3-storage-class': 'cold storage'}, 'the name of a storage class'],
  [{mode: 'verify', storage: 's3://backups', 's3-storage-class': 'STANDARD_IA'}, 'belongs to mode: backup'],
  [{'dry-run': 'yes'}, '"yes" is not true or false'],
  [{'max-rate': '12 parsecs'}, 'max-rate'],
  [{host: 'a,b'}, 'several hosts'],
])('%j is refused', (inputs, message) => {
  expect(() => parse(inputs as unknown as Record<string, string>)).toThrow(message);
});

test('everything that is wrong is reported together', () => {
  const bad = () => parse({format: 'rar', checkpoint: 'slow', 'backup-name': 'a/b', label: 'a\nb'});
  expect(bad).toThrow(/4 inputs[\s\S]*format: "rar"[\s\S]*checkpoint: "slow" is not one of fast, spread/);
});

test('a password that broke a connection string is not repeated', () => {
  const secret = 'p@ss:/w%rd';
  expect(() => parse({'connection-string': `postgresql://u:${secret}@db`})).not.toThrow(/w%rd/);
  expect(() => parse({'connection-string': `postgresql://u:${secret}@db`})).toThrow('connection-string');
});

test('an empty container is an expression that found no service, and not the runner', () => {
  expect(() => parseRequest((name) => (name === 'mode' ? 'restore' : ''), readRunContext({}))).toThrow(
    /container: it is empty: in \$\{\{ job\.services\.NAME\.id \}\}/,
  );
  expect(parseRestore({mode: 'restore', container: 'none'}).container).toBeUndefined();
  expect(parseRestore({mode: 'restore', container: 'db'}).container).toBe('db');
});

describe('a recovery target', () => {
  test.each([
    ['time', '2026-11-22 08:00:00+00'],
    ['time', '2026-11-22T08:00:00.5Z'],
    ['lsn', '16/B374D848'],
    ['xid', '742'],
    ['xid', String(5n * 2n ** 32n + 742n)],
    ['name', 'before the übung'],
  ] as const)('by %s may be %s', (kind, value) => {
    const {recovery} = parseRestore({[`recovery-target-${kind}`]: value});
    expect(recovery.target).toEqual({kind, value});
  });

  test.each([
    [{'recovery-target-time': '99:99+00'}, '"99:99+00" is not a time with a zone'],
    [{'recovery-target-time': '2026-02-30 08:00:00+00'}, 'is not a time with a zone'],
    [{'recovery-target-time': 'yesterday UTC'}, 'is not a time with a zone'],
    [{'recovery-target-lsn': '0/123456789'}, 'is not an LSN'],
    [{'recovery-target-xid': '2'}, 'is not a transaction id'],
    [{'recovery-target-xid': '0742'}, 'is not a transaction id'],
    [{'recovery-target-xid': String(2n ** 32n)}, 'is not a transaction id'],
    [{'recovery-target-xid': String(2n ** 64n + 742n)}, 'is not a transaction id'],
    [{'recovery-target-name': 'ü'.repeat(32)}, '63 bytes at most'],
    [{'recovery-target-name': 'a\tb'}, 'is not the name of a restore point'],
    [{'recovery-target': 'latest'}, 'is not immediate'],
    [{'recovery-target-timeline': '0'}, 'is not latest, current or a number'],
    [{'recovery-target-timeline': '4294967296'}, 'is not latest, current or a number'],
    [{'recovery-target-inclusive': 'false'}, 'PostgreSQL ignores it for anything else'],
    [{'recovery-target-inclusive': 'false', 'recovery-target-name': 'x'}, 'PostgreSQL ignores it'],
    [{'recovery-target-action': 'pause'}, 'needs a target to pause at'],
    [
      {'recovery-target-action': 'pause', 'recovery-target-xid': '742', checks: 'dump amcheck'},
      'amcheck cannot install its extension',
    ],
    [{'recovery-target-xid': '742', 'recovery-target-name': 'x'}, 'recovery has one target at most'],
    [{'recovery-target-xid': 'x', 'recovery-target-name': 'y'}, '2 inputs are not valid'],
  ])('is refused: %j', (inputs, message) => {
    expect(() => parseRestore(inputs as unknown as Record<string, string>)).toThrow(message);
  });
});

describe('which backups stay', () => {
  const directory = {storage: 'directory', 'keep-last': '7'};

  test('is read with the names that it is about', () => {
    expect(parseBackup({...directory, 'keep-monthly': '12'}).retention).toEqual({
      rules: {last: 7, monthly: 12},
      kind: {codes: 'basebackup-%Y%m%d-%H%M%S'},
    });
    expect(
      parseBackup({...directory, 'backup-name': 'shop-7', 'keep-names': 'shop-*'}).retention?.kind,
    ).toEqual({pattern: 'shop-*'});
  });

  test.for([
    [{...directory, 'keep-last': '0'}, 'keep-last: "0" is not a whole number from 1'],
    [{...directory, 'keep-names': '../*'}, 'keep-names: "../*" must not'],
    [{...directory, 'keep-names': 'latest'}, 'keep-names: "latest" is reserved'],
    [{storage: 'directory', 'keep-names': 'a*'}, 'keep-names: it is used with keep-last'],
    [{...directory, 'backup-name': 'nightly'}, 'keep-names: it is not set, and "nightly" has no codes'],
    [{'keep-last': '7'}, 'github-token: it is not set, and keep-* needs it'],
    [
      {...directory, 'github-token': 'secret'},
      'github-token: it is used with storage: artifact, attest or require-attestation only',
    ],
    [{...directory, attest: 'false', 'github-token': 'secret'}, 'github-token: it is used with storage'],
    [{mode: 'restore', 'backup-name': 'latest-verified'}, 'backup-name: latest-verified needs it'],
    [
      {mode: 'verify', 'backup-name': 'latest-verified', 'run-id': '7', 'github-token': 'secret'},
      'run-id: backup-name: latest-verified looks in all runs',
    ],
    [{'backup-name': 'latest-verified'}, 'backup-name: "latest-verified" is reserved'],
  ] as const)('is refused: %o', ([inputs, message]) => {
    expect(() => parse(inputs)).toThrow(message);
  });

  test('needs no codes in a name that other runs give, too', () => {
    const inputs = {'keep-last': '7', 'backup-name': 'nightly', 'github-token': 'secret'};
    expect(parseBackup(inputs).retention?.kind).toEqual({codes: 'nightly'});
  });
});

describe('incremental backups', () => {
  const directory = {storage: 'directory', incremental: 'true'};

  test('are asked for, with a full one each week unless it is said otherwise', () => {
    expect(parseBackup({}).incremental).toBeUndefined();
    expect(parseBackup(directory).incremental).toEqual({seconds: 7 * 86_400});
    expect(parseBackup({...directory, 'full-every': '2w'}).incremental).toEqual({seconds: 14 * 86_400});
    expect(parseBackup({...directory, 'full-every': '7'}).incremental).toEqual({backups: 7});
    expect(parseBackup({incremental: 'true', 'github-token': 'secret'}).incremental).toBeDefined();
  });

  test.for([
    [{storage: 'directory', 'full-every': '7d'}, 'full-every: it is used with incremental: true only'],
    [{...directory, 'full-every': '0'}, 'full-every: "0" is not a whole number from 1'],
    [{...directory, 'full-every': 'weekly'}, 'full-every: "weekly" is not a number of backups such as 7'],
    [{...directory, 'full-every': '7y'}, 'full-every: "7y" is not a number of backups'],
    [{incremental: 'true'}, 'github-token: it is not set, and incremental needs it'],
    [{mode: 'restore', incremental: 'true'}, 'incremental: it belongs to mode: backup'],
  ] as const)('are refused: %o', ([inputs, message]) => {
    expect(() => parse(inputs)).toThrow(message);
  });
});

describe('the inputs of encryption', () => {
  const recipient = 'age1ulmh4ejyjf4349ae64aamz2uv49xwncpr0ju6x0yh96e0qcl9p8s2t32tf';
  const identity = 'AGE-SECRET-KEY-184JMZMVQH3E6U0PSL869004Y3U2NYV7R30EU99CSEDNPH02YUVFSZW44VU';

  test('are read in the modes that they belong to', () => {
    const {encryption} = parseBackup({'encrypt-to': `# the office\n${recipient}\n${recipient}\n`});
    expect(encryption).toEqual({kind: 'recipients', recipients: [recipient]});
    expect(parseBackup({passphrase: 'long enough by far'}).encryption).toEqual({
      kind: 'passphrase',
      passphrase: 'long enough by far',
    });
    expect(parseRestore({'decrypt-with': identity}).decryption).toEqual({identities: {text: identity}});
    expect(parseRestore({'decrypt-with': 'keys/own'}).decryption).toEqual({
      identities: {path: '/work/keys/own'},
    });
    const incremental = {storage: 'directory', incremental: 'true'};
    expect(parseBackup({...incremental, 'decrypt-with': identity}).decryption).toEqual({
      identities: {text: identity},
    });
    expect(parseBackup({...incremental, passphrase: 'long enough by far'}).decryption).toEqual({
      passphrase: 'long enough by far',
    });
    expect(parseRestore({passphrase: 'short'}).decryption).toEqual({passphrase: 'short'});
  });

  test.for([
    [{'encrypt-to': 'bob'}, 'encrypt-to: "bob" is no recipient'],
    [
      {'encrypt-to': 'age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj'},
      'whose secret key everybody knows',
    ],
    [{'encrypt-to': identity}, 'encrypt-to: it is a secret key'],
    [{'encrypt-to': recipient, passphrase: 'long enough by far'}, 'passphrase: it does not go together'],
    [{passphrase: 'geheim'}, 'passphrase: it has fewer than 10 characters'],
    [{passphrase: 'geheim\ngeheim'}, 'passphrase: it must not contain a line break'],
    [
      {'decrypt-with': identity},
      'decrypt-with: in backup mode it opens what an incremental backup builds on',
    ],
    [{mode: 'restore', 'encrypt-to': recipient}, 'encrypt-to: it belongs to mode: backup'],
    [{mode: 'verify', 'decrypt-with': `${identity}x`}, 'decrypt-with: an AGE-SECRET-KEY'],
    [
      {storage: 'directory', 'allow-public-plaintext': 'true'},
      'allow-public-plaintext: it is used with storage: artifact only',
    ],
    [{'allow-public-plaintext': 'yes'}, 'allow-public-plaintext: "yes" is not true or false'],
  ] as const)('are refused without a word of a secret: %#', ([inputs, message]) => {
    const refusal = (() => {
      try {
        parse(inputs);
        return 'nothing';
      } catch (error) {
        return String(error);
      }
    })();
    expect(refusal).toContain(message);
    expect(refusal).not.toMatch(/184JMZMV|geheim/);
  });
});

test('an object store is told by storage', () => {
  expect(parse({storage: 's3://backups/main/'})).toMatchObject({
    storage: {kind: 's3', location: {bucket: 'backups', prefix: 'main/'}},
  });
  const inputs = {
    storage: 's3://backups',
    's3-endpoint': 'https://minio.example.com:9000',
    's3-path-style': 'false',
    's3-server-side-encryption': 'aws:kms',
    's3-kms-key-id': 'alias/backups',
    's3-storage-class': 'STANDARD_IA',
  };
  expect(parse(inputs)).toMatchObject({
    storage: {
      kind: 's3',
      location: {bucket: 'backups', prefix: ''},
      endpoint: 'https://minio.example.com:9000',
      pathStyle: false,
      encryption: 'aws:kms',
      kmsKeyId: 'alias/backups',
      storageClass: 'STANDARD_IA',
    },
  });
});

describe('attestations', () => {
  const here = {GITHUB_SERVER_URL: 'https://github.com', GITHUB_REPOSITORY: 'octo-org/octo-repo'};
  const directory = {storage: 'directory', 'github-token': 'secret'};
  const required = (inputs: Record<string, string>, environment: NodeJS.ProcessEnv = here) => {
    const request = parse({mode: 'verify', ...directory, ...inputs}, environment);
    if (request.mode !== 'verify') throw new Error('not a verification');
    return request.requiredAttestation;
  };

  test('an attestation is made with the token and what GitHub tells of the run', () => {
    const attestation = {token: 'secret', repository: 'octo-org/octo-repo', serverUrl: 'https://github.com'};
    const identity = {ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'y'};
    const attest = {...directory, attest: 'true'};
    expect(parseBackup(attest, here).attestation).toEqual({...attestation, mayIdentify: false});
    expect(parseBackup(attest, {...here, ...identity}).attestation).toEqual({
      ...attestation,
      mayIdentify: true,
    });
    expect(parseBackup(attest).attestation).toEqual({token: 'secret', mayIdentify: false});
    expect(parseBackup({attest: 'false'}, here).attestation).toBeUndefined();
  });

  test.for([
    ['true', {repository: 'octo-org/octo-repo'}],
    ['other/name.x', {repository: 'other/name.x'}],
    ['o/n/.github/workflows/backup.yml', {repository: 'o/n', workflow: '.github/workflows/backup.yml'}],
    [
      'o/n/.github/workflows/b.yaml@refs/heads/release/1.0',
      {repository: 'o/n', workflow: '.github/workflows/b.yaml@refs/heads/release/1.0'},
    ],
  ] as const)('%s is demanded', ([value, who]) => {
    const all = {token: 'secret', serverUrl: 'https://github.com', ...who};
    expect(required({'require-attestation': value})).toEqual(all);
    expect(parse({mode: 'restore', ...directory, 'require-attestation': value}, here)).toMatchObject({
      requiredAttestation: all,
    });
  });

  test('true is of the repository that the backup is looked up in', () => {
    const inputs = {storage: 'artifact', repository: 'octo-org/other', 'run-id': 'latest'};
    expect(required({...inputs, 'require-attestation': 'true'})?.repository).toBe('octo-org/other');
  });

  test('none is demanded by false', () => {
    const inputs = {storage: 'artifact', 'require-attestation': 'False'};
    expect(required(inputs)).toBeUndefined();
  });

  const noToken = {storage: 'directory', 'github-token': ''};
  test.for([
    [{'require-attestation': 'yes'}, here, 'require-attestation: "yes" is not true, false, a repository'],
    [{'require-attestation': '../x'}, here, 'require-attestation: "../x" is not'],
    [{'require-attestation': 'o/n/backup.yml'}, here, 'is not true, false, a repository'],
    [{'require-attestation': 'true'}, {}, 'require-attestation: GITHUB_REPOSITORY is not set'],
    [
      {...noToken, 'require-attestation': 'true'},
      here,
      'github-token: it is not set, and require-attestation',
    ],
    [{...noToken, mode: 'backup', attest: 'true'}, here, 'github-token: it is not set, and attest needs it'],
    [{mode: 'backup', attest: 'sure'}, here, 'attest: "sure" is not true or false'],
  ] as const)('is refused: %o', ([inputs, environment, message]) => {
    expect(() => required(inputs, environment)).toThrow(message);
  });
});
