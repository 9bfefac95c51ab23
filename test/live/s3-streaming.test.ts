import {existsSync, readdirSync, statfsSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import {ageKey} from '../support/age.js';
import {type Cluster, createCluster, describeWithPostgres, freePort} from '../support/cluster.js';
import {disk} from '../support/disk.js';
import {isStopped, processesOf} from '../support/processes.js';
import {failure, runAction, startAction, succeeded} from '../support/runner.js';
import {credentialsOf, describeWithObjectStore, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {type S3Proxy, startS3Proxy} from '../support/s3-proxy.js';
import {askRestored, backupInputs, type Inputs, restoreInputs, stopRestored} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** The directory in memory that the backup of a workspace passes through; undefined before it is begun. */
function directoryInMemory(home: Workspace): string | undefined {
  const args = processesOf(home.root).flatMap((seen) => seen.args);
  return args.map((arg) => /\/dev\/shm\/pg-basebackup-action-[^/]+/.exec(arg)?.[0]).find(Boolean);
}

const hasArchive = (directory: string) =>
  existsSync(directory) && readdirSync(directory).some((name) => name.endsWith('.tar'));

/** Of the disk that the backup's files pass through; the cluster has several times as much. */
const diskMebibytes = 96;

describeWithPostgres('a backup that is stored while it is taken', () => {
  describeWithObjectStore('in an object store', (ceph) => {
    let source: Cluster;
    let proxy: S3Proxy;
    let bucket: TestBucket;

    beforeAll(async () => {
      [source, proxy] = await Promise.all([createCluster(), startS3Proxy(ceph.origin)]);
      await source.tablespace('fast disk');
      // The server sends them in an order of its own, several between two looks.
      for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await source.tablespace(name);
      // About 100 MB each: more than the disk, in base and in the tablespace.
      await source.sql(
        `create table near as select n, repeat(md5(n::text), 20) t from generate_series(1, 150000) n`,
      );
      await source.sql(
        `create table far tablespace "fast disk" as select n, repeat(md5(n::text), 20) t from generate_series(1, 150000) n`,
      );
      return () => Promise.all([source.remove(), proxy.stop()]);
    });

    beforeEach(async () => {
      proxy.clear();
      bucket = await makeBucket(ceph);
    });

    const place = (): Inputs => ({storage: `s3://${bucket.name}/nightly`, 's3-endpoint': proxy.origin});
    const inputs = (more: Inputs = {}): Inputs =>
      backupInputs(source, {...place(), compress: 'none', ...more});
    const options = (home: Workspace) => ({workspace: home, env: credentialsOf(ceph)});

    /** Nothing of an attempt is left: here, in the bucket, and at the server. */
    async function expectNothingLeft(home: Workspace): Promise<void> {
      expect(await bucket.keys()).toEqual([]);
      expect(await bucket.uploads()).toEqual([]);
      expect(
        existsSync(join(home.directory, 'backups')) ? readdirSync(join(home.directory, 'backups')) : [],
      ).toEqual([]);
      expect(readdirSync(home.temp)).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
      await expect
        .poll(() => source.sql('select count(*) from pg_stat_replication'), {timeout: 30_000})
        .toBe('0');
      expect(await source.sql('select count(*) from pg_replication_slots')).toBe('0');
    }

    test('needs far less disk than it has bytes, with a tablespace and with WAL that goes on', async () => {
      const home = workspace();
      const backups = join(home.directory, 'backups');
      disk(backups, diskMebibytes);
      let leastFree = Number.POSITIVE_INFINITY;
      const watch = setInterval(() => {
        const {bavail, bsize} = statfsSync(backups);
        leastFree = Math.min(leastFree, bavail * bsize);
      }, 20);
      try {
        const running = startAction(inputs({'max-rate': '100M'}), options(home));
        let isOver = false;
        const result = running.result.finally(() => {
          isOver = true;
        });
        // Segments that are written, and switched, while the backup runs: no more than fit beside the window, because
        // WAL has to be taken as it comes, and a busy machine may store it slowly.
        for (let count = 0; count < 3 && !isOver; count += 1) {
          await source.sql(
            `create table if not exists later (x text); insert into later select md5(n::text) from generate_series(1, 20000) n; select pg_switch_wal(); select pg_sleep(1)`,
          );
        }
        const {outputs, stdout} = succeeded(await result);
        expect(Number(outputs['size-bytes'])).toBeGreaterThan(2 * diskMebibytes * 2 ** 20);
        expect(outputs['backup-directory']).toBeUndefined();
        expect(stdout).toContain('Into:   the storage, while it is taken');
      } finally {
        clearInterval(watch);
      }
      expect(leastFree).toBeGreaterThan(0);
      expect(readdirSync(backups)).toEqual([]);
      const keys = await bucket.keys();
      expect(keys.filter((key) => /\/\d+\.tar$/.test(key))).toHaveLength(7);
      expect(keys.filter((key) => !/\/\d+\.tar$/.test(key))).toEqual([
        'nightly/nightly.json',
        'nightly/nightly/backup_manifest',
        'nightly/nightly/base.tar',
        'nightly/nightly/pg_wal.tar',
      ]);
      const restored = succeeded(
        await runAction(
          restoreInputs({...place(), 'keep-running': 'true', 'listen-port': String(await freePort())}),
          options(home),
        ),
      );
      expect(restored.outputs.proof).toBe('recovered');
      const rows = 'select count(*), sum(hashtext(t)) from (table near union all table far) as both_of_them';
      expect(await askRestored(restored, rows)).toBe(await source.sql(rows));
      await stopRestored(restored);
    });

    test.for(['client-zstd', 'server-gzip', 'client-gzip'])(
      'is compressed as asked for, with %s',
      async (compress) => {
        const home = workspace();
        succeeded(await runAction(inputs({compress}), options(home)));
        const {outputs} = succeeded(
          await runAction({mode: 'verify', 'backup-name': 'nightly', ...place()}, options(home)),
        );
        expect(outputs.proof).toBe('manifest-verified');
        expect(Number(outputs['wal-segments-verified'])).toBeGreaterThan(0);
      },
    );

    test('and encrypted is nowhere on a disk in plain text, and opens with its key', async () => {
      const home = workspace();
      const {recipient, identity} = await ageKey(home.root, 'office');
      const running = startAction(inputs({'encrypt-to': recipient}), options(home));
      // What passes through is in memory, and the directory of backups is never made.
      const found = {directory: ''};
      await running.until(() => {
        found.directory ||= directoryInMemory(home) ?? '';
        return hasArchive(found.directory);
      }, 'archives in memory');
      expect(existsSync(join(home.directory, 'backups', 'nightly.partial'))).toBe(false);
      succeeded(await running.result);
      expect(existsSync(found.directory)).toBe(false);
      const keys = await bucket.keys();
      expect(keys.filter((key) => !key.endsWith('.age'))).toEqual(['nightly/nightly.json']);
      const opened = await runAction(
        {mode: 'verify', 'backup-name': 'nightly', ...place(), 'decrypt-with': identity},
        options(home),
      );
      expect(succeeded(opened).outputs.proof).toBe('manifest-verified');
    });

    test('is refused while another run stores one of its name, which is left alone', async () => {
      const [first, second] = [workspace(), workspace()];
      proxy.spoil({at: 'UploadPart', key: 'base.tar', times: 1}, {kind: 'delay', milliseconds: 3000});
      const running = startAction(inputs(), options(first));
      await running.until(async () => (await bucket.keys()).includes('nightly/nightly.claim'), 'the claim');
      const refused = await runAction(inputs(), options(second));
      expect(failure(refused)).toMatch(/nightly\.claim exists already|nightly\/nightly\/\S+ exists already/);
      succeeded(await running.result);
      const verified = await runAction(
        {mode: 'verify', 'backup-name': 'nightly', ...place()},
        options(first),
      );
      expect(succeeded(verified).outputs.proof).toBe('manifest-verified');
      expect(await bucket.keys()).not.toContain('nightly/nightly.claim');
    });

    test('to a store that takes nothing ends after stall-timeout, and leaves nothing', async () => {
      const home = workspace();
      proxy.spoil({at: 'UploadPart', key: 'base.tar'}, {kind: 'hang'});
      const result = await runAction(inputs({'stall-timeout': '5s'}), options(home));
      expect(failure(result)).toContain('pg_basebackup was held back for 5 s (stall-timeout)');
      proxy.clear();
      await expectNothingLeft(home);
    });

    test('to a store that is slow holds the server up for short times only, and succeeds', async () => {
      const home = workspace();
      proxy.spoil({at: 'UploadPart', key: 'base.tar'}, {kind: 'delay', milliseconds: 300});
      succeeded(await runAction(inputs({'stall-timeout': '5s'}), options(home)));
      const verified = await runAction({mode: 'verify', 'backup-name': 'nightly', ...place()}, options(home));
      expect(succeeded(verified).outputs.proof).toBe('manifest-verified');
    });

    test('to a store that refuses midway is refused with its reason, and leaves nothing', async () => {
      const home = workspace();
      proxy.spoil({at: 'UploadPart', key: 'base.tar'}, {kind: 'refuse', status: 403, code: 'AccessDenied'});
      const result = await runAction(inputs(), options(home));
      expect(failure(result)).toContain('base.tar could not be stored');
      expect(failure(result)).toContain('s3:PutObject');
      proxy.clear();
      await expectNothingLeft(home);
    });

    test('and is cancelled midway, also while it is held back, leaves nothing', async () => {
      const home = workspace();
      proxy.spoil({at: 'UploadPart', key: 'base.tar'}, {kind: 'hang'});
      const running = startAction(inputs(), options(home));
      await running.until(
        () => processesOf(home.root).some(({pid}) => isStopped(pid)),
        'pg_basebackup to be held back',
      );
      running.child.kill('SIGINT');
      expect(failure(await running.result)).toMatch(/cancel/i);
      proxy.clear();
      await expectNothingLeft(home);
    });

    test('is taken the usual way where the disk space of a file cannot be given back', async () => {
      const home = workspace();
      const result = succeeded(await runAction(inputs({format: 'plain'}), options(home)));
      expect(result.outputs['backup-directory']).toBe(join(home.directory, 'backups', 'nightly'));
      succeeded(await runAction(restoreInputs(place()), options(home)));
    });
  });
});
