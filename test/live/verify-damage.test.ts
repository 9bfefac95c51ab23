import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {basename, join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {run} from '../support/command.js';
import {type Corruption, corruptions} from '../support/corruptions.js';
import {repack, takeByHand, theOnly, verifiedByPostgres} from '../support/hand-made.js';
import {changeManifest} from '../support/manifest.js';
import {failure, runAction} from '../support/runner.js';
import {backUp, backupDirectory} from '../support/steps.js';
import {
  fingerprint,
  flipByte,
  listAll,
  makeWorkspace,
  type Workspace,
  workspace,
} from '../support/workspace.js';

const verifyInputs = {mode: 'verify', storage: 'directory', 'backup-name': 'nightly'};
const segment = /^[0-9A-F]{24}$/;
// pg_verifybackup/t/007_wal.pl, and more.
const walDamages: readonly Corruption[] = [
  {
    damage: 'a missing segment',
    spoil: (wal) => rmSync(join(wal, last(wal))),
    names: /pg_wal\/0000000[0-9A-F]{17}: it is missing, and the backup needs the WAL/,
  },
  {
    damage: 'a segment of other content',
    spoil: (wal) => writeFileSync(join(wal, last(wal)), Buffer.alloc(1 << 20, 'w')),
    names: /pg_wal\/0000000[0-9A-F]{17}: its first page is not one of WAL/,
  },
  {
    damage: 'a truncated segment',
    spoil: (wal) => truncateSync(join(wal, segments(wal)[0] ?? ''), 4096),
    names: /pg_wal\/0000000[0-9A-F]{17}: it has 4096 bytes/,
  },
  {
    damage: 'an empty segment',
    spoil: (wal) => truncateSync(join(wal, last(wal))),
    names: /pg_wal\/0000000[0-9A-F]{17}: it has 0 bytes/,
  },
  {
    damage: 'two segments that have changed places',
    spoil: (wal) => {
      const [a = '', b = ''] = segments(wal).slice(-2);
      renameSync(join(wal, a), join(wal, 'other'));
      renameSync(join(wal, b), join(wal, a));
      renameSync(join(wal, 'other'), join(wal, b));
    },
    names: /pg_wal\/0000000[0-9A-F]{17}: its content is that of 0\/[0-9A-F]+, and by its name it begins at/,
  },
  {
    damage: 'no segment at all',
    spoil: (wal) => {
      for (const name of segments(wal)) rmSync(join(wal, name));
    },
    names: /pg_wal: the WAL from 0\/[0-9A-F]+ to 0\/[0-9A-F]+ is missing/,
  },
];

/** What can happen to an archive or its directory. */
const archiveDamages: readonly {
  readonly damage: string;
  spoil(directory: string): unknown;
  readonly names: RegExp;
}[] = [
  {
    damage: 'the last 512 bytes of base.tar lost',
    spoil: (directory) => cutEnd(join(directory, 'base.tar'), 512),
    names: /base\.tar: it was cut: its end mark/,
  },
  {
    damage: 'the last 1024 bytes of base.tar lost',
    spoil: (directory) => cutEnd(join(directory, 'base.tar'), 1024),
    names: /base\.tar: it was cut: its end mark/,
  },
  {
    damage: 'half of base.tar lost',
    spoil: (directory) => cutEnd(join(directory, 'base.tar'), statSync(join(directory, 'base.tar')).size / 2),
    names:
      /base\.tar: it was cut: it ends within \S+\n(.*\n)*base\.tar: \d+ files of the manifest were not found/,
  },
  {
    damage: 'something behind the end of base.tar',
    spoil: (directory) => appendFileSync(join(directory, 'base.tar'), 'x'.repeat(512)),
    names: /base\.tar: there is more behind its end mark/,
  },
  {
    damage: 'a header of base.tar that is damaged',
    spoil: (directory) => flipByte(join(directory, 'base.tar'), 3),
    names: /base\.tar: what follows its beginning is not the header of a tar member/,
  },
  {
    damage: 'a missing tablespace archive',
    spoil: (directory) => rmSync(theOnly(directory, /^\d+\.tar$/)),
    names: /\d+\.tar: it is missing, and with it \d+ files/,
  },
  {
    damage: 'a missing pg_wal.tar',
    spoil: (directory) => rmSync(join(directory, 'pg_wal.tar')),
    names: /pg_wal: the WAL from .* is missing/,
  },
  {
    damage: 'a missing base.tar',
    spoil: (directory) => rmSync(join(directory, 'base.tar')),
    names: /base\.tar/,
  },
  {
    damage: 'a missing backup_manifest',
    spoil: (directory) => rmSync(join(directory, 'backup_manifest')),
    names: /backup_manifest: it is missing/,
  },
  {
    damage: 'a changed backup_manifest',
    spoil: (directory) => edit(directory, (text) => text.replace('"Size": 8192', '"Size": 8193')),
    names: /backup_manifest: its own checksum is/,
  },
  {
    damage: 'a file that no backup in tar format has',
    spoil: (directory) => writeFileSync(join(directory, 'backup.json'), '{}'),
    names: /backup\.json: it is there, but no backup in tar format holds it/,
  },
  {
    damage: 'a member that is there twice',
    spoil: async (directory) => {
      const archive = join(directory, 'base.tar');
      mkdirSync(join(directory, '..', 'more'));
      await run('tar', ['--extract', `--file=${archive}`, `--directory=${directory}/../more`, 'PG_VERSION']);
      await run('tar', ['--append', `--file=${archive}`, `--directory=${directory}/../more`, 'PG_VERSION']);
    },
    names: /PG_VERSION: it is there twice/,
  },
  {
    damage: 'a member with an absolute name',
    spoil: (directory) =>
      run('tar', ['--append', '--absolute-names', `--file=${join(directory, 'base.tar')}`, '/etc/hostname']),
    names: /\/etc\/hostname: a name that leads out of the data directory, in base\.tar/,
  },
  {
    damage: 'a member whose name leads upwards',
    spoil: (directory) =>
      run('tar', [
        '--append',
        '--absolute-names',
        '--transform=s,^,base/../../,',
        `--file=${join(directory, 'base.tar')}`,
        '--directory=/etc',
        'hostname',
      ]),
    names: /base\/\.\.\/\.\.\/hostname: a name that leads out of the data directory, in base\.tar/,
  },
  {
    damage: 'a bomb',
    spoil: async (directory) => {
      const bomb = join(directory, '..', 'bomb');
      // Sparse on disk, and a few kilobytes when it is compressed.
      await run('truncate', ['--size=200M', bomb]);
      const archive = theOnly(directory, /^\d+\.tar$/);
      rmSync(archive);
      const compress = `tar --create --directory=${join(directory, '..')} bomb | zstd -1 -q > ${archive}.zst`;
      await run('sh', ['-c', compress]);
      rmSync(bomb);
    },
    names: /\d+\.tar\.zst: it unpacks to more than \d+ bytes, and its files have less by backup_manifest/,
  },
];

describeWithPostgres('a damaged backup is refused by verify, by the name of each file:', () => {
  let home: Workspace;
  const sound = (name: string) => join(home.directory, name);

  beforeAll(async () => {
    home = makeWorkspace();
    const source = await createCluster({initdbArgs: ['--wal-segsize=1']});
    try {
      await takeAll(source);
    } finally {
      await source.remove();
    }
    return () => home.remove();
  });

  async function takeAll(source: Cluster): Promise<void> {
    const path = await source.tablespace('fast');
    await source.sql('create table far (x) tablespace fast as select generate_series(1, 1000)');
    const mapping = `--tablespace-mapping=${path}=${sound('plain_fast')}`;
    // While it is taken, more than one segment is written: not ahead of it, however busy the machine is.
    const writing = source.sql(
      `do $$ begin
         while not exists (select from pg_stat_progress_basebackup where phase = 'streaming database files') loop
           perform pg_sleep(0.02), pg_stat_clear_snapshot();
         end loop;
       end $$;
       create table near as select md5(n::text) from generate_series(1, 60000) n; select pg_switch_wal()`,
    );
    await takeByHand(source, sound('plain'), ['--format=plain', '--max-rate=10M', mapping]);
    await writing;
    expect(segments(join(sound('plain'), 'pg_wal')).length).toBeGreaterThan(2);
    await source.sql('drop table near');
    await takeByHand(source, sound('tar'));
    await backUp(source, home, {compress: 'none'});
  }

  /** A copy of a sound backup in a workspace of its own, as the backup `nightly`. */
  function copyOf(from: string): {own: Workspace; directory: string} {
    const own = workspace();
    const directory = backupDirectory(own);
    mkdirSync(join(directory, '..'));
    cpSync(sound(from), directory, {recursive: true, verbatimSymlinks: true});
    if (from === 'plain') {
      cpSync(sound('plain_fast'), join(own.root, 'fast'), {recursive: true});
      const link = theOnly(join(directory, 'pg_tblspc'), /^\d+$/);
      rmSync(link);
      symlinkSync(join(own.root, 'fast'), link);
    }
    return {own, directory};
  }

  async function problemsOf(own: Workspace): Promise<string> {
    // Beside the backup the damage is noted.
    const backups = () =>
      fingerprint(own.directory).filter((line) => !/^backups(\/nightly\.proof\.json)? /.test(line));
    const before = backups();
    const result = await runAction(verifyInputs, {workspace: own});
    expect(result.summary).toMatch(/^### ❌ Backup `\S+` is not proven: its verification failed$/m);
    const error = failure(result);
    expect(backups()).toEqual(before);
    expect(listAll(own.temp)).toEqual([]);
    return error;
  }

  describe('what cannot be read here is not called damaged:', () => {
    test('a cluster of a machine with the high byte first', async () => {
      const {own, directory} = copyOf('plain');
      editFile(join(directory, 'global/pg_control'), (control) => {
        control.subarray(0, 8).swap64();
        control.subarray(8, 12).swap32();
      });
      const error = await problemsOf(own);
      expect(error).toMatch(
        /^The backup cannot be verified here: it was made on a machine that puts the high byte/,
      );
      expect(error).not.toContain('damaged');
    });

    test('WAL with pages of another size', async () => {
      const {own, directory} = copyOf('plain');
      const wal = join(directory, 'pg_wal');
      for (const name of segments(wal)) editFile(join(wal, name), (bytes) => bytes.writeUInt32LE(16_384, 36));
      const error = await problemsOf(own);
      expect(error).toMatch(/^The backup cannot be verified here: the pages of its WAL have 16384 bytes/);
      expect(error).not.toContain('damaged');
      // What can be read still is.
      flipByte(join(directory, 'PG_VERSION'), 0);
      expect(await problemsOf(own)).toMatch(/The backup is damaged: PG_VERSION/);
    });

    test('but a size that no build has is damage', async () => {
      const {own, directory} = copyOf('plain');
      const wal = join(directory, 'pg_wal');
      editFile(join(wal, last(wal)), (bytes) => bytes.writeUInt32LE(8193, 36));
      expect(await problemsOf(own)).toMatch(/pg_wal\/\w{24}: its pages have 8193 bytes, which no build/);
    });
  });

  describe('in plain format', () => {
    test.for([...corruptions, ...walDamages.map(inWal)])('$damage', async ({spoil, names}) => {
      const {own, directory} = copyOf('plain');
      spoil(directory, join(own.root, 'fast'));
      expect(await problemsOf(own)).toMatch(names);
      await giveToPostgres(own.root);
      expect(verifiedByPostgres(directory)).toMatchObject({status: 1});
    });

    test('(while PostgreSQL, too, finds a sound one sound)', async () => {
      const {own, directory} = copyOf('plain');
      await giveToPostgres(own.root);
      expect(verifiedByPostgres(directory).said).toContain('backup successfully verified');
    });
  });

  describe('in tar format', () => {
    test.for(corruptions.filter(({damage}) => damage !== 'missing_tablespace'))(
      '$damage',
      async ({damage, spoil, names}) => {
        const {own, directory} = copyOf('tar');
        const isTablespace = damage.includes('tablespace');
        const archive = isTablespace ? theOnly(directory, /^\d+\.tar$/) : join(directory, 'base.tar');
        await repack(archive, (root) => spoil(root, root));
        expect(await problemsOf(own)).toMatch(names);
      },
    );

    // What is in two segments is not in a small backup without writers, and tar refuses to make an empty archive.
    test.for(walDamages.slice(1, -2))('$damage', async ({spoil, names}) => {
      const {own, directory} = copyOf('tar');
      await repack(join(directory, 'pg_wal.tar'), (wal) => spoil(wal, ''));
      expect(await problemsOf(own)).toMatch(names);
    });

    test.for(archiveDamages)('$damage', async ({spoil, names}) => {
      const {own, directory} = copyOf('tar');
      await spoil(directory);
      for (const extra of ['more', 'bomb'])
        rmSync(join(directory, '..', extra), {recursive: true, force: true});
      expect(await problemsOf(own)).toMatch(names);
    });
  });

  describe('with metadata', () => {
    function copyWithMetadata(): {own: Workspace; directory: string} {
      const own = workspace();
      cpSync(join(home.directory, 'backups'), join(own.directory, 'backups'), {recursive: true});
      return {own, directory: backupDirectory(own)};
    }

    test('a byte behind the end mark, which only the SHA-256 tells', async () => {
      const {own, directory} = copyWithMetadata();
      const archive = join(directory, 'base.tar');
      truncateSync(archive, statSync(archive).size - 512);
      appendFileSync(archive, Buffer.alloc(512));
      expect((await runAction(verifyInputs, {workspace: own})).status).toBe(0);
      appendFileSync(archive, Buffer.alloc(512));
      expect(await problemsOf(own)).toMatch(/base\.tar: it has \d+ bytes, but \d+ were recorded/);
    });

    test('an archive that was exchanged for another one', async () => {
      const {own, directory} = copyWithMetadata();
      // The last byte of the segment, behind the end of the backup.
      flipByte(join(directory, 'pg_wal.tar'), 512 + (1 << 20) - 1);
      expect(await problemsOf(own)).toMatch(/pg_wal\.tar: its SHA-256 is [0-9a-f]{64}, but/);
    });

    test('a file that is missing, or that they do not know', async () => {
      const {own, directory} = copyWithMetadata();
      rmSync(theOnly(directory, /^\d+\.tar$/));
      cpSync(join(directory, 'pg_wal.tar'), join(directory, '99999.tar'));
      const error = await problemsOf(own);
      expect(error).toMatch(/\d+\.tar: it is missing/);
      expect(error).toMatch(/99999\.tar: the metadata does not know it/);
    });

    test('no WAL, where they tell of some', async () => {
      const {own, directory} = copyWithMetadata();
      rmSync(join(directory, 'pg_wal.tar'));
      expect(await problemsOf(own)).toMatch(/pg_wal: the WAL from .* is missing/);
    });
  });

  test('all that is wrong with it at once', async () => {
    const {own, directory} = copyOf('tar');
    await repack(join(directory, 'base.tar'), (root) => {
      rmSync(join(root, 'pg_xact/0000'));
      flipByte(join(root, 'base/1/1259'), 5000);
      writeFileSync(join(root, 'extra file\n::error::'), '');
    });
    await repack(join(directory, 'pg_wal.tar'), (wal) => truncateSync(join(wal, last(wal)), 4096));
    const error = await problemsOf(own);
    expect(error).toMatch(/^The backup is damaged: 4 problems\.\n/);
    for (const name of ['pg_xact/0000', 'base/1/1259', 'extra file\\x0a::error::', 'pg_wal/0'])
      expect(error).toContain(`\n${name}`);
  });

  test('a manifest that is right by itself, and not of this backup', async () => {
    const {own, directory} = copyOf('tar');
    edit(directory, (text) =>
      changeManifest(text, (part) => part.replace(/"Start-LSN": "[^"]+"/, '"Start-LSN": "0/28"')),
    );
    expect(await problemsOf(own)).toMatch(
      /backup_label: recovery starts at 0\/[0-9A-F]+ of timeline 1, but by/,
    );
  });

  test('an incremental backup', async () => {
    const {own, directory} = copyOf('tar');
    await repack(join(directory, 'base.tar'), (root) =>
      appendFileSync(join(root, 'backup_label'), 'INCREMENTAL FROM LSN: 0/1000028\n'),
    );
    expect(await problemsOf(own)).toMatch(/backup_label: this is an incremental backup/);
  });
});

const segments = (wal: string): readonly string[] =>
  readdirSync(wal)
    .filter((name) => segment.test(name))
    .sort();

function last(wal: string): string {
  const name = segments(wal).at(-1);
  if (name === undefined) throw new Error(`${wal} has no segment.`);
  return basename(name);
}

function inWal({spoil, ...damage}: Corruption): Corruption {
  return {...damage, spoil: (root) => spoil(join(root, 'pg_wal'), '')};
}

function cutEnd(path: string, bytes: number): void {
  truncateSync(path, statSync(path).size - bytes);
}

function edit(directory: string, change: (text: string) => string): void {
  const path = join(directory, 'backup_manifest');
  const text = readFileSync(path, 'utf8');
  const changed = change(text);
  if (changed === text) throw new Error('There is nothing to change in the manifest.');
  writeFileSync(path, changed);
}

/** pg_verifybackup runs as another account where the tests run as root. */
async function giveToPostgres(root: string): Promise<void> {
  await run('chmod', ['-R', 'a+rX', root]);
}

function editFile(path: string, edit: (bytes: Buffer) => unknown): void {
  const bytes = readFileSync(path);
  edit(bytes);
  writeFileSync(path, bytes);
}
