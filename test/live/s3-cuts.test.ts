import {beforeAll, beforeEach, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {expectNothingLeft} from '../support/leftovers.js';
import {failure, runAction, succeeded, transcript} from '../support/runner.js';
import {credentialsOf, describeWithObjectStore, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {type S3Proxy, startS3Proxy, type Where} from '../support/s3-proxy.js';
import type {SeenRequest} from '../support/s3-request.js';
import {seeded} from '../support/seeded.js';
import {backupInputs, type Inputs} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** The same places each time; `CUTS_SEED` asks for others. */
const seed = Number(process.env.CUTS_SEED ?? 2026);
const random = seeded(seed);

const codecs = ['none', 'client-zstd:level=1'] as const;
/** Without these nobody can tidy up, and nothing can be promised. */
const forTidyingUp = ['HeadObject', 'DeleteObject', 'AbortMultipartUpload'];

/** Chosen now, so that each test's name tells all of it. */
const cuts = Array.from({length: 10}, (_, index) => ({
  index,
  compress: codecs[index % 2] ?? 'none',
  isForGood: index % 5 > 2,
  /** Which of the requests, as a part of all of them. */
  which: random(1000) / 1000,
  share: random(1001) / 1000,
}));

const manyBytes = (rows: number) =>
  `select n, (select string_agg(md5(random()::text || i || n), '') from generate_series(1, 20) i) t from generate_series(1, ${rows}) n`;

describeWithPostgres(`a backup that is stored while it is taken, with seed ${seed}`, () => {
  describeWithObjectStore('over connections that are cut', (ceph) => {
    let source: Cluster;
    let proxy: S3Proxy;
    let bucket: TestBucket;
    /** What a backup asks the store for that nothing happens to, and what is there afterwards. */
    const usual = new Map<
      string,
      {requests: readonly Pick<SeenRequest, 'operation' | 'key'>[]; keys: readonly string[]}
    >();

    const place = (): Inputs => ({storage: `s3://${bucket.name}/nightly`, 's3-endpoint': proxy.origin});
    const options = (home: Workspace) => ({workspace: home, env: credentialsOf(ceph)});
    const store = (compress: string, home: Workspace) =>
      runAction(backupInputs(source, {...place(), compress}), options(home));
    const verify = (name: string) =>
      runAction({mode: 'verify', 'backup-name': name, ...place()}, options(workspace()));

    beforeAll(async () => {
      [source, proxy] = await Promise.all([createCluster(), startS3Proxy(ceph.origin)]);
      await source.tablespace('fast');
      await source.sql(
        `create table near as ${manyBytes(40_000)}; create table far tablespace fast as ${manyBytes(25_000)}`,
      );
      return () => Promise.all([source.remove(), proxy.stop()]);
    });

    beforeEach(async () => {
      proxy.clear();
      bucket = await makeBucket(ceph);
    });

    test.for(codecs)('asks for about the same each time, with %s', async (compress) => {
      const {stdout} = succeeded(await store(compress, workspace()));
      expect(stdout).toContain('Into:   the storage, while it is taken');
      const requests = proxy.seen.map(({operation, key}) => ({
        operation,
        // The rest of the trial's key is another one each time.
        key: key.replace(/^.*(?=\.trial$)/, ''),
      }));
      const parts = requests.filter(
        ({operation, key}) => operation === 'UploadPart' && /\/\d+\.tar/.test(key),
      );
      expect(parts.length).toBeGreaterThan(1);
      usual.set(compress, {requests, keys: await bucket.keys()});
    });

    /** The request that is chosen, and all later ones of its kind where the connection is cut for good. */
    function placeOf({compress, isForGood, which}: (typeof cuts)[number]): Where {
      const {requests = []} = usual.get(compress) ?? {};
      const choice = requests.flatMap(({operation: at, key}, index) => {
        if (isForGood && forTidyingUp.includes(at)) return [];
        const earlier = requests.slice(0, index);
        return {
          at,
          key,
          after: earlier.filter((one) => one.operation === at && one.key.endsWith(key)).length,
        };
      });
      const chosen = choice[Math.floor(which * choice.length)] ?? expect.fail('No request was seen.');
      return isForGood ? chosen : {...chosen, times: 1};
    }

    test.for(cuts)('is whole or red, and leaves nothing: %j', async (cut, {annotate}) => {
      const where = placeOf(cut);
      await annotate(`${JSON.stringify(where)}, after ${cut.share} of it`);
      const home = workspace();
      proxy.spoil(where, {kind: 'cut-midway', share: cut.share});
      const result = await store(cut.compress, home);
      const seen = proxy.seen.filter(
        ({operation, key}) => operation === where.at && key.endsWith(where.key ?? ''),
      );
      expect(seen.length, transcript(result)).toBeGreaterThan(where.after ?? 0);
      proxy.clear();
      await expectNothingLeft(home, source);
      expect(await bucket.uploads()).toEqual([]);
      if (!cut.isForGood || result.status === 0) {
        succeeded(result);
        expect(await bucket.keys()).toEqual(usual.get(cut.compress)?.keys);
        expect(succeeded(await verify('nightly')).outputs.proof).toBe('manifest-verified');
        return;
      }
      expect(failure(result)).toMatch(/(could not|cannot) be .*[\s\S]*The store cannot be reached\. Check /);
      expect(await bucket.keys()).toEqual([]);
      expect(failure(await verify('latest'))).toContain('There are none at all.');
    });

    test('is red when the store is gone at a part, is not listed, and what is left is named', async () => {
      const home = workspace();
      proxy.spoil(
        {after: Math.floor((usual.get('none')?.requests.length ?? 0) / 2)},
        {kind: 'cut-midway', share: 0.5},
      );
      const result = await store('none', home);
      proxy.clear();
      await expectNothingLeft(home, source);
      expect(failure(result)).toContain('The store cannot be reached. Check ');
      const left = await bucket.keys();
      expect(left).toContain('nightly/nightly.claim');
      for (const key of left) expect(result.warnings.join()).toContain(key);
      expect(failure(await verify('latest'))).toContain('There are none at all.');
    });
  });
});
