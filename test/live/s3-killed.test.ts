import {beforeAll, beforeEach, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {expectNothingLeft} from '../support/leftovers.js';
import {isRunning, processesOf} from '../support/processes.js';
import {failure, runAction, startAction, succeeded} from '../support/runner.js';
import {credentialsOf, describeWithObjectStore, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {type S3Proxy, startS3Proxy, type Where} from '../support/s3-proxy.js';
import {backupInputs, type Inputs} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** When the action is killed: while it waits for the answer to a request. */
interface Moment {
  readonly what: string;
  readonly where: Where;
  /** What it leaves in the bucket; undefined where that depends on how far its other requests were. */
  readonly uploads?: readonly string[];
  readonly isNameTaken: boolean;
}

const moments: readonly Moment[] = [
  {
    what: 'is checked',
    where: {at: 'ListObjects'},
    uploads: [],
    isNameTaken: false,
  },
  {
    what: 'is taken',
    where: {at: 'UploadPart', key: 'half/base.tar'},
    isNameTaken: true,
  },
  {
    what: 'has all but its metadata',
    where: {at: 'PutObject', key: 'half.json'},
    uploads: [],
    isNameTaken: true,
  },
];

describeWithPostgres('a backup that is stored while it is taken, killed by SIGKILL', () => {
  describeWithObjectStore('with an earlier one in the object store', (ceph) => {
    let source: Cluster;
    let proxy: S3Proxy;
    let bucket: TestBucket;
    let home: Workspace;

    beforeAll(async () => {
      [source, proxy] = await Promise.all([createCluster(), startS3Proxy(ceph.origin)]);
      await source.tablespace('fast');
      await source.sql(
        `create table far tablespace fast as select n, repeat(md5(n::text), 20) t from generate_series(1, 20000) n`,
      );
      return () => Promise.all([source.remove(), proxy.stop()]);
    });

    beforeEach(async () => {
      proxy.clear();
      [bucket, home] = [await makeBucket(ceph), workspace()];
      succeeded(await store('early'));
    });

    const place = (): Inputs => ({storage: `s3://${bucket.name}/nightly`, 's3-endpoint': proxy.origin});
    const inputs = (name: string) =>
      backupInputs(source, {...place(), 'backup-name': name, compress: 'none'});
    const options = () => ({workspace: home, env: credentialsOf(ceph)});
    const store = (name: string) => runAction(inputs(name), options());
    const verify = (name: string) =>
      runAction({mode: 'verify', 'backup-name': name, ...place()}, {...options(), workspace: workspace()});

    async function expectLatest(name: string): Promise<void> {
      const {outputs} = succeeded(await verify('latest'));
      expect(outputs).toMatchObject({'backup-name': name, proof: 'manifest-verified'});
    }

    /** Kills a backup `half` when it waits for an answer. */
    async function kill(where: Where): Promise<void> {
      proxy.clear();
      proxy.spoil(where, {kind: 'hang'});
      const action = startAction(inputs('half'), options());
      const isWaiting = () =>
        proxy.seen.some(({operation, key}) => operation === where.at && key.endsWith(where.key ?? ''));
      await action.until(isWaiting, 'the request comes');
      action.child.kill('SIGKILL');
      expect((await action.result).signal).toBe('SIGKILL');
      proxy.clear();
    }

    test.for(moments)('while it $what, it is none, and the next one works', async (moment) => {
      await kill(moment.where);
      await expectLatest('early');
      expect(failure(await verify('half'))).toMatch(/There is no backup half|is not complete/);
      const uploads = await bucket.uploads();
      if (moment.uploads === undefined) expect(uploads).toContain('nightly/half/base.tar');
      else expect(uploads).toEqual(moment.uploads);
      const orphans = processesOf(home.root);

      const next = succeeded(await store('next'));
      expect(next.stdout).toContain('Tidied up after run 4242');
      expect(orphans.filter(({pid}) => isRunning(pid))).toEqual([]);
      await expectNothingLeft(home, source);
      await expectLatest('next');
      // Another job could still be at it.
      expect(await bucket.uploads()).toEqual(uploads);

      if (moment.isNameTaken) {
        const address = `s3://${bucket.name}/nightly/half`;
        expect(failure(await store('half'))).toContain(
          `aws s3 rm --recursive ${address}/ && aws s3 rm ${address}.claim`,
        );
        for (const key of await bucket.keys()) {
          if (key.startsWith('nightly/half/') || key === 'nightly/half.claim') await bucket.remove(key);
        }
      }
      // As the store tells it when no job can be at it any more.
      proxy.rewrite('ListMultipartUploads', (body) =>
        body.replaceAll(/(<Initiated>)[^<]*/g, '$12020-01-01T00:00:00.000Z'),
      );
      succeeded(await store('half'));
      await expectLatest('half');
      expect(await bucket.uploads()).toEqual([]);
      expect((await bucket.keys()).filter((key) => key.endsWith('.claim'))).toEqual([]);
      await expectNothingLeft(home, source);
    });

    test('when its metadata are there, is one', async () => {
      await kill({at: 'DeleteObject', key: 'half.claim'});
      await expectLatest('half');
      succeeded(await store('next'));
      await expectLatest('next');
      await expectNothingLeft(home, source);
    });
  });
});
