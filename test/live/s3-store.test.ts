import {randomBytes} from 'node:crypto';
import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {buffer} from 'node:stream/consumers';
import {afterAll, beforeAll, beforeEach, expect, onTestFinished, test} from 'vitest';
import {formatMetadata} from '../../src/backup-set/metadata.js';
import {readVerified} from '../../src/backup-set/source.js';
import {CancelledError, messageOf, UserError} from '../../src/errors.js';
import {followChain} from '../../src/store/chain.js';
import {type S3StoreOptions, s3Store} from '../../src/store/s3.js';
import {parseS3Url} from '../../src/store/s3-location.js';
import type {FoundBackup, Store} from '../../src/store/store.js';
import {waitUntil} from '../support/command.js';
import {backupOf, type Files, metadataOf, someFiles} from '../support/local-backup.js';
import {credentialsOf, describeWithObjectStore, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {type Fault, type S3Proxy, startS3Proxy} from '../support/s3-proxy.js';
import {seeded} from '../support/seeded.js';

const before = {...process.env};
// Three parts, the last of them not whole.
const large: Files = {
  'base.tar': randomBytes(20_000_000),
  'pg_wal.tar': randomBytes(9_000_000),
  backup_manifest: '{}',
};
const slowDown: Fault = {kind: 'refuse', status: 503, code: 'SlowDown'};

/** Each piece of a stream of its own: those of a file are gone when the next one is asked for. */
async function* copies(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of pieces) yield Buffer.from(piece);
}

describeWithObjectStore('the store for S3', (ceph) => {
  let proxy: S3Proxy;
  let bucket: TestBucket;

  beforeAll(async () => {
    Object.assign(process.env, credentialsOf(ceph));
    proxy = await startS3Proxy(ceph.origin);
    return () => proxy.stop();
  });
  afterAll(() => {
    for (const name of Object.keys(credentialsOf(ceph))) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });
  beforeEach(async () => {
    proxy.clear();
    bucket = await makeBucket(ceph);
  });

  const storeOf = (more: Partial<S3StoreOptions> = {}): Store =>
    s3Store({
      location: parseS3Url(`s3://${bucket.name}`),
      endpoint: proxy.origin,
      signal: new AbortController().signal,
      ...more,
    });
  const failureOf = async (work: Promise<unknown>): Promise<UserError> => {
    const thrown: unknown = await work.then(
      () => undefined,
      (error: unknown) => error,
    );
    if (thrown instanceof UserError) return thrown;
    throw new Error(`There was no UserError, but ${String(thrown)}`);
  };
  /** Reads a file through the store, compared with the metadata; nothing is written anywhere. */
  const read = async (found: FoundBackup, file: string): Promise<Buffer> => {
    const {source, metadata} = await found.fetch('/nowhere');
    return buffer(
      copies(
        readVerified(
          source,
          file,
          metadata?.files.find(({name}) => name === file),
        ),
      ),
    );
  };
  const expectSame = async (name: string, files: Files): Promise<void> => {
    const found = await storeOf().find({name});
    for (const [file, content] of Object.entries(files))
      expect((await read(found, file)).equals(Buffer.from(content))).toBe(true);
  };
  const nothingIsLeft = async (): Promise<void> => {
    expect(await bucket.uploads()).toEqual([]);
    expect(await bucket.keys()).toEqual([]);
  };
  const requests = (operation: string) => proxy.seen.filter((one) => one.operation === operation);

  test('goes on when parts are cut at any point, refused for a while, or an answer is lost', async () => {
    for (const afterBytes of [1, 70_000, 1_000_000, 3_999_999, 8_000_000])
      proxy.spoil({at: 'UploadPart', times: 1}, {kind: 'cut', afterBytes});
    proxy.spoil({at: 'UploadPart', times: 2}, slowDown);
    proxy.spoil({at: 'CompleteMultipartUpload', times: 1}, {kind: 'lose-answer'});
    proxy.spoil({at: 'PutObject', times: 2}, {kind: 'lose-answer'});
    await storeOf().save(backupOf('a', large));
    expect(await bucket.uploads()).toEqual([]);
    proxy.clear();
    for (const afterBytes of [0, 1, 70_000, 1_000_000, 7_999_999])
      proxy.spoil({at: 'GetObject', key: 'base.tar', times: 1}, {kind: 'cut', afterBytes});
    await expectSame('a', large);
  });

  test('brings the manifest alone of what an incremental backup builds on, and tells when it is gone', async () => {
    const store = storeOf();
    await store.save(backupOf('full', someFiles));
    const found = await store.findParent({name: 'full', id: 'full'});
    const {files, startLsn, timeline} = metadataOf('full', someFiles);
    const manifest = files.find(({name}) => name === 'backup_manifest') ?? expect.fail();
    const directory = mkdtempSync(join(tmpdir(), 's3-fetch-'));
    onTestFinished(() => rmSync(directory, {recursive: true}));
    await found.fetchFile(manifest, directory);
    expect(readdirSync(directory)).toEqual(['backup_manifest']);
    expect(readFileSync(join(directory, 'backup_manifest'), 'utf8')).toBe(someFiles.backup_manifest);
    const parent = {name: 'full', id: 'full', manifestSha256: manifest.sha256, startLsn, timeline};
    const metadata = {...metadataOf('child', someFiles), startLsn: '0/3000028', parent};
    expect((await followChain({metadata}, store)).map(({name}) => name)).toEqual(['full']);
    await bucket.remove('full/base.tar.zst');
    const {message} = await failureOf(followChain({metadata}, store));
    expect(message).toMatch(/nothing without full.*not whole.*base\.tar\.zst is missing/);
  });

  test('aborts an upload whose first answer was lost, so that nobody knows its id', async () => {
    proxy.spoil({at: 'CreateMultipartUpload', times: 1}, {kind: 'lose-answer'});
    await storeOf().save(backupOf('a', large));
    expect(await bucket.uploads()).toEqual([]);
  });

  test.each<[string, Parameters<S3Proxy['spoil']>[0], Fault, RegExp]>([
    [
      'a part is refused',
      {at: 'UploadPart', key: 'pg_wal.tar'},
      {kind: 'refuse', status: 403, code: 'AccessDenied'},
      /s3:PutObject/,
    ],
    [
      'the store is full',
      {at: 'UploadPart', key: 'base.tar'},
      {kind: 'refuse', status: 403, code: 'QuotaExceeded'},
      /no room/,
    ],
    ['a byte changes on its way', {at: 'UploadPart', key: 'base.tar'}, {kind: 'corrupt'}, /damaged/],
    [
      'credentials expire',
      {at: 'PutObject', key: 'backup_manifest'},
      {kind: 'refuse', status: 400, code: 'ExpiredToken'},
      /role-duration-seconds/,
    ],
    [
      'the metadata are refused',
      {at: 'PutObject', key: 'a.json'},
      {kind: 'refuse', status: 403, code: 'AccessDenied'},
      /"Action":"s3:PutObject"/,
    ],
  ])('leaves nothing when %s', async (_, where, fault, cure) => {
    proxy.spoil(where, fault);
    const backup = backupOf('a', large);
    const error = await failureOf(storeOf().save(backup));
    expect(error.message).toContain(`stays on this runner's disk at ${backup.directory}`);
    expect(error.cure).toMatch(cure);
    await nothingIsLeft();
  });

  test('leaves nothing when it is cancelled in the middle', async () => {
    proxy.spoil({at: 'UploadPart', key: 'base.tar'}, {kind: 'hang'});
    const cancelling = new AbortController();
    const saving = failureOf(
      storeOf({signal: cancelling.signal}).save(backupOf('a', {...large, '1.tar': randomBytes(25_000_000)})),
    );
    await waitUntil(() => requests('UploadPart').some(({key}) => key.endsWith('base.tar')), {
      seconds: 60,
      what: 'the second file to be on its way',
    });
    cancelling.abort(new CancelledError('SIGINT'));
    expect((await saving).cause).toBeInstanceOf(CancelledError);
    await nothingIsLeft();
  });

  test('refuses a name that is taken, also when another run takes it meanwhile', async () => {
    await storeOf().save(backupOf('a'));
    expect((await failureOf(storeOf().checkName('a'))).message).toContain('/a.json exists already');
    const keys = await bucket.keys();
    await bucket.begin('a/pg_wal.tar');
    const late = await failureOf(storeOf().save(backupOf('a', large)));
    expect(messageOf(late)).toContain('exists already');
    expect(await bucket.keys()).toEqual(keys);
    await expectSame('a', someFiles);
    // The other run is in the middle of its work.
    expect(await bucket.uploads()).toEqual(['a/pg_wal.tar']);
    await bucket.put('b/base.tar', 'of somebody else');
    expect(messageOf(await failureOf(storeOf().save(backupOf('b', large))))).toContain(
      '/b/base.tar exists already',
    );
    expect((await bucket.keys()).filter((key) => key.startsWith('b'))).toEqual(['b/base.tar']);
  });

  test('checks a name and a place without leaving anything there', async () => {
    await storeOf().checkName('a');
    await nothingIsLeft();
    proxy.spoil({at: 'AbortMultipartUpload'}, {kind: 'refuse', status: 403, code: 'AccessDenied'});
    expect((await failureOf(storeOf().checkName('b'))).cure).toContain('"s3:AbortMultipartUpload"');
    proxy.clear();
    const classed = await failureOf(storeOf({storageClass: 'NO_SUCH_CLASS'}).checkName('c'));
    expect(classed.cure).toContain('s3-storage-class');
    expect((await failureOf(storeOf().checkName('latest'))).message).toContain('is reserved');
  });

  test('sends no checksums of its own and no condition to a store that knows neither', async () => {
    const notImplemented: Fault = {kind: 'refuse', status: 501, code: 'NotImplemented'};
    proxy.spoil({at: 'CreateMultipartUpload', times: 1}, notImplemented);
    const store = storeOf();
    await store.checkName('a');
    proxy.clear();
    proxy.spoil({at: 'CompleteMultipartUpload', key: 'base.tar', times: 1}, {...notImplemented, status: 400});
    proxy.spoil({at: 'PutObject', key: 'a.json', times: 1}, {...notImplemented, status: 400});
    await store.save(backupOf('a', large));
    const sent = proxy.seen.filter(({operation}) => /Upload|Put/.test(operation));
    expect(
      sent.filter(({headers}) => headers['x-amz-checksum-crc32'] ?? headers['x-amz-checksum-algorithm']),
    ).toEqual([]);
    await expectSame('a', large);
  });

  test('leaves no upload whose beginning was not answered', async () => {
    const store = storeOf();
    proxy.spoil({at: 'CreateMultipartUpload', times: 1}, {kind: 'lose-answer'});
    await store.checkName('a');
    await nothingIsLeft();
    proxy.spoil({at: 'CreateMultipartUpload', times: 4}, {kind: 'lose-answer'});
    await failureOf(store.checkName('a'));
    await nothingIsLeft();
    proxy.spoil({at: 'CreateMultipartUpload', times: 1}, {kind: 'lose-answer'});
    const receiver =
      (await store.receiving?.begin({name: 'a', mostBytes: 2e7, partsDirectory: ''})) ?? expect.fail();
    for (const [file, bytes] of Object.entries(large)) {
      const put = await receiver.put(file, Readable.from([Buffer.from(bytes)]));
      expect(put.sizeBytes).toBe(bytes.length);
    }
    await receiver.finish(metadataOf('a', large));
    expect(await bucket.uploads()).toEqual([]);
    expect(await bucket.keys()).not.toContain('a.claim');
    await expectSame('a', large);
  });

  test('aborts what a killed run left long ago, and nothing else', async () => {
    for (const key of ['old/base.tar', 'old/deep/base.tar', 'new/base.tar', 'old/notes.txt'])
      await bucket.begin(key);
    proxy.rewrite('ListMultipartUploads', (body) =>
      body.replaceAll(/(<Key>old.*?<Initiated>)[^<]*/gs, '$12020-01-01T00:00:00.000Z'),
    );
    await storeOf().save(backupOf('a'));
    expect((await bucket.uploads()).toSorted()).toEqual([
      'new/base.tar',
      'old/deep/base.tar',
      'old/notes.txt',
    ]);
  });

  test('passes encryption and storage class on, the class not for the metadata', async () => {
    proxy.spoil({at: 'CreateMultipartUpload'}, {kind: 'refuse', status: 400, code: 'InvalidArgument'});
    const keeping = {encryption: 'aws:kms', kmsKeyId: 'alias/backups', storageClass: 'STANDARD_IA'} as const;
    await failureOf(storeOf(keeping).checkName('a'));
    expect(requests('CreateMultipartUpload')[0]?.headers).toMatchObject({
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'alias/backups',
      'x-amz-storage-class': 'STANDARD_IA',
    });
    proxy.clear();
    await storeOf({storageClass: 'STANDARD'}).save(backupOf('b'));
    const ofMetadata = requests('PutObject').find(({key}) => key === 'b.json');
    expect(ofMetadata?.headers['x-amz-storage-class']).toBeUndefined();
  });

  test('finds the newest of 1,050 backups with a few requests, whatever is beside them', async () => {
    const times = Array.from(
      {length: 1050},
      (_, index) => new Date(Date.UTC(2026, 0, 1) + index * 3_600_000),
    );
    const put = async (time: Date, index: number): Promise<void> => {
      const name = `nightly-${String(index).padStart(4, '0')}`;
      const metadata = metadataOf(name, {'base.tar': 'x'}, time.toISOString());
      // The newest is not the last that was stored.
      await bucket.put(`${name}.json`, formatMetadata(metadata));
      await bucket.put(`${name}/base.tar`, 'x');
    };
    const newest = times.length - 1;
    for (let index = 0; index < newest; index += 50)
      await Promise.all(
        times.slice(index, Math.min(index + 50, newest)).map((time, more) => put(time, index + more)),
      );
    // By the clock of its runner it was finished after all the others were stored.
    await put(new Date(Date.now() + 60_000), newest);
    await bucket.put('notes.json', 'no metadata');
    await bucket.put('notes/base.tar', 'x');
    await bucket.put('nightly-9999.json', formatMetadata(metadataOf('nightly-9999', {'base.tar': 'x'})));
    const found = await storeOf().find({name: 'latest'});
    expect(found.name).toBe(`nightly-${newest}`);
    expect(proxy.seen.length).toBeLessThan(12);
    proxy.clear();
    expect((await storeOf().find({name: 'nightly-00??'})).name).toBe('nightly-0099');
    // As for a recovery to that time.
    expect((await storeOf().find({name: 'latest', finishedBy: times[500]})).name).toBe('nightly-0500');
  });

  test('gives no half backup, and tells what is wrong with it', async () => {
    await storeOf().save(backupOf('a'));
    await bucket.remove('a/pg_wal.tar');
    expect((await failureOf(storeOf().find({name: 'latest'}))).message).toContain('a/pg_wal.tar is missing');
    await bucket.put('a/pg_wal.tar', 'short');
    expect((await failureOf(storeOf().find({name: 'a'}))).message).toMatch(
      /a\/pg_wal.tar has 5 bytes of \d+/,
    );
    await bucket.remove('a.json');
    expect((await failureOf(storeOf().find({name: 'a'}))).message).toMatch(/not complete/);
    expect((await failureOf(storeOf().find({name: 'latest'}))).message).toContain('There are none at all.');
    await bucket.put('plain/PG_VERSION', '15');
    expect((await failureOf(storeOf().find({name: 'plain'}))).message).toContain('empty directories');
    await bucket.put('hostile/../x', '15');
    expect((await failureOf(storeOf().find({name: 'hostile'}))).message).toContain('is no file');
  });

  test('reads a file to the byte wherever it is cut, beside others, and not on when nobody asks', async () => {
    const random = seeded(20261128);
    const files: Files = {
      ...large,
      'base.tar': randomBytes(21_000_001),
      '1.tar': randomBytes(256 * 1024),
      '2.tar': '',
      '3.tar': randomBytes(4 * 2 ** 20 + 256 * 1024),
    };
    await storeOf().save(backupOf('a', files));
    const found = await storeOf().find({name: 'a'});
    for (const key of ['base.tar', 'pg_wal.tar', '3.tar'])
      for (let cut = 0; cut < 5; cut++)
        proxy.spoil({at: 'GetObject', key, times: 1}, {kind: 'cut', afterBytes: random(4 * 2 ** 20)});
    const contents = await Promise.all(Object.keys(files).map((file) => read(found, file)));
    for (const [index, content] of Object.values(files).entries())
      expect(contents[index]?.equals(Buffer.from(content))).toBe(true);
    proxy.clear();
    const {source} = await found.fetch('/nowhere');
    for await (const _piece of (await source.find('base.tar'))?.read() ?? []) break;
    expect(requests('GetObject').map(({headers}) => headers.range)).toEqual(['bytes=0-262143']);
  });

  test('tells of a file that is damaged, replaced, gone or closed while it is read', async () => {
    await storeOf().save(backupOf('a', large));
    const found = await storeOf().find({name: 'a'});
    proxy.spoil({at: 'GetObject', key: 'base.tar', times: 1}, {kind: 'corrupt'});
    const damaged = await failureOf(read(found, 'base.tar'));
    expect(damaged.message).toMatch(/base\.tar: as it arrived from s3:.*its SHA-256 is .*run the step again/);
    proxy.spoil({at: 'GetObject', key: 'base.tar'}, {kind: 'refuse', status: 403, code: 'AccessDenied'});
    const closed = await failureOf(read(found, 'base.tar'));
    expect(closed.message).toContain('a/base.tar could not be read');
    expect(closed.cure).toContain('"Action":"s3:GetObject"');
    proxy.clear();
    await bucket.put('a/base.tar', randomBytes(20_000_000));
    const replaced = await failureOf(read(found, 'base.tar'));
    expect(replaced.message).toContain('a/base.tar could not be read');
    expect(replaced.cure).toContain('replaced the object while it was read');
    await bucket.remove('a/pg_wal.tar');
    expect((await failureOf(read(found, 'pg_wal.tar'))).cure).toContain('It was removed meanwhile');
  });
});
