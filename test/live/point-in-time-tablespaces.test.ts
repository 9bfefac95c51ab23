import {execFileSync} from 'node:child_process';
import {existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {afterEach, beforeAll, expect, test} from 'vitest';
import {loadCrc32c} from '../../src/backup-set/checksum.js';
import {type History, makeHistory, type State, sameState} from '../support/archived-history.js';
import {describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {type ActionResult, failure, runAction} from '../support/runner.js';
import {backUp, dataDirectory, type Inputs, restore, restoreInputs, writeScript} from '../support/steps.js';
import {fingerprint} from '../support/workspace.js';

describeWithPostgres('archived WAL that creates a tablespace', () => {
  let history: History;
  let before: State;
  let after: State;
  /** Where the source's tablespace is, and the segment whose WAL creates it. */
  let path: string;
  let segment: string;

  beforeAll(async () => {
    history = await makeHistory();
    const {source, home} = history;
    before = await history.state();
    await history.archiveAll();
    segment = await source.sql('select pg_walfile_name(pg_current_wal_insert_lsn() + 100)');
    path = await source.tablespace('late');
    await source.sql('create table kept tablespace late as select 42 as n');
    await history.add();
    after = await history.state();
    await history.archiveAll();
    await backUp(source, home, {'backup-name': 'with-tablespace'});
    await history.archiveAll();
    return () => history.remove();
  });

  afterEach(() => {
    const directory = dataDirectory(history.home);
    execFileSync('rm', ['-rf', directory, `${directory}_config`, `${directory}_tablespaces`]);
  });

  const attempt = (inputs: Inputs): Promise<ActionResult> =>
    runAction(restoreInputs({'wal-directory': history.archive, ...inputs}), {workspace: history.home});

  test('at a path that exists is refused, and what is there stays as it was', async () => {
    const found = fingerprint(path);
    const message = failure(await attempt({}));
    expect(message).toContain(`The WAL of wal-directory creates a tablespace at "${path}"`);
    expect(fingerprint(path)).toEqual(found);
    expect(existsSync(dataDirectory(history.home))).toBe(false);
    expect(readdirSync(history.home.temp)).toEqual([]);

    const lsn = /recovery-target-lsn: (\S+)/.exec(message)?.[1] ?? '';
    const result = await restore(history.home, {
      'wal-directory': history.archive,
      'recovery-target-lsn': lsn,
      'check-sql': sameState(before),
    });
    expect(result.outputs.proof).toBe('recovered');
    expect(fingerprint(path)).toEqual(found);
  });

  test.for(['gzip', 'lz4', 'zstd'] as const)('is refused also when compressed by %s', async (program) => {
    const found = fingerprint(path);
    const compressed = history.copyArchive(program);
    const names = readdirSync(compressed).filter((name) => /^\w{24}$/.test(name));
    const options = {gzip: [], lz4: ['--rm', '-q', '-m'], zstd: ['--rm', '-q']}[program];
    execFileSync(program, [...options, ...names], {cwd: compressed});
    expect(failure(await attempt({'wal-directory': compressed}))).toContain(path);
    expect(fingerprint(path)).toEqual(found);
  });

  test('at a path that is not there ends with what to do, and works once it is', async () => {
    const aside = `${path}.aside`;
    renameSync(path, aside);
    try {
      const message = failure(await attempt({}));
      expect(message).toContain(`FATAL: directory "${path}" does not exist`);
      expect(message).toContain(`create the directory ${path} where the server runs, empty`);
      mkdirSync(path);
      execFileSync('chown', ['--reference', aside, path]);
      await restore(history.home, {
        'wal-directory': history.archive,
        checks: 'dump',
        'check-sql': `${sameState(after)}\nselect n = 42 from kept`,
      });
    } finally {
      rmSync(path, {recursive: true, force: true});
      renameSync(aside, path);
    }
  });

  test('at a relative path is refused, whatever is there', async () => {
    const hostile = history.copyArchive('hostile');
    await changePath(join(hostile, segment), path, '../'.padEnd(path.length, 'x'));
    const message = failure(await attempt({'wal-directory': hostile}));
    expect(message).toContain('which is no absolute path');
    expect(existsSync(dataDirectory(history.home))).toBe(false);
  });

  test('is refused where pg_waldump cannot look at it, and not taken for harmless', async () => {
    const programs = join(history.home.root, 'programs');
    mkdirSync(programs);
    // Scripts and no links, which would be followed to where all programs are sound.
    for (const name of readdirSync(dirname(postgresProgram('postgres')))) {
      const broken =
        name === 'pg_waldump' ? `case "$*" in *--rmgr*) echo 'out of memory' >&2; exit 1;; esac` : ':';
      writeScript(join(programs, name), [broken, `exec ${postgresProgram(name)} "$@"`]);
    }
    const result = await runAction(restoreInputs(), {workspace: history.home, programs});
    expect(failure(result)).toMatch(
      /Whether the WAL creates a tablespace .* cannot be told: .*out of memory/,
    );
    expect(result.stdout).not.toContain('Start postgres');
  });

  test('that only a command brings is warned of where the source’s tablespaces are here', async () => {
    const command = `cp '${history.archive}'/%f %p`;
    const inputs = {'wal-directory': '', 'restore-command': command};
    const result = await attempt({...inputs, 'backup-name': 'with-tablespace'});
    expect(result.errors).toEqual([]);
    expect(result.warnings.join()).toContain(`"${path}", a tablespace of the source, exists on`);
  });
});

/** Puts another path of the same length into the record that creates a tablespace, and makes its checksum right. */
async function changePath(file: string, path: string, other: string): Promise<void> {
  const printed = execFileSync(postgresProgram('pg_waldump'), ['--rmgr=Tablespace', file], {
    encoding: 'utf8',
  });
  const [, low = ''] = /lsn: 0\/([0-9A-F]+), .* desc: CREATE/.exec(printed) ?? [];
  const bytes = readFileSync(file);
  const start = Number.parseInt(low, 16) % bytes.length;
  const record = bytes.subarray(start, start + bytes.readUInt32LE(start));
  record.write(other, record.indexOf(path));
  // The data first, then the header up to the checksum itself (xloginsert.c, XLogRecordAssemble).
  const sum = (await loadCrc32c())();
  sum.update(Buffer.concat([record.subarray(24), record.subarray(0, 20)]));
  record.write(sum.digest(), 20, 'hex');
  writeFileSync(file, bytes);
}
