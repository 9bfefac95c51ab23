import {execFileSync} from 'node:child_process';
import {
  existsSync,
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
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {takeByHand} from '../support/hand-made.js';
import {isServer, processesOf, watchProcesses} from '../support/processes.js';
import {type ActionResult, failure, startAction, succeeded} from '../support/runner.js';
import {backUp, backupDirectory, dataDirectory, restoreInputs} from '../support/steps.js';
import {findMember, replaceMember} from '../support/tar-archive.js';
import {flipByte, listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

/** One way to spoil a backup, and what the error must name. */
interface Damage {
  readonly damage: string;
  readonly of: 'none' | 'client-gzip' | 'client-zstd' | 'plain';
  /** Changes the files of the backup's directory. */
  spoil(directory: string): void | Promise<void>;
  readonly names: RegExp;
  /** What must be named when the metadata file is absent, where that is less precise. */
  readonly namesByHand?: RegExp;
}

const damages: readonly Damage[] = [
  {
    damage: 'a truncated base archive',
    of: 'none',
    spoil: (directory) => cut(join(directory, 'base.tar')),
    names: /base\.tar/,
  },
  {
    damage: 'a truncated base archive (gzip)',
    of: 'client-gzip',
    spoil: (directory) => cut(join(directory, 'base.tar.gz')),
    names: /base\.tar\.gz/,
  },
  {
    damage: 'a truncated base archive (zstd)',
    of: 'client-zstd',
    spoil: (directory) => cut(join(directory, 'base.tar.zst')),
    names: /base\.tar\.zst/,
  },
  {
    damage: 'an empty base archive',
    of: 'client-gzip',
    spoil: (directory) => truncateSync(join(directory, 'base.tar.gz')),
    names: /base\.tar\.gz/,
  },
  {
    damage: 'a flipped byte in the middle of a table',
    of: 'none',
    spoil: async (directory) =>
      flipByte(join(directory, 'base.tar'), await middleOf(directory, 'base/1/1259')),
    names: /base\.tar/,
    namesByHand: /base\/1\/1259/,
  },
  {
    damage: 'a flipped byte behind the archive’s end mark',
    of: 'none',
    spoil: (directory) =>
      flipByte(join(directory, 'base.tar'), statSync(join(directory, 'base.tar')).size - 1),
    names: /base\.tar/,
  },
  {
    damage: 'a flipped byte in a compressed archive',
    of: 'client-gzip',
    spoil: (directory) => flipByte(join(directory, 'base.tar.gz'), 500_000),
    names: /base\.tar\.gz/,
    // Whatever the byte decides: the archive's own checksum, or the file that it is in.
    namesByHand: /base\.tar\.gz|base\/|global\//,
  },
  {
    damage: 'a flipped byte in the tablespace’s archive',
    of: 'client-zstd',
    spoil: (directory) => flipByte(tablespaceArchive(directory), 100_000),
    names: /\d+\.tar\.zst/,
    namesByHand: /\d+\.tar\.zst|pg_tblspc\/\d+/,
  },
  {
    damage: 'a missing tablespace archive',
    of: 'client-gzip',
    spoil: (directory) => rmSync(tablespaceArchive(directory)),
    names: /\d+\.tar/,
  },
  {
    damage: 'a missing backup_manifest',
    of: 'client-gzip',
    spoil: (directory) => rmSync(join(directory, 'backup_manifest')),
    names: /backup_manifest/,
  },
  {
    damage: 'a changed backup_manifest',
    of: 'client-gzip',
    spoil: (directory) => replaceText(join(directory, 'backup_manifest'), '"Size": 8192', '"Size": 8193'),
    names: /backup_manifest/,
    namesByHand: /manifest/,
  },
  {
    damage: 'a missing pg_wal archive',
    of: 'client-gzip',
    spoil: (directory) => rmSync(join(directory, 'pg_wal.tar.gz')),
    names: /pg_wal/,
  },
  {
    damage: 'a truncated pg_wal archive',
    of: 'none',
    spoil: (directory) => cut(join(directory, 'pg_wal.tar')),
    names: /pg_wal/,
  },
  {
    damage: 'a missing backup_label',
    of: 'none',
    spoil: (directory) => replaceMember(join(directory, 'base.tar'), 'backup_label'),
    names: /base\.tar/,
    namesByHand: /backup_label/,
  },
  {
    damage: 'a missing table',
    of: 'none',
    spoil: (directory) => replaceMember(join(directory, 'base.tar'), 'base/1/1259'),
    names: /base\.tar/,
    namesByHand: /base\/1\/1259/,
  },
  {
    damage: 'no base archive at all',
    of: 'client-gzip',
    spoil: (directory) => rmSync(join(directory, 'base.tar.gz')),
    names: /base\.tar/,
  },
  {
    damage: 'a missing backup_label in a plain directory',
    of: 'plain',
    spoil: (directory) => rmSync(join(directory, 'backup_label')),
    names: /backup_label/,
  },
  {
    damage: 'a missing table in a plain directory',
    of: 'plain',
    spoil: (directory) => rmSync(join(directory, 'base/1/1259')),
    names: /base\/1\/1259/,
  },
  {
    damage: 'a flipped byte in a plain directory',
    of: 'plain',
    spoil: (directory) => flipByte(join(directory, 'base/1/1259'), 5000),
    names: /base\/1\/1259/,
  },
  {
    damage: 'no WAL in a plain directory',
    of: 'plain',
    spoil: (directory) => {
      for (const name of readdirSync(join(directory, 'pg_wal'))) {
        rmSync(join(directory, 'pg_wal', name), {recursive: true});
      }
    },
    names: /pg_wal/,
  },
];

describeWithPostgres('a damaged backup is refused before the server starts:', () => {
  const sound: Record<Damage['of'], Workspace> = {
    none: makeWorkspace(),
    'client-gzip': makeWorkspace(),
    'client-zstd': makeWorkspace(),
    plain: makeWorkspace(),
  };

  beforeAll(async () => {
    const source = await createCluster();
    try {
      await backUpEachWay(source, sound);
    } finally {
      await source.remove();
    }
    return async () => {
      for (const home of Object.values(sound)) await home.remove();
    };
  });

  describe.each([
    {metadata: 'with its metadata file', hasMetadata: true},
    {metadata: 'without metadata, as made by hand', hasMetadata: false},
  ])('$metadata', ({hasMetadata}) => {
    test.each(damages)('$damage', async ({of, spoil, names, namesByHand}) => {
      const home = copyOf(sound[of], hasMetadata);
      await spoil(backupDirectory(home));
      const {result, servers} = await restoreWatched(home);

      expect(failure(result)).toMatch(hasMetadata ? names : (namesByHand ?? names));
      expect(servers).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
      expect(listAll(home.temp)).toEqual([]);
    });

    test.each(['none', 'plain'] as const)('(while a sound one, %s, starts a server)', async (of) => {
      const {result, servers} = await restoreWatched(copyOf(sound[of], hasMetadata));
      succeeded(result);
      expect(servers).not.toEqual([]);
    });
  });

  test('one whose metadata file is not JSON', async () => {
    const home = copyOf(sound.none, true);
    writeFileSync(join(home.directory, 'backups', 'nightly.json'), '{"schemaVersion": 1, ');
    const {result, servers} = await restoreWatched(home);
    expect(failure(result)).toMatch(/nightly\.json/);
    expect(servers).toEqual([]);
    expect(existsSync(dataDirectory(home))).toBe(false);
  });
});

describeWithPostgres('of a cluster that several processes compare with its manifest', () => {
  let directory: string;
  const tables: string[] = [];

  beforeAll(async () => {
    const source = await createCluster();
    const home = makeWorkspace();
    directory = join(home.directory, 'backups');
    mkdirSync(directory);
    // Two tables of 82 MB: more than one process is for, and one of them for each of two.
    for (const name of ['one', 'other']) {
      await source.sql(
        `create table ${name} as select repeat(md5(n::text), 60) from generate_series(1, 42000) n`,
      );
      await source.sql(`alter table ${name} alter repeat set storage plain; vacuum full ${name}`);
      tables.push(await source.sql(`select pg_relation_filepath('${name}')`));
    }
    await takeByHand(source, join(directory, 'nightly'), ['--format=plain']);
    await source.remove();
    return () => home.remove();
  });

  test.each([0, 1])('a flipped byte is found, in whichever share it is (%i)', async (index) => {
    const table = tables[index] ?? '';
    const path = join(directory, 'nightly', table);
    expect(statSync(path).size).toBeGreaterThan(64 * 2 ** 20);
    flipByte(path, 5_000_000);
    try {
      const home = workspace();
      const result = await startAction(restoreInputs({directory}), {workspace: home}).result;
      expect(failure(result)).toContain(`checksum mismatch for file "${table}"`);
      expect(existsSync(dataDirectory(home))).toBe(false);
    } finally {
      flipByte(path, 5_000_000);
    }
  });
});

async function backUpEachWay(
  source: Cluster,
  homes: Readonly<Record<Damage['of'], Workspace>>,
): Promise<void> {
  await source.tablespace('fast disk');
  await source.pgbench('bank', 1, ['--tablespace=fast disk']);
  for (const [of, home] of Object.entries(homes)) {
    await backUp(source, home, of === 'plain' ? {format: 'plain'} : {compress: of});
  }
}

/** A workspace of its own for one test, with the same backup in it. */
function copyOf(from: Workspace, withMetadata: boolean): Workspace {
  const home = workspace();
  // Not cpSync, which changes the modes of directories.
  execFileSync('cp', ['--archive', `${from.directory}/.`, home.directory]);
  if (!withMetadata) rmSync(join(home.directory, 'backups', 'nightly.json'));
  return home;
}

async function restoreWatched(
  home: Workspace,
): Promise<{result: ActionResult; servers: readonly (readonly string[])[]}> {
  const action = startAction(restoreInputs(), {workspace: home});
  const watch = watchProcesses(action.pid, home.root);
  const result = await action.result;
  return {result, servers: (await watch.stop()).filter(isServer)};
}

function tablespaceArchive(directory: string): string {
  const name = readdirSync(directory).find((file) => /^\d+\.tar/.test(file));
  if (name === undefined) throw new Error(`There is no tablespace archive in ${directory}.`);
  return join(directory, name);
}

function cut(path: string): void {
  truncateSync(path, Math.floor(readFileSync(path).length / 2));
}

function replaceText(path: string, from: string, to: string): void {
  const text = readFileSync(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${path} does not contain ${from}.`);
  writeFileSync(path, text.replace(from, to));
}

function middleOf(directory: string, name: string): number {
  const {start, size} = findMember(readFileSync(join(directory, 'base.tar')), name);
  return start + 512 + Math.floor(size / 2);
}
