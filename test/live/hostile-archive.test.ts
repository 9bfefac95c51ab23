import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {createCluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {run} from '../support/command.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction} from '../support/runner.js';
import {backupDirectory, dataDirectory, restoreInputs} from '../support/steps.js';
import {addMembers, editMember, type NewMember, replaceMember} from '../support/tar-archive.js';
import {fingerprint, listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

const content = Buffer.from('theirs\n');
const megabytes = (count: number) => Buffer.alloc(count * 2 ** 20);

/** Members that try to get at `outside`, a directory of root beside everything that a restore may write to. */
const intruders: readonly [what: string, members: (outside: string) => readonly NewMember[]][] = [
  ['a name with ..', () => [{name: '../../outside/file', content}]],
  ['a name with .. further on', () => [{name: 'base/../../../outside/file', content}]],
  ['an absolute name', (outside) => [{name: `${outside}/file`, content}]],
  [
    'a link, and a file through it',
    (outside) => [
      {name: 'out', type: '2', linkName: outside},
      {name: 'out/file', content},
    ],
  ],
  [
    'a relative link, and a file through it',
    () => [
      {name: 'out', type: '2', linkName: '../../outside'},
      {name: 'out/new', content},
    ],
  ],
  [
    'a link behind a link',
    () => [
      {name: 'a', type: '2', linkName: '.'},
      {name: 'a/b', type: '2', linkName: '../../outside'},
      {name: 'b/new', content},
    ],
  ],
  [
    'a link, and a file in its place',
    (outside) => [
      {name: 'out', type: '2', linkName: `${outside}/file`},
      {name: 'out', content},
    ],
  ],
  [
    'a hard link, and a file in its place',
    () => [
      {name: 'out', type: '1', linkName: '../../outside/file'},
      {name: 'out', content},
    ],
  ],
  [
    'a hard link to an absolute name',
    (outside) => [
      {name: 'out', type: '1', linkName: `${outside}/file`},
      {name: 'out', content},
    ],
  ],
  [
    'a link for a tablespace that no archive has',
    (outside) => [
      {name: 'pg_tblspc/99999', type: '2', linkName: outside},
      {name: 'pg_tblspc/99999/new', content},
    ],
  ],
  ['a link for pg_tblspc itself', (outside) => [{name: 'pg_tblspc', type: '2', linkName: outside}]],
  ['a device', () => [{name: 'device', type: '3'}]],
  ['a FIFO', () => [{name: 'fifo', type: '6'}]],
  ['a FIFO for tablespace_map', () => [{name: 'tablespace_map', type: '6'}]],
  [
    'a name that speaks to the runner',
    () => [{name: 'x\n::set-output name=proof::checked\n##[error]', content}],
  ],
];

describeWithPostgres('a hostile archive', () => {
  const sound = makeWorkspace();

  beforeAll(async () => {
    const source = await createCluster();
    try {
      const {host, port, user} = source.connection;
      mkdirSync(join(sound.directory, 'backups'));
      const to = ['-D', backupDirectory(sound), '-h', host, '-p', String(port), '-U', user];
      await run(postgresProgram('pg_basebackup'), [...to, '-c', 'fast', '-Ft']);
    } finally {
      await source.remove();
    }
    return () => sound.remove();
  });

  function copyOf(): {home: Workspace; base: string; outside: string} {
    const home = workspace();
    execFileSync('cp', ['--archive', `${sound.directory}/.`, home.directory]);
    const outside = join(home.root, 'outside');
    // Open to everybody, so that nothing but the restore itself is in the way.
    mkdirSync(outside);
    writeFileSync(join(outside, 'file'), 'ours\n', {mode: 0o666});
    execFileSync('chmod', ['777', outside]);
    return {home, base: join(backupDirectory(home), 'base.tar'), outside};
  }

  async function refusal(home: Workspace, inputs: Readonly<Record<string, string>> = {}): Promise<string> {
    const result = await runAction(restoreInputs(inputs), {workspace: home});
    expect(result.stdout).not.toMatch(/^\s*::set-output|^(?!::error::).*##\[error\]/m);
    expect(listAll(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
    return failure(result);
  }

  test.each(intruders)('with %s is refused, and touches nothing', async (_, members) => {
    const {home, base, outside} = copyOf();
    const before = fingerprint(outside);
    const added = members(outside);
    if (added[0]?.name === 'pg_tblspc') replaceMember(base, 'pg_tblspc/');
    if (added[0]?.name === 'tablespace_map') replaceMember(base, 'tablespace_map');
    addMembers(base, ...added);
    expect(await refusal(home)).toMatch(
      /base\.tar|is a link or a special file|backup_manifest: pg_verifybackup found/,
    );
    expect(fingerprint(outside)).toEqual(before);
  });

  test('with a tablespace_map to a directory of somebody else writes there neither', async () => {
    const {home, base, outside} = copyOf();
    const before = fingerprint(outside);
    editMember(base, 'tablespace_map', () => Buffer.from(`99999 ${outside}\n`));
    const archive = join(backupDirectory(home), '99999.tar');
    writeFileSync(archive, Buffer.alloc(1024));
    addMembers(archive, {name: 'PG_15_202209061/', type: '5', mode: 0o700});
    // Not the manifest is what saves: without that check, too, the files go to a directory of their own.
    const result = await runAction(restoreInputs({checks: 'dump'}), {workspace: home});
    expect(result.errors).toEqual([]);
    expect(fingerprint(outside)).toEqual(before);
    expect(listAll(dataDirectory(home)).filter((path) => path === 'pg_tblspc/99999')).toHaveLength(1);
  });

  describe('that unpacks to far more than its manifest promises stops there', () => {
    const bomb = {name: 'base/1/bomb', content: megabytes(200)};

    test.each([
      ['zstd', 'zst'],
      ['gzip', 'gz'],
      ['lz4', 'lz4'],
    ])('compressed with %s', async (codec, suffix) => {
      const {home, base} = copyOf();
      addMembers(base, bomb);
      writeFileSync(
        `${base}.${suffix}`,
        execFileSync(codec, ['-c'], {input: readFileSync(base), maxBuffer: 2 ** 28}),
      );
      rmSync(base);
      expect(await refusal(home)).toMatch(/base\.tar\.\w+: it unpacks to more than \d{8} bytes/);
    });

    test('as it is', async () => {
      const {home, base} = copyOf();
      addMembers(base, bomb);
      expect(await refusal(home)).toMatch(/base\.tar: it unpacks to more than \d{8} bytes/);
    });

    test('in a tablespace that the manifest does not know', async () => {
      const {home} = copyOf();
      const path = join(backupDirectory(home), '99999.tar');
      writeFileSync(path, readFileSync(join(backupDirectory(home), 'pg_wal.tar')));
      addMembers(path, bomb);
      expect(await refusal(home)).toMatch(/99999\.tar: it unpacks to more than \d{8} bytes/);
    });
  });

  test.each(['backup_label', 'PG_VERSION', 'tablespace_map'])(
    'whose %s is larger than all memory is refused without reading it',
    async (name) => {
      const {home, base} = copyOf();
      replaceMember(base, name);
      addMembers(base, {name, sparseBytes: 2 ** 32});
      expect(await refusal(home, {checks: 'dump'})).toMatch(new RegExp(`${name} has more than \\d+ bytes`));
    },
  );

  test('whose directories nobody may enter is removed all the same', async () => {
    const {home, base} = copyOf();
    addMembers(base, {name: 'closed/', type: '5', mode: 0}, {name: 'closed/x', content, mode: 0});
    expect(await refusal(home)).toMatch(/closed/);
  });

  test('whose postmaster.opts and settings run commands runs none of them', async () => {
    const {home, base, outside} = copyOf();
    const run = `touch ${outside}/ran`;
    const settings = [
      'ssl = on',
      `ssl_passphrase_command = '${run}'`,
      'archive_mode = always',
      `archive_command = '${run}'`,
      `restore_command = '${run}'`,
      `archive_cleanup_command = '${run}'`,
      `recovery_end_command = '${run}'`,
      `shared_preload_libraries = '${dataDirectory(home)}/evil'`,
      `session_preload_libraries = '${dataDirectory(home)}/evil'`,
      `local_preload_libraries = 'evil'`,
      `include '${outside}/file'`,
      `data_directory = '${outside}'`,
      `external_pid_file = '${outside}/pid'`,
      `log_directory = '${outside}'`,
      'logging_collector = on',
      '',
    ].join('\n');
    const append = (bytes: Buffer) => Buffer.concat([bytes, Buffer.from(settings)]);
    editMember(base, 'postgresql.conf', append);
    editMember(base, 'postgresql.auto.conf', append);
    editMember(base, 'pg_hba.conf', () =>
      Buffer.from(`include ${outside}/file\nlocal @${outside}/file all trust\n`),
    );
    editMember(base, 'pg_ident.conf', () => Buffer.from(`include ${outside}/file\n`));
    addMembers(base, {name: 'postmaster.opts', content: Buffer.from(`/bin/touch "${outside}/ran"\n`)});
    const before = fingerprint(outside);
    const result = await runAction(restoreInputs({checks: 'dump\nchecksums', 'check-sql': 'select true'}), {
      workspace: home,
    });
    expect(result.errors).toEqual([]);
    expect(result.stdout).not.toContain('ours');
    expect(fingerprint(outside)).toEqual(before);
  });

  describe('whose configuration counts, with isolate: false,', () => {
    const secret = 'root:x:0:0:the secret of this machine';

    const includes: readonly [
      what: string,
      add: (home: Workspace, base: string, file: string) => void,
      names: RegExp,
    ][] = [
      [
        'and includes a file of this machine',
        (_, base, file) => add(base, 'postgresql.conf', `include '${file}'`),
        /postgresql\.conf of the backup includes .* in line \d+/,
      ],
      [
        'and includes one by .. and another file',
        (_, base) => {
          add(base, 'postgresql.conf', `include_dir = 'conf.d'`);
          addMembers(
            base,
            {name: 'conf.d/', type: '5', mode: 0o700},
            {name: 'conf.d/a.conf', content: Buffer.from("include_if_exists '../../../outside/secret'\n")},
          );
        },
        /conf\.d\/a\.conf of the backup includes/,
      ],
      [
        'and includes one in postgresql.auto.conf',
        (_, base, file) => add(base, 'postgresql.auto.conf', `include '${file}'`),
        /postgresql\.auto\.conf of the backup includes/,
      ],
      [
        'and includes one in pg_hba.conf',
        (_, base, file) => add(base, 'pg_hba.conf', `include ${file}`),
        /pg_hba\.conf of the backup includes/,
      ],
      [
        'and names one in pg_hba.conf',
        (_, base, file) => add(base, 'pg_hba.conf', `local @${file} all trust`),
        /pg_hba\.conf of the backup includes/,
      ],
    ];

    function add(base: string, name: string, line: string): void {
      editMember(base, name, (bytes) => Buffer.concat([bytes, Buffer.from(`\n${line}\n`)]));
    }

    test.each(includes)('%s is refused, and the log shows nothing of it', async (_, spoil, names) => {
      const {home, base, outside} = copyOf();
      const file = join(outside, 'secret');
      writeFileSync(file, `${secret}\n`);
      spoil(home, base, file);
      const result = await runAction(restoreInputs({isolate: 'false', checks: 'dump'}), {workspace: home});
      expect(failure(result)).toMatch(names);
      expect(result.stdout + result.stderr).not.toContain('secret of this');
      expect(listAll(home.temp)).toEqual([]);
    });

    test('and includes a file of its own starts with it', async () => {
      const {home, base} = copyOf();
      add(
        base,
        'postgresql.conf',
        "include_dir 'conf.d'\ninclude 'conf.d/a.conf'\ninclude_if_exists 'none.conf'",
      );
      addMembers(
        base,
        {name: 'conf.d/', type: '5', mode: 0o700},
        {name: 'conf.d/a.conf', content: Buffer.from("work_mem = '77MB'\n")},
      );
      const inputs = {
        isolate: 'false',
        checks: 'dump',
        'check-sql': "select setting = '78848' from pg_settings where name = 'work_mem'",
      };
      const result = await runAction(restoreInputs(inputs), {workspace: home});
      expect(result.errors).toEqual([]);
    });
  });
});
