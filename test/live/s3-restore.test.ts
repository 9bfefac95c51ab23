import {existsSync, mkdirSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import {ageKey, type KeyPair} from '../support/age.js';
import {type Cluster, createCluster, describeWithPostgres, freePort} from '../support/cluster.js';
import {disk} from '../support/disk.js';
import {isServer, processesOf} from '../support/processes.js';
import {
  type ActionResult,
  failure,
  type RunningAction,
  runAction,
  startAction,
  succeeded,
} from '../support/runner.js';
import {credentialsOf, describeWithObjectStore, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {type S3Proxy, startS3Proxy} from '../support/s3-proxy.js';
import {seeded} from '../support/seeded.js';
import {askRestored, backupInputs, type Inputs, restoreInputs, stopRestored} from '../support/steps.js';
import {listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

/** Of the disk that holds the workspace, and of the one that holds everything temporary; each archive is larger. */
const diskMebibytes = 12;
/** What the action may take; it takes some 180 MiB, most of it for itself. */
const mostMebibytes = 250;

const manyBytes = (rows: number) =>
  `select n, (select string_agg(md5(random()::text || i || n), '') from generate_series(1, 20) i) t from generate_series(1, ${rows}) n`;
const rows = 'select count(*), sum(hashtext(t)) from near';
const allRows = 'select count(*), sum(hashtext(t)) from (table near union all table far) as both_of_them';

/** The most memory that a process has had, as long as it is there (proc(5), VmHWM). */
async function peakMebibytes({pid, result}: RunningAction): Promise<number> {
  let peak = 0;
  const look = () => {
    if (!existsSync(`/proc/${pid}/status`)) return;
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) / 1024);
  };
  const timer = setInterval(look, 50);
  await result.finally(() => clearInterval(timer));
  return peak;
}

describeWithPostgres('a backup in an object store', () => {
  describeWithObjectStore('that does not fit on the disk', (ceph) => {
    let source: Cluster;
    let proxy: S3Proxy;
    let bucket: TestBucket;
    let key: KeyPair;
    let before: string;

    const place = (): Inputs => ({storage: `s3://${bucket.name}/nightly`, 's3-endpoint': proxy.origin});
    const env = credentialsOf(ceph);

    beforeAll(async () => {
      const home = makeWorkspace();
      [source, proxy, bucket, key] = await Promise.all([
        createCluster(),
        startS3Proxy(ceph.origin),
        makeBucket(ceph),
        ageKey(home.root, 'office'),
      ]);
      await source.sql(`create table near as ${manyBytes(60_000)}`);
      const store = async (name: string, more: Inputs) =>
        succeeded(
          await runAction(backupInputs(source, {...place(), 'backup-name': name, ...more}), {
            workspace: home,
            env,
          }),
        );
      await store('zstd', {compress: 'client-zstd:level=1'});
      before = await source.sql(rows);
      await source.tablespace('fast disk');
      await source.sql(`create table far tablespace "fast disk" as ${manyBytes(40_000)}`);
      await store('none', {compress: 'none'});
      await store('gzip', {compress: 'client-gzip:1', 'encrypt-to': key.recipient});
      return () => Promise.all([source.remove(), proxy.stop(), home.remove()]);
    });

    beforeEach(() => proxy.clear());

    /** A job whose workspace and temporary folder have next to no room; the data directory goes to a larger disk. */
    function smallDisks(): {home: Workspace; data: string} {
      const home = workspace();
      disk(home.directory, diskMebibytes);
      disk(home.temp, diskMebibytes);
      mkdirSync(join(home.root, 'large'), {mode: 0o755});
      return {home, data: join(home.root, 'large', 'data')};
    }

    const options = (home: Workspace) => ({workspace: home, env: {...env, TMPDIR: home.temp}});

    const restoring = async (home: Workspace, data: string, more: Inputs) =>
      startAction(
        restoreInputs({
          ...place(),
          'data-directory': data,
          'listen-port': String(await freePort()),
          ...more,
        }),
        options(home),
      );

    const verify = (more: Inputs): Promise<ActionResult> => {
      const {home} = smallDisks();
      return runAction({mode: 'verify', ...place(), ...more}, options(home));
    };

    /** A failed restore leaves nothing: no file, no process. */
    function expectNothingLeft({home}: {home: Workspace}, result: ActionResult): void {
      expect(result.stdout).not.toContain('Start postgres');
      expect(listAll(join(home.root, 'large'))).toEqual([]);
      expect(readdirSync(home.temp)).toEqual([]);
      expect(processesOf(home.root)).toEqual([]);
    }

    test.each([
      ['zstd', {}, rows, () => before],
      ['none', {}, allRows, () => source.sql(allRows)],
      ['gzip', {'decrypt-with': 'KEY'}, allRows, () => source.sql(allRows)],
    ] as const)(
      'restores and is verified, wherever its connections are cut: %s',
      async (name, more, ask, expected) => {
        const keys = 'decrypt-with' in more ? {'decrypt-with': key.identity} : {};
        const random = seeded(name.charCodeAt(0));
        const {home, data} = smallDisks();
        for (let cut = 0; cut < 8; cut++)
          proxy.spoil({at: 'GetObject', times: 1}, {kind: 'delay', milliseconds: 0});
        for (let cut = 0; cut < 8; cut++)
          proxy.spoil({at: 'GetObject', times: 1}, {kind: 'cut', afterBytes: random(4 * 2 ** 20)});
        const running = await restoring(home, data, {'backup-name': name, 'keep-running': 'true', ...keys});
        const [result, peak] = await Promise.all([running.result, peakMebibytes(running)]);
        const restored = succeeded(result);
        expect(restored.outputs.proof).toBe('recovered');
        expect(peak).toBeGreaterThan(0);
        expect(peak).toBeLessThan(mostMebibytes);
        expect(await askRestored(restored, ask)).toBe(await expected());
        expect(listAll(home.temp).filter((path) => /\.(tar|age)/.test(path))).toEqual([]);
        await stopRestored(restored);
        const verified = succeeded(await verify({'backup-name': name, ...keys}));
        expect(verified.outputs.proof).toBe('manifest-verified');
      },
    );

    test('is refused when a byte of it has changed, at the end of its reading', async () => {
      const small = smallDisks();
      // Of base.tar: its head, its beginning, and a piece from the middle of a file.
      proxy.spoil({at: 'GetObject', key: 'base.tar', times: 2}, {kind: 'delay', milliseconds: 0});
      proxy.spoil({at: 'GetObject', key: 'base.tar', times: 1}, {kind: 'corrupt'});
      const running = await restoring(small.home, small.data, {'backup-name': 'none'});
      const result = await running.result;
      expect(failure(result)).toMatch(/base\.tar: as it arrived from s3:.*its SHA-256 is .* was recorded/);
      expect(failure(result)).toContain('Nothing was started');
      expectNothingLeft(small, result);
    });

    test('is refused when a file of it is closed, replaced by a shorter one, or removed, while it is read', async () => {
      const small = smallDisks();
      // The manifest, which both of them read first, the head of base.tar and its beginning are still given.
      proxy.spoil({at: 'GetObject', key: 'base.tar', times: 2}, {kind: 'delay', milliseconds: 0});
      proxy.spoil({at: 'GetObject', key: 'base.tar'}, {kind: 'refuse', status: 403, code: 'AccessDenied'});
      const closed = await (await restoring(small.home, small.data, {'backup-name': 'none'})).result;
      expect(failure(closed)).toContain('base.tar could not be read');
      expect(failure(closed)).toContain('"Action":"s3:GetObject"');
      expectNothingLeft(small, closed);

      proxy.clear();
      const isRead = (file: string) => () =>
        proxy.seen.some(
          ({operation, key: seen, headers}) =>
            operation === 'GetObject' && seen.endsWith(file) && headers.range !== 'bytes=0-262143',
        );
      proxy.spoil({at: 'GetObject', key: 'none/base.tar'}, {kind: 'delay', milliseconds: 200});
      const running = await restoring(small.home, small.data, {'backup-name': 'none'});
      await running.until(isRead('none/base.tar'), 'base.tar to be read');
      await bucket.put('nightly/none/base.tar', 'another one');
      const replaced = await running.result;
      expect(failure(replaced)).toContain('replaced the object while it was read');
      expectNothingLeft(small, replaced);

      proxy.clear();
      expect(failure(await verify({'backup-name': 'none'}))).toMatch(/base\.tar has 11 bytes of \d+/);
    });

    test('leaves nothing when it is cancelled while its files are on their way', async () => {
      const small = smallDisks();
      proxy.spoil({at: 'GetObject', key: 'zstd/base.tar.zst', times: 2}, {kind: 'delay', milliseconds: 0});
      proxy.spoil({at: 'GetObject', key: 'zstd/base.tar.zst'}, {kind: 'hang'});
      const running = await restoring(small.home, small.data, {'backup-name': 'zstd'});
      await running.until(() => existsSync(join(small.data, 'base')), 'files to be unpacked');
      running.child.kill('SIGINT');
      const cancelled = await running.result;
      expect(failure(cancelled)).toContain('Cancelled by SIGINT');
      expect(processesOf(small.home.root).filter(({args}) => isServer(args))).toEqual([]);
      expectNothingLeft(small, cancelled);
    });
  });
});
