import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, beforeEach, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {takeByHand} from '../support/hand-made.js';
import {
  type ActionOptions,
  type ActionResult,
  failure,
  runAction,
  startAction,
  succeeded,
} from '../support/runner.js';
import {credentialsOf, describeWithObjectStore, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {type S3Proxy, startS3Proxy} from '../support/s3-proxy.js';
import {backupDirectory, backupInputs, type Inputs, restoreInputs} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

const rowsAreThere = {
  'check-database': 'bank',
  'check-sql': 'select count(*) = 100000 from pgbench_accounts',
};

describeWithPostgres('a backup in an object store', () => {
  describeWithObjectStore('with Ceph', (ceph) => {
    let source: Cluster;
    let proxy: S3Proxy;
    let bucket: TestBucket;

    beforeAll(async () => {
      [source, proxy] = await Promise.all([createCluster(), startS3Proxy(ceph.origin)]);
      await source.tablespace('fast');
      await source.pgbench('bank', 1, ['--tablespace=fast']);
      return () => Promise.all([source.remove(), proxy.stop()]);
    });

    beforeEach(async () => {
      proxy.clear();
      bucket = await makeBucket(ceph);
    });

    const place = (): Inputs => ({
      storage: `s3://${bucket.name}/main/shop`,
      's3-endpoint': proxy.origin,
    });
    const withKeys = (more: ActionOptions = {}): ActionOptions => ({
      ...more,
      env: {...credentialsOf(ceph), ...more.env},
    });
    const store = (more: Inputs = {}): Promise<ActionResult> =>
      runAction(backupInputs(source, {...place(), compress: 'none', ...more}), withKeys());
    const restore = (more: Inputs = {}): Promise<ActionResult> =>
      runAction(restoreInputs({...place(), ...rowsAreThere, ...more}), withKeys());
    const verify = (more: Inputs = {}, env: Record<string, string> = {}): Promise<ActionResult> =>
      runAction({mode: 'verify', 'backup-name': 'nightly', ...place(), ...more}, withKeys({env}));

    test('goes when newer ones are kept, unless it is the newest that is proven', async () => {
      succeeded(await store({'backup-name': 'nightly-1'}));
      succeeded(await restore({'backup-name': 'nightly-1'}));
      expect(await bucket.keys()).toContain('main/shop/nightly-1.proof.json');
      succeeded(await store({'backup-name': 'nightly-2', report: 'true'}));
      expect(await bucket.keys()).toContain('main/shop/nightly-2.backup.report.html');
      const kept = {'keep-last': '1', 'keep-names': 'nightly-*'};
      const {outputs} = succeeded(await store({'backup-name': 'nightly-3', ...kept}));
      expect(outputs['pruned-backups']).toBe('nightly-2');
      const left = (await bucket.keys()).filter(
        (key) => key.includes('nightly-2') || key.includes('.removing'),
      );
      expect(left).toEqual([]);
      const verified = succeeded(await verify({'backup-name': 'latest-verified'}));
      expect(verified.outputs['backup-name']).toBe('nightly-1');
      const wal = (await bucket.keys()).find((key) => key.includes('nightly-1/pg_wal.tar')) ?? '';
      await bucket.put(wal, 'cut');
      // A dry run does not note it.
      for (const dryRun of ['true', 'false'])
        expect(failure(await verify({'backup-name': 'latest-verified', 'dry-run': dryRun}))).toContain(
          'pg_wal.tar',
        );
      expect(failure(await verify({'backup-name': 'latest-verified'}))).toMatch(
        /No backup .* is proven to restore/,
      );
      // What an interrupted removal left goes with the next one.
      await bucket.put('main/shop/nightly-0/base.tar', 'the cluster');
      await bucket.put('main/shop/nightly-0.removing', '');
      succeeded(await store({'backup-name': 'nightly-4', ...kept}));
      expect((await bucket.keys()).filter((key) => /nightly-[03]/.test(key))).toEqual([]);
    });

    test('is one object a file, the metadata last, is verified and restores', async () => {
      const backup = succeeded(await store());
      const address = `s3://${bucket.name}/main/shop/nightly`;
      const keys = await bucket.keys();
      expect(keys.map((key) => key.replace(/\d+\.tar/, 'OID.tar'))).toEqual([
        'main/shop/nightly.json',
        'main/shop/nightly/OID.tar',
        'main/shop/nightly/backup_manifest',
        'main/shop/nightly/base.tar',
        'main/shop/nightly/pg_wal.tar',
      ]);
      const made = proxy.seen.filter(({operation}) =>
        /^(PutObject|CompleteMultipartUpload)$/.test(operation),
      );
      expect(made.at(-1)?.key).toBe('main/shop/nightly.json');
      expect(made.every(({headers}) => headers['if-none-match'] === '*')).toBe(true);
      expect(made.some(({operation}) => operation === 'CompleteMultipartUpload')).toBe(true);
      expect(await bucket.uploads()).toEqual([]);
      expect(backup.summary).toContain(address);
      expect(backup.stdout).toContain(`Stored nightly: ${address}`);
      expect(backup.stdout + backup.summary).not.toContain(ceph.secretAccessKey);

      const verified = succeeded(await verify({'max-backup-age': '1h'}));
      expect(verified.outputs['backup-name']).toBe('nightly');
      expect(readdirSync(verified.workspace.temp)).toEqual([]);

      const restored = succeeded(await restore());
      expect(restored.outputs).toMatchObject({proof: 'recovered', 'checks-passed': 'manifest,check-sql'});
      expect(restored.summary).toContain(address);
    });

    test('of plain format travels as archives, and is found by a pattern and as the latest', async () => {
      succeeded(await store({'backup-name': 'nightly-1', format: 'plain', compress: 'auto'}));
      succeeded(await store({'backup-name': 'weekly-1', compress: 'auto'}));
      const keys = await bucket.keys();
      expect(keys.filter((key) => /nightly-1\/(base|\d+)\.tar\.zst$/.test(key))).toHaveLength(2);
      const byPattern = succeeded(await restore({'backup-name': 'night*'}));
      expect(byPattern.outputs).toMatchObject({'backup-name': 'nightly-1', proof: 'recovered'});
      const latest = succeeded(await verify({'backup-name': 'latest'}));
      expect(latest.outputs['backup-name']).toBe('weekly-1');
      const absent = failure(await verify({'backup-name': 'monthly-*'}));
      expect(absent).toContain('There are: nightly-1, weekly-1.');
      const old = failure(await verify({'backup-name': 'nightly-1', 'max-backup-age': '1s'}));
      expect(old).toMatch(/old/);
    });

    test('replaces none of the same name, and is refused before pg_basebackup starts', async () => {
      await bucket.put('main/shop/nightly/base.tar', 'anything');
      const refused = await store();
      expect(failure(refused)).toContain('main/shop/nightly/base.tar exists already');
      expect(refused.stdout).not.toContain('initiating base backup');
      expect(await bucket.keys()).toEqual(['main/shop/nightly/base.tar']);
    });

    test('that was made by hand restores by its exact name, and is not the latest', async () => {
      const home = workspace();
      const directory = join(home.directory, 'byhand');
      await takeByHand(source, directory);
      for (const name of readdirSync(directory))
        await bucket.put(`main/shop/byhand/${name}`, readFileSync(join(directory, name)));
      const restored = succeeded(await restore({'backup-name': 'byhand'}));
      expect(restored.outputs.proof).toBe('recovered');
      expect(failure(await verify({'backup-name': 'latest'}))).toContain('There are none at all.');
    });

    test.each(['SIGINT', 'SIGKILL'] as const)(
      'that %s ends while it is stored is no backup',
      async (signal) => {
        proxy.spoil({at: 'UploadPart', key: 'base.tar'}, {kind: 'hang'});
        const action = startAction(backupInputs(source, {...place(), compress: 'none'}), withKeys());
        const isHanging = () =>
          proxy.seen.some(({operation, key}) => operation === 'UploadPart' && key.endsWith('base.tar'));
        await action.until(isHanging, 'a part of base.tar is on its way');
        action.child.kill(signal);
        const ended = await action.result;
        proxy.clear();
        expect(ended.status).not.toBe(0);
        if (signal === 'SIGINT') {
          expect(failure(ended)).toContain('Cancelled by SIGINT');
          expect(await bucket.keys()).toEqual([]);
          expect(await bucket.uploads()).toEqual([]);
        }
        expect(failure(await verify({'backup-name': 'latest'}))).toContain('There are none at all.');
        expect(failure(await verify())).toMatch(/There is no backup nightly|is not complete/);
      },
    );

    test('that was finished first, and cannot be stored, stays on disk, and the error says where and why', async () => {
      proxy.spoil(
        {at: 'PutObject', key: 'nightly.json'},
        {kind: 'refuse', status: 403, code: 'AccessDenied'},
      );
      const backup = await store({format: 'plain'});
      const message = failure(backup);
      expect(message).toContain(backupDirectory(backup.workspace));
      expect(message).toContain('"Action":"s3:PutObject"');
      expect(await bucket.keys()).toEqual([]);
      expect(await bucket.uploads()).toEqual([]);
      const local = await runAction(restoreInputs(rowsAreThere), {workspace: backup.workspace});
      expect(succeeded(local).outputs.proof).toBe('recovered');
    });

    test('is not begun where nothing can be written, or where credentials or the bucket are wrong', async () => {
      proxy.spoil({at: 'CreateMultipartUpload'}, {kind: 'refuse', status: 403, code: 'AccessDenied'});
      const forbidden = await store();
      expect(failure(forbidden)).toContain(
        `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::${bucket.name}/main/shop/*"}`,
      );
      expect(forbidden.stdout).not.toContain('initiating base backup');
      expect(failure(await verify({storage: 's3://no-such-bucket-here'}))).toContain(
        'aws s3api create-bucket --bucket no-such-bucket-here',
      );
      expect(failure(await verify({}, {AWS_ACCESS_KEY_ID: 'unknown'}))).toContain('AWS_ACCESS_KEY_ID');
      expect(failure(await verify({}, {AWS_SECRET_ACCESS_KEY: 'wrong'}))).toContain('AWS_SECRET_ACCESS_KEY');
      const home = workspace();
      const none = await runAction(
        {mode: 'verify', 'backup-name': 'nightly', ...place()},
        {workspace: home, env: {HOME: home.root, AWS_EC2_METADATA_DISABLED: 'true'}},
      );
      expect(failure(none)).toContain('aws-actions/configure-aws-credentials');
    });

    test('is cut off while it is fetched, and goes on', async () => {
      succeeded(await store());
      proxy.spoil({at: 'GetObject', key: 'base.tar', times: 3}, {kind: 'cut', afterBytes: 1_000_000});
      proxy.spoil(
        {at: 'GetObject', key: 'pg_wal.tar', times: 1},
        {kind: 'refuse', status: 503, code: 'SlowDown'},
      );
      expect(succeeded(await restore()).outputs.proof).toBe('recovered');
      // The first reading of a file looks at its head alone.
      proxy.spoil({at: 'GetObject', key: 'base.tar', times: 2}, {kind: 'corrupt'});
      const damaged = await verify();
      expect(failure(damaged)).toMatch(/The backup is damaged: [\s\S]*base\.tar: /);
      expect(readdirSync(damaged.workspace.temp)).toEqual([]);
    });
  });
});
