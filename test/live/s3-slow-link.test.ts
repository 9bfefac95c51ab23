import {statfsSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {cluster, describeWithPostgres} from '../support/cluster.js';
import {disk} from '../support/disk.js';
import {expectNothingLeft} from '../support/leftovers.js';
import {isStopped, processesOf} from '../support/processes.js';
import {runAction, startAction, succeeded} from '../support/runner.js';
import {credentialsOf, describeWithObjectStore, makeBucket} from '../support/s3-bucket.js';
import {slowLink} from '../support/slow-link.js';
import {backupInputs} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

/** Of the disk that the backup passes through; the cluster has more. */
const diskMebibytes = 96;

describeWithPostgres('a backup that is stored while it is taken', () => {
  describeWithObjectStore('in a store behind a slow link', (ceph) => {
    test('waits for the link, on a disk that is smaller than the cluster, and succeeds', async () => {
      const [source, bucket] = await Promise.all([cluster(), makeBucket(ceph)]);
      await source.tablespace('fast');
      await source.sql(
        `create table near as select n, repeat(md5(n::text), 20) t from generate_series(1, 100000) n;
         create table far tablespace fast as table near`,
      );
      const link = await slowLink(Number(new URL(ceph.origin).port), '80mbit');
      const home = workspace();
      const backups = join(home.directory, 'backups');
      disk(backups, diskMebibytes);
      const options = {workspace: home, env: credentialsOf(ceph)};
      const storage = `s3://${bucket.name}/nightly`;
      let leastFree = Number.POSITIVE_INFINITY;
      const watch = setInterval(() => {
        const {bavail, bsize} = statfsSync(backups);
        leastFree = Math.min(leastFree, bavail * bsize);
      }, 20);
      const running = startAction(
        backupInputs(source, {storage, 's3-endpoint': link.origin, compress: 'none', 'stall-timeout': '60s'}),
        options,
      );
      try {
        await running.until(
          () => processesOf(home.root).some(({pid}) => isStopped(pid)),
          'pg_basebackup waits for the link',
        );
        const {outputs} = succeeded(await running.result);
        expect(Number(outputs['size-bytes'])).toBeGreaterThan(diskMebibytes * 2 ** 20);
        expect(link.sentBytes()).toBeGreaterThan(Number(outputs['size-bytes']));
      } finally {
        clearInterval(watch);
      }
      expect(leastFree).toBeGreaterThan(0);
      await expectNothingLeft(home, source);
      const verified = await runAction(
        {mode: 'verify', 'backup-name': 'nightly', storage, 's3-endpoint': ceph.origin},
        options,
      );
      expect(succeeded(verified).outputs.proof).toBe('manifest-verified');
      expect(await bucket.uploads()).toEqual([]);
    });
  });
});
