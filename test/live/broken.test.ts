import {execFileSync} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {run} from '../support/command.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {backupDirectory, restoreInputs} from '../support/steps.js';
import {addMembers, editArchive, editMember, membersOf, replaceMember} from '../support/tar-archive.js';
import {flipByte, listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

/** A way to break a backup that was made by hand, and what the refusal must name. */
type Case = readonly [what: string, names: RegExp, spoil: (directory: string) => void];

const base = (directory: string) => join(directory, 'base.tar');
const table = 'base/1/1259';
const more = Buffer.from('more');

/** The archive of the tablespace, and a file in it. */
function tablespace(directory: string): {path: string; file: string} {
  const name = readdirSync(directory).find((one) => /^\d+\.tar$/.test(one)) ?? '';
  const path = join(directory, name);
  const file = membersOf(readFileSync(path)).find(({size}) => size > 8192)?.name ?? '';
  return {path, file};
}

function segmentOf(path: string): string {
  return membersOf(readFileSync(path)).find(({name}) => /^[0-9A-F]{24}$/.test(name))?.name ?? '';
}

function asDirectory(path: string): void {
  rmSync(path);
  mkdirSync(path);
}

function asFifo(path: string): void {
  rmSync(path);
  execFileSync('mkfifo', [path]);
}

const shorten = (path: string, bytes: number) => truncateSync(path, statSync(path).size - bytes);

function compress(codec: 'gzip' | 'zstd' | 'lz4', suffix: string): (directory: string) => void {
  return (directory) => {
    writeFileSync(
      join(directory, `base.tar.${suffix}`),
      execFileSync(codec, ['-c'], {input: readFileSync(base(directory)), maxBuffer: 2 ** 28}),
    );
    rmSync(base(directory));
  };
}

const garbageBehind = (codec: 'gzip' | 'zstd' | 'lz4', suffix: string) => (directory: string) => {
  compress(codec, suffix)(directory);
  appendFileSync(join(directory, `base.tar.${suffix}`), randomBytes(3000));
};

/** As pg_verifybackup/t/003_corruption.pl, in tar. */
const corruptions: readonly Case[] = [
  ['a file more', /base\/1\/extra/, (at) => addMembers(base(at), {name: 'base/1/extra', content: more})],
  [
    'a file more in the tablespace',
    /pg_tblspc\/\d+\/extra/,
    (at) => addMembers(tablespace(at).path, {name: 'extra', content: more}),
  ],
  ['a file less', /base\/1\/1259/, (at) => replaceMember(base(at), table)],
  [
    'a file less in the tablespace',
    /pg_tblspc\/\d+\/PG_/,
    (at) => replaceMember(tablespace(at).path, tablespace(at).file),
  ],
  ['a tablespace less', /\d+\.tar/, (at) => rmSync(tablespace(at).path)],
  [
    'bytes more in a file',
    /base\/1\/1259/,
    (at) => editMember(base(at), table, (bytes) => Buffer.concat([bytes, more])),
  ],
  [
    'bytes less in a file',
    /base\/1\/1259/,
    (at) => editMember(base(at), table, (bytes) => bytes.subarray(0, 8192)),
  ],
  [
    'another file in its place',
    /base\/1\/1259/,
    (at) => editMember(base(at), table, (bytes) => randomBytes(bytes.length)),
  ],
  [
    'a file of another cluster',
    /global\/pg_control/,
    (at) => editMember(base(at), 'global/pg_control', flipSystem),
  ],
];

/** The system identifier is the first thing in pg_control. */
function flipSystem(control: Buffer): Buffer {
  control.writeUInt8(control.readUInt8(2) ^ 0xff, 2);
  return control;
}

const archives: readonly Case[] = [
  ...[512, 1024].map(
    (bytes): Case => [
      `${bytes} bytes cut off base.tar`,
      /base\.tar: it was cut/,
      (at) => shorten(base(at), bytes),
    ],
  ),
  ['1024 bytes cut off the tablespace', /\d+\.tar: it was cut/, (at) => shorten(tablespace(at).path, 1024)],
  ['512 bytes cut off the WAL', /pg_wal\.tar: it was cut/, (at) => shorten(join(at, 'pg_wal.tar'), 512)],
  ['an empty base.tar', /base\.tar: it is empty/, (at) => truncateSync(base(at))],
  [
    'random bytes for base.tar',
    /base\.tar: it is neither a tar archive/,
    (at) => writeFileSync(base(at), randomBytes(40_000)),
  ],
  ['a directory for base.tar', /base\.tar: it is not a file/, (at) => asDirectory(base(at))],
  ['a FIFO for base.tar', /base\.tar: it is not a file/, (at) => asFifo(base(at))],
  ['base.tar twice', /base\.tar/, (at) => writeFileSync(join(at, 'base.tar.gz'), readFileSync(base(at)))],
  [
    'two archives in one',
    /base\.tar: there is more behind its end mark/,
    (at) => editArchive(base(at), (tar) => Buffer.concat([tar, tar])),
  ],
  [
    'the same file twice',
    /base\.tar: .*base\/1\/1259.*two of its members/,
    (at) => addMembers(base(at), {name: table, content: more}),
  ],
  ['garbage behind gzip', /base\.tar\.gz/, garbageBehind('gzip', 'gz')],
  ['garbage behind zstd', /base\.tar\.zst/, garbageBehind('zstd', 'zst')],
  ['garbage behind lz4', /base\.tar\.lz4/, garbageBehind('lz4', 'lz4')],
];

const texts: readonly Case[] = [
  ...['', '9.6', '15\n::error::x'].map(
    (text): Case => [
      `PG_VERSION of ${JSON.stringify(text.slice(0, 20))}`,
      /PG_VERSION/,
      (at) => editMember(base(at), 'PG_VERSION', () => Buffer.from(text)),
    ],
  ),
  [
    'a backup_label of nonsense',
    /backup_label: it has no START WAL LOCATION/,
    (at) => editMember(base(at), 'backup_label', () => randomBytes(300)),
  ],
  [
    'a backup_label with a position outside of its segment',
    /backup_label: .* is not in WAL segment/,
    (at) =>
      editMember(base(at), 'backup_label', (label) =>
        Buffer.from(label.toString().replace(/\(file (.{23})./, '(file $19')),
      ),
  ],
  [
    'a tablespace_map of nonsense',
    /tablespace_map/,
    (at) => editMember(base(at), 'tablespace_map', () => randomBytes(300)),
  ],
];

const wal: readonly Case[] = [
  ['no WAL at all', /pg_wal\/0000000100000000000000/, (at) => rmSync(join(at, 'pg_wal.tar'))],
  [
    'a WAL archive without its segment',
    /pg_wal\.tar/,
    (at) => replaceMember(join(at, 'pg_wal.tar'), segmentOf(join(at, 'pg_wal.tar'))),
  ],
  [
    'WAL of zeros',
    /WAL parsing failed for timeline 1/,
    (at) => editMember(join(at, 'pg_wal.tar'), segmentOf(join(at, 'pg_wal.tar')), (bytes) => bytes.fill(0)),
  ],
  [
    'WAL that ends too early',
    /WAL parsing failed for timeline 1/,
    (at) =>
      editMember(join(at, 'pg_wal.tar'), segmentOf(join(at, 'pg_wal.tar')), (bytes) => bytes.fill(0, 0x30)),
  ],
];

/** Changes a manifest and gives it a checksum that fits. */
function rewriteManifest(directory: string, change: (text: string) => string): void {
  const path = join(directory, 'backup_manifest');
  const body = change(readFileSync(path, 'utf8').replace(/"Manifest-Checksum.*\n$/, ''));
  const sha256 = createHash('sha256').update(body).digest('hex');
  writeFileSync(path, `${body}"Manifest-Checksum": "${sha256}"}\n`);
}

const malformed = (what: string, from: string | RegExp, to: string): Case => [
  `a manifest with ${what}`,
  /backup_manifest/,
  (at) =>
    rewriteManifest(at, (text) => {
      const changed = text.replace(from, to);
      if (changed === text) throw new Error(`The manifest has no ${from}.`);
      return changed;
    }),
];

/** As pg_verifybackup/t/005_bad_manifest.pl, as far as such a manifest gets beyond its first reading. */
const manifests: readonly Case[] = [
  malformed(
    'another version',
    '"PostgreSQL-Backup-Manifest-Version": 1',
    '"PostgreSQL-Backup-Manifest-Version": 9876599',
  ),
  malformed('a field that is unknown', '"Files": [', '"Oops": 1, "Files": ['),
  malformed('a path twice', /(\{ "Path": "PG_VERSION"[^}]*\},)/, '$1 $1'),
  malformed(
    'a checksum of an unknown kind',
    '"Checksum-Algorithm": "CRC32C"',
    '"Checksum-Algorithm": "nonsense"',
  ),
  malformed('another size', /("Path": "PG_VERSION", "Size": )3/, '$14'),
  malformed('no file for PG_VERSION', /\{ "Path": "PG_VERSION"[^}]*\},/, ''),
  malformed(
    'a file that nobody has',
    '"Files": [',
    '"Files": [ { "Path": "base/1/none", "Size": 1, "Last-Modified": "2026-11-22 08:00:00 GMT" },',
  ),
  malformed('WAL of another timeline', '"Timeline": 1', '"Timeline": 7'),
  malformed('WAL that ends later', /"End-LSN": "[^"]*"/, '"End-LSN": "7/FF000000"'),
  [
    'a manifest of another cluster’s text',
    /backup_manifest: it is not complete JSON/,
    (at) => writeFileSync(join(at, 'backup_manifest'), 'root:x:0:0'),
  ],
  ['a manifest that is cut', /backup_manifest/, (at) => shorten(join(at, 'backup_manifest'), 3)],
  [
    'a manifest as large as a disk',
    /backup_manifest: it has \d+ bytes/,
    (at) => truncateSync(join(at, 'backup_manifest'), 2 ** 36),
  ],
  [
    'a directory for a manifest',
    /backup_manifest: it is not a file/,
    (at) => asDirectory(join(at, 'backup_manifest')),
  ],
];

const plain: readonly Case[] = [
  ['a file more', /base\/1\/extra/, (at) => writeFileSync(join(at, 'base/1/extra'), more)],
  ['a file less', /base\/1\/1259/, (at) => rmSync(join(at, table))],
  ['bytes more in a file', /base\/1\/1259/, (at) => appendFileSync(join(at, table), more)],
  ['bytes less in a file', /base\/1\/1259/, (at) => shorten(join(at, table), 100)],
  ['an empty file', /base\/1\/1259/, (at) => truncateSync(join(at, table))],
  [
    'another file in its place',
    /base\/1\/1259/,
    (at) => writeFileSync(join(at, table), randomBytes(statSync(join(at, table)).size)),
  ],
  ['a directory in the place of a file', /base\/1\/1259/, (at) => asDirectory(join(at, table))],
  ['a FIFO in the place of a file', /base\/1\/1259/, (at) => asFifo(join(at, table))],
  ['no pg_control', /global\/pg_control/, (at) => rmSync(join(at, 'global/pg_control'))],
  ['a file of another cluster', /global\/pg_control/, (at) => flipByte(join(at, 'global/pg_control'), 2)],
  [
    'WAL of zeros',
    /WAL parsing failed for timeline 1/,
    (at) => {
      const segment = readdirSync(join(at, 'pg_wal')).find((name) => /^[0-9A-F]{24}$/.test(name)) ?? '';
      writeFileSync(join(at, 'pg_wal', segment), Buffer.alloc(2 ** 24));
    },
  ],
  ['no backup_manifest', /backup_manifest is missing/, (at) => rmSync(join(at, 'backup_manifest'))],
];

describeWithPostgres('a broken backup that was made by hand is refused:', () => {
  const sound: Record<'tar' | 'plain', Workspace> = {tar: makeWorkspace(), plain: makeWorkspace()};

  beforeAll(async () => {
    const source = await createCluster();
    try {
      const fast = await source.tablespace('fast');
      await source.sql('create table here as select 1 as a');
      await source.sql('create table there tablespace fast as select generate_series(1, 1000) as a');
      await byHand(source, sound.tar, ['-Ft']);
      await byHand(source, sound.plain, ['-Fp', '-T', `${fast}=${join(sound.plain.directory, 'fast')}`]);
    } finally {
      await source.remove();
    }
    return async () => {
      for (const home of Object.values(sound)) await home.remove();
    };
  });

  function copyOf(kind: 'tar' | 'plain'): Workspace {
    const home = workspace();
    execFileSync('cp', ['--archive', `${sound[kind].directory}/.`, home.directory]);
    return home;
  }

  describe.each([
    ['corrupt: ', 'tar', corruptions],
    ['its archives: ', 'tar', archives],
    ['its texts: ', 'tar', texts],
    ['its WAL: ', 'tar', wal],
    ['its manifest: ', 'tar', manifests],
    ['a plain directory with ', 'plain', plain],
  ] as const)('%s', (_, kind, cases) => {
    test.each(cases)('%s', async (_what, names, spoil) => {
      const home = copyOf(kind);
      spoil(backupDirectory(home));
      const result = await runAction(restoreInputs(), {workspace: home});
      expect(failure(result)).toMatch(names);
      expect(result.stdout).not.toMatch(/^::error::x/m);
      expect(listAll(home.temp)).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
    });
  });

  test('(while one whose name tells another codec restores: its content tells the right one)', async () => {
    const home = copyOf('tar');
    compress('zstd', 'gz')(backupDirectory(home));
    succeeded(await runAction(restoreInputs(), {workspace: home}));
  });
});

async function byHand(source: Cluster, home: Workspace, args: readonly string[]): Promise<void> {
  const {host, port, user} = source.connection;
  mkdirSync(join(home.directory, 'backups'));
  const target = ['-D', backupDirectory(home), '-h', host, '-p', String(port), '-U', user, '-c', 'fast'];
  await run(postgresProgram('pg_basebackup'), [...target, ...args]);
}
