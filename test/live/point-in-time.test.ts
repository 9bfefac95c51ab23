import {execFileSync} from 'node:child_process';
import {cpSync, existsSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, onTestFinished, test} from 'vitest';
import {parseTimestamp} from '../../src/postgres/timestamp.js';
import {
  type Committed,
  type History,
  makeHistory,
  type State,
  sameState,
} from '../support/archived-history.js';
import {describeWithPostgres, freePort} from '../support/cluster.js';
import {type ActionResult, failure, runAction} from '../support/runner.js';
import {
  askRestored,
  backUp,
  dataDirectory,
  type Inputs,
  restore,
  restoreInputs,
  stopRestored,
} from '../support/steps.js';
import {fingerprint} from '../support/workspace.js';

describeWithPostgres('recovery from archived WAL', () => {
  let history: History;
  let atBackup: State;
  let first: Committed;
  let second: Committed;
  let atPoint: State;
  let onFirstTimeline: State;
  let onSecondTimeline: State;
  let atSecondPoint: State;
  let last: State;

  beforeAll(async () => {
    history = await makeHistory();
    const {source, home} = history;
    atBackup = await history.state();
    await backUp(source, home, {'backup-name': 'no-wal', 'wal-method': 'none'});
    first = await history.add();
    await source.sql("select pg_create_restore_point('the point')");
    atPoint = await history.state();
    second = await history.add();
    await history.archiveAll();
    onFirstTimeline = await history.state();
    await history.add();
    await history.promote();
    await history.add();
    await history.archiveAll();
    onSecondTimeline = await history.state();
    await backUp(source, home, {'backup-name': 'second'});
    await history.add();
    await source.sql("select pg_create_restore_point('the second point')");
    atSecondPoint = await history.state();
    await history.add();
    await history.archiveAll();
    last = await history.state();
    return () => history.remove();
  });

  test('to a time is asked for in forms that PostgreSQL understands as the action does', async () => {
    const forms = [
      '2026-11-22 08:00:00+00',
      '2026-11-22T08:00:00Z',
      '2026-11-22 08:00 UTC',
      '2026-11-22 08:00:00.123456 GMT',
      '2026-11-22T08:00:00.5 +05:30',
      '2026-11-22 08:00:00-0330',
      '1890-01-01 00:00:00+00:53:28',
      '2024-02-29 23:59:59+15:59',
    ];
    const rows = forms.map((form) => `(extract(epoch from '${form}'::timestamptz) * 1000000)`);
    const read = await history.source.sql(`select column1::bigint from (values ${rows.join()}) v`);
    expect(read.split('\n')).toEqual(forms.map((form) => String(parseTimestamp(form))));
  });

  let restores = 0;

  /** Restores beside the others, and has the copy compared with the source as it was. */
  async function recover(state: State, inputs: Inputs): Promise<ActionResult> {
    restores += 1;
    const directory = join(history.home.temp, `restored-${restores}`);
    onTestFinished(() => void execFileSync('rm', ['-rf', directory, `${directory}_config`]));
    const whole = {
      'wal-directory': history.archive,
      checks: 'manifest',
      'data-directory': directory,
      'check-sql': sameState(state),
      ...inputs,
    };
    const result = await restore(history.home, whole);
    expect(result.warnings).toEqual([]);
    return result;
  }

  test.for(['true', 'false'])('to a transaction id, inclusive: %s', async (inclusive) => {
    const result = await recover(inclusive === 'true' ? second.after : second.before, {
      'recovery-target-xid': second.xid,
      'recovery-target-inclusive': inclusive,
    });
    const side = inclusive === 'true' ? 'after' : 'before';
    expect(result.stdout).toContain(`Recovery stopped ${side} commit of transaction ${second.xid}, time `);
    expect(result.summary).toContain(`${side} commit of transaction ${second.xid}`);
    expect(result.outputs).toMatchObject({proof: 'recovered', timeline: '3'});
  });

  test.for(['true', 'false'])('to a time in another zone, inclusive: %s', async (inclusive) => {
    const result = await recover(inclusive === 'true' ? first.after : first.before, {
      'recovery-target-time': first.time,
      'recovery-target-inclusive': inclusive,
    });
    const stop = inclusive === 'true' ? second.xid : first.xid;
    expect(result.stdout).toContain(`Recovery stopped before commit of transaction ${stop}, time `);
  });

  test.for(['latest', '*'])(
    'to a time sets out from the newest backup of %s that was finished by then',
    async (name) => {
      const result = await recover(first.after, {'backup-name': name, 'recovery-target-time': first.time});
      expect(result.outputs['backup-name']).toBe('no-wal');
    },
  );

  test.for(['true', 'false'])('to an LSN, inclusive: %s', async (inclusive) => {
    const result = await recover(inclusive === 'true' ? first.after : first.before, {
      'recovery-target-lsn': first.lsn,
      'recovery-target-inclusive': inclusive,
    });
    const side = inclusive === 'true' ? 'after' : 'before';
    expect(result.stdout).toContain(`Recovery stopped ${side} WAL location (LSN) "${first.lsn}"`);
  });

  test('to a named restore point, without touching the archive', async () => {
    const before = fingerprint(history.archive);
    const result = await recover(atPoint, {'recovery-target-name': 'the point'});
    expect(result.stdout).toContain('Recovery stopped at restore point "the point", time ');
    expect(result.stdout).toMatch(/Recovered up to \S+, the last commit of 20/);
    expect(fingerprint(history.archive)).toEqual(before);
  });

  test('to the end of the backup itself', async () => {
    const result = await recover(atBackup, {'recovery-target': 'immediate'});
    expect(result.stdout).toContain('Recovery stopped after reaching consistency');
  });

  test('and pauses there, readable and not writable', async () => {
    const result = await recover(atPoint, {
      'recovery-target-name': 'the point',
      'recovery-target-action': 'pause',
      'keep-running': 'true',
      'listen-port': String(await freePort()),
    });
    expect(result.outputs.proof).toBe('consistent');
    expect(result.stdout).toContain('recovery is paused');
    expect(await askRestored(result, 'select pg_is_in_recovery(), pg_is_wal_replay_paused()')).toBe('t|t');
    await askRestored(result, 'select pg_wal_replay_resume()');
    await expect.poll(() => askRestored(result, 'select pg_is_in_recovery()'), {timeout: 30_000}).toBe('f');
    await stopRestored(result);
  });

  test('by a restore-command of the user’s, whose quotes and signs stay as they are', async () => {
    const odd = history.copyArchive("o'dd %f arch");
    const result = await recover(atPoint, {
      'wal-directory': '',
      'restore-command': `test "%%" = '%%' && cp '${odd.replace("'", "'\\''").replace('%', '%%')}'/%f "%p" || exit 1`,
      'recovery-target-name': 'the point',
    });
    expect(result.stdout).toContain('Recovery stopped at restore point "the point"');
  });

  test.for([
    ['gzip', '.gz'],
    ['lz4', '.lz4'],
    ['zstd', '.zst'],
  ] as const)('compressed by %s, the history file, too', async ([program]) => {
    const compressed = history.copyArchive(program);
    const names = readdirSync(compressed).filter((name) => !/\.(partial|backup)$/.test(name));
    const paths = names.map((name) => join(compressed, name));
    const options = {gzip: [], lz4: ['--rm', '-q', '-m'], zstd: ['--rm', '-q']}[program];
    execFileSync(program, [...options, ...paths]);
    await recover(last, {'wal-directory': compressed});
  });

  test('of a backup that holds no WAL', async () => {
    const inputs = {'backup-name': 'no-wal', 'recovery-target': 'immediate'};
    await recover(atBackup, inputs);
    await recover(atPoint, {'backup-name': 'no-wal', 'recovery-target-name': 'the point'});
  });

  test('of a backup that holds no WAL and that nothing tells of, or not at all', async () => {
    const backups = join(history.home.directory, 'backups');
    cpSync(join(backups, 'no-wal'), join(backups, 'by-hand'), {recursive: true});
    const inputs = {'backup-name': 'by-hand', 'recovery-target-name': 'the point'};
    await recover(atPoint, inputs);

    const manifest = readFileSync(join(backups, 'by-hand', 'backup_manifest'), 'utf8');
    const start = /"Start-LSN": "0\/([0-9A-F]+)[0-9A-F]{5}"/.exec(manifest)?.[1] ?? '';
    const segment = `0000000100000000${start.padStart(8, '0')}`;
    const gap = history.copyArchive('gap');
    rmSync(join(gap, segment));
    const message = failure(
      await runAction(restoreInputs({...inputs, 'wal-directory': gap}), {workspace: history.home}),
    );
    expect(message).toMatch(new RegExp(`between the start of the backup .*: ${segment}\\.`));
    expect(message).toContain('Without them this backup cannot be restored.');
    expect(existsSync(dataDirectory(history.home))).toBe(false);
  });

  test('of a backup whose manifest is in its archive, with warnings that are true of it', async () => {
    const backups = join(history.home.directory, 'backups');
    const packed = join(backups, 'packed');
    cpSync(join(backups, 'no-wal'), packed, {recursive: true});
    const files = {cwd: packed};
    const [base = ''] = readdirSync(packed).filter((name) => name.startsWith('base.tar'));
    if (base !== 'base.tar') execFileSync('sh', ['-c', `zstd -dq --rm ${base} || gzip -d ${base}`], files);
    execFileSync('tar', ['--append', '--file=base.tar', 'backup_manifest'], files);
    rmSync(join(packed, 'backup_manifest'));
    const gap = history.copyArchive('gap-at-the-end');
    const second = readdirSync(gap).filter((name) => /^00000002\w{16}$/.test(name));
    rmSync(join(gap, second.sort().at(-2) ?? ''));
    const result = await runAction(
      restoreInputs({
        'backup-name': 'packed',
        'wal-directory': gap,
        'recovery-target-name': 'the point',
      }),
      {workspace: history.home},
    );
    expect(result.errors).toEqual([]);
    const told = result.warnings.filter((text) => text.includes('lacks WAL between'));
    expect(told).toHaveLength(1);
    expect(told[0]).toContain('the start of the backup');
    execFileSync('rm', ['-rf', dataDirectory(history.home), `${dataDirectory(history.home)}_config`]);
  });

  test('of a backup without a manifest', async () => {
    const backups = join(history.home.directory, 'backups');
    for (const [name, from] of [
      ['bare', 'nightly'],
      ['bare-no-wal', 'no-wal'],
    ] as const) {
      cpSync(join(backups, from), join(backups, name), {recursive: true});
      rmSync(join(backups, name, 'backup_manifest'));
      await recover(last, {'backup-name': name, checks: 'dump'});
      await recover(atPoint, {'backup-name': name, checks: 'dump', 'recovery-target-name': 'the point'});
    }
  });

  test('along the newest timeline to its end', async () => {
    const result = await recover(last, {});
    expect(result.outputs).toMatchObject({proof: 'recovered', timeline: '3'});
  });

  test('along the timeline of the backup', async () => {
    const result = await recover(onFirstTimeline, {'recovery-target-timeline': 'current'});
    expect(result.outputs.timeline).toBe('3');
  });

  test('along a timeline by its number', async () => {
    await recover(onFirstTimeline, {'recovery-target-timeline': '1'});
    await recover(atSecondPoint, {
      'recovery-target-timeline': '2',
      'recovery-target-name': 'the second point',
    });
  });

  test('of a backup that was taken on the second timeline', async () => {
    const inputs = {'backup-name': 'second'};
    await recover(onSecondTimeline, {...inputs, 'recovery-target': 'immediate'});
    await recover(atSecondPoint, {...inputs, 'recovery-target-name': 'the second point'});
    await recover(last, {...inputs, 'recovery-target-timeline': 'current'});
    const back = restoreInputs({
      ...inputs,
      'wal-directory': history.archive,
      'recovery-target-timeline': '1',
    });
    const message = failure(await runAction(back, {workspace: history.home}));
    expect(message).toContain('does not come from timeline 2, on which the backup was taken');
  });
});
