import {execFileSync} from 'node:child_process';
import {chmodSync, mkdirSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {makeDiary, type State, sameState} from '../support/archived-history.js';
import {waitUntil} from '../support/command.js';
import {describeWithEngine} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, type Service, service} from '../support/service.js';
import {backUpService, openSession, serviceRestoreInputs, traces} from '../support/service-steps.js';
import type {Inputs} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** A service that archives its WAL into `archive` of the workspace. */
async function archivingService(of: (typeof images)[keyof typeof images], home: Workspace): Promise<Service> {
  const archive = join(home.directory, 'archive');
  mkdirSync(archive);
  // The container's postgres has another number than any account here.
  chmodSync(archive, 0o777);
  return service(of, {
    options: [`--volume=${archive}:/archive`],
    command: [
      'postgres',
      ...['-c', 'archive_mode=on', '-c', 'archive_command=cp %p /archive/%f && chmod a+r /archive/%f'],
      ...['-c', 'track_commit_timestamp=on'],
    ],
  });
}

async function archiveAll(source: Service): Promise<void> {
  const last = await source.sql('select pg_walfile_name(pg_switch_wal())');
  const isArchived = `select coalesce(last_archived_wal >= '${last}', false) from pg_stat_archiver`;
  await waitUntil(async () => (await source.sql(isArchived)) === 't', {
    seconds: 30,
    what: `${last} to be archived`,
  });
}

describeWithEngine('recovery from archived WAL in a container', () => {
  test('comes to each kind of target, across a promotion, and fails without a trace', {
    timeout: 600_000,
  }, async () => {
    const of = images['18-forky'];
    const home = workspace();
    const source = await archivingService(of, home);
    const diary = await makeDiary(source.sql);
    await diary.add();
    await backUpService(source, home);
    const atBackup = await diary.state();
    await diary.add();
    await source.sql("select pg_create_restore_point('here')");
    const atPoint = await diary.state();
    const second = await diary.add();
    const third = await diary.add();
    await archiveAll(source);
    await source.exec(['touch', `${of.dataDirectory}/standby.signal`], {user: 'postgres'});
    await source.sql('checkpoint');
    execFileSync('docker', ['restart', source.id], {stdio: 'pipe'});
    await source.ready();
    await source.sql('select pg_promote()');
    await diary.add();
    await archiveAll(source);
    const last = await diary.state();

    const clean = await traces(source);
    const session = await openSession(source);
    let restores = 0;
    const run = (inputs: Inputs) => {
      restores += 1;
      const whole = {'data-directory': `/var/lib/postgresql/r${restores}`, ...inputs};
      return runAction(serviceRestoreInputs(source, whole), {workspace: home});
    };
    const comesTo = async (state: State, inputs: Inputs, stop: string) => {
      const archived = {'wal-directory': 'archive', 'check-sql': sameState(state), ...inputs};
      const result = succeeded(await run(archived));
      expect(result.warnings).toEqual([]);
      expect(result.stdout).toContain(stop);
      const path = result.outputs['data-directory'] ?? '';
      await source.exec(['rm', '-r', path, `${path}_config`]);
      return result.outputs;
    };
    const commitOf = ({xid}: {xid: string}) => `commit of transaction ${xid}, time `;
    // live/point-in-time.test.ts has both sides of each.
    await comesTo(second.after, {'recovery-target-xid': second.xid}, `stopped after ${commitOf(second)}`);
    await comesTo(
      second.before,
      {'recovery-target-lsn': second.lsn, 'recovery-target-inclusive': 'false'},
      `stopped before WAL location (LSN) "${second.lsn}"`,
    );
    // At a time, what comes next is what recovery stops before.
    await comesTo(second.after, {'recovery-target-time': second.time}, `stopped before ${commitOf(third)}`);
    await comesTo(atBackup, {'recovery-target': 'immediate'}, 'stopped after reaching consistency');
    const paused = await comesTo(
      atPoint,
      {
        'restore-command': 'cp /archive/%f %p',
        'wal-directory': '',
        'recovery-target-name': 'here',
        'recovery-target-action': 'pause',
      },
      'stopped at restore point "here"',
    );
    expect(paused.proof).toBe('consistent');
    expect(await comesTo(last, {}, 'Recovered up to')).toMatchObject({proof: 'recovered', timeline: '3'});

    const never = {'recovery-target-name': 'never', 'wal-directory': 'archive'};
    expect(failure(await run(never))).toMatch(/The WAL that it asked for last is 0000000\d{17}/);
    const hangs = {
      'recovery-target-name': 'here',
      'restore-command': 'while :; do sleep 600; done',
      'start-timeout': '15',
    };
    expect(failure(await run(hangs))).toContain('The file that it asked restore-command for last is 0000');
    // A process that ended badly as a child of the container's first one would have ended this, too.
    await session.close();
    expect(await traces(source)).toEqual(clean);
  });

  test('takes an archive that is compressed by what the container has, and refuses another beforehand', async () => {
    const home = workspace();
    const source = await archivingService(images['17-busybox'], home);
    const diary = await makeDiary(source.sql);
    await backUpService(source, home);
    const {after} = await diary.add();
    await archiveAll(source);
    const archive = join(home.directory, 'archive');
    const names = readdirSync(archive).filter((name) => /^\w{24}$/.test(name));
    execFileSync('gzip', names, {cwd: archive});
    const inputs = {'wal-directory': 'archive', 'check-sql': sameState(after)};
    succeeded(await runAction(serviceRestoreInputs(source, inputs), {workspace: home}));

    const packed = names.map((name) => `${name}.gz`);
    execFileSync('gunzip', packed, {cwd: archive});
    execFileSync('zstd', ['--rm', '-q', ...names], {cwd: archive});
    const again = {...inputs, 'data-directory': '/var/lib/postgresql/again'};
    const result = await runAction(serviceRestoreInputs(source, again), {workspace: home});
    expect(failure(result)).toMatch(/compressed with zstd, and container .* has no program zstd/);
    expect(result.stdout).not.toContain('::group::Extract');
  });
});
