import {describe, expect, test} from 'vitest';
import {UserError} from '../../src/errors.js';
import {
  addressOf,
  fileKey,
  isLeftover,
  isS3Url,
  metadataKey,
  nameOfMetadata,
  parseS3Url,
  problemOfS3Url,
  trialKey,
} from '../../src/store/s3-location.js';
import {largestObjectBytes, partsFor} from '../../src/store/s3-parts.js';
import {explainS3, statementFor} from '../../src/store/s3-refusal.js';

const location = parseS3Url('s3://backups/main/shop/');

describe('s3://bucket/prefix', () => {
  test.each([
    ['s3://backups', {bucket: 'backups', prefix: ''}],
    ['s3://backups/', {bucket: 'backups', prefix: ''}],
    ['s3://my.backups/main', {bucket: 'my.backups', prefix: 'main/'}],
    ['s3://Old_Bucket/main/shop 1/', {bucket: 'Old_Bucket', prefix: 'main/shop 1/'}],
  ])('%s is read', (url, expected) => {
    expect(isS3Url(url)).toBe(true);
    expect(problemOfS3Url(url)).toBeUndefined();
    expect(parseS3Url(url)).toEqual(expected);
  });

  test.each([
    ['s3:backups', 'is not s3://bucket'],
    ['S3://backups', 'is not s3://bucket'],
    ['s3://', 'no bucket'],
    ['s3://ab', 'no bucket'],
    ['s3://key:secret@bucket/x', 'no bucket'],
    ['s3://backups//x', 'empty part'],
    ['s3://backups/x//', 'empty part'],
    ['s3://backups/../x', '. or ..'],
    ['s3://backups/x?versionId=1', 'must not contain "?"'],
    ['s3://backups/x\ny', 'must not contain'],
    [`s3://backups/${'x'.repeat(701)}`, 'longer than 700 bytes'],
  ])('%j is refused', (url, problem) => {
    expect(isS3Url(url)).toBe(true);
    expect(problemOfS3Url(url)).toContain(problem);
  });

  test('other kinds of storage are none', () => {
    expect(['artifact', 'directory', '/srv/s3:/x'].filter(isS3Url)).toEqual([]);
  });

  test('keys lead to names and back', () => {
    expect(metadataKey(location, 'nightly')).toBe('main/shop/nightly.json');
    expect(fileKey(location, 'nightly', 'base.tar')).toBe('main/shop/nightly/base.tar');
    expect(nameOfMetadata(location, 'main/shop/nightly.json')).toBe('nightly');
    expect(addressOf(location, 'nightly')).toBe('s3://backups/main/shop/nightly');
    expect(addressOf(location)).toBe('s3://backups/main/shop');
    for (const key of ['nightly.json', 'main/shop/nightly', 'main/shop/x/nightly.json', 'main/shop/.json'])
      expect(nameOfMetadata(location, key)).toBeUndefined();
  });
});

describe('an upload that was begun', () => {
  const trial = trialKey(location, 'nightly').replace(/^.*\//, '');
  const now = new Date('2026-11-22T00:00:00Z');
  const begun = (key: string, days: number) =>
    isLeftover({key, uploadId: '1', begunAt: new Date(now.getTime() - days * 86_400_000)}, location, now);

  test.each(['base.tar', 'base.tar.zst', 'pg_wal.tar', '16406.tar.gz', 'backup_manifest', trial])(
    'of %s was left behind when it is older than any job',
    (file) => {
      expect(begun(`main/shop/nightly/${file}`, 5.1)).toBe(true);
      expect(begun(`main/shop/nightly/${file}`, 4.9)).toBe(false);
    },
  );

  test.each([
    'main/shop/base.tar',
    'main/shop/a/b/base.tar',
    'main/shop/nightly/notes.txt',
    'else/nightly/base.tar',
  ])('%s is not ours', (key) => {
    expect(begun(key, 400)).toBe(false);
  });
});

describe('parts', () => {
  const mebibyte = 2 ** 20;

  test.each([
    [0, 8 * mebibyte, 8],
    [10_000 * 8 * mebibyte, 8 * mebibyte, 8],
    [10_000 * 8 * mebibyte + 1, 9 * mebibyte, 7],
    [2 ** 40, 105 * mebibyte, 2],
    [largestObjectBytes, 525 * mebibyte, 2],
  ])('of %d bytes have %d bytes, %d at once', (sizeBytes, partBytes, atOnce) => {
    expect(partsFor(sizeBytes)).toEqual({partBytes, atOnce});
    expect(Math.ceil(sizeBytes / partBytes)).toBeLessThanOrEqual(10_000);
  });
});

describe('what a store refuses', () => {
  const attempted = {
    what: 's3://backups/main could not be listed',
    action: 's3:ListBucket',
    location,
  } as const;
  const thrown = (fields: object): Error => Object.assign(new Error('UnknownError'), fields);

  test.each<[object, RegExp]>([
    [{name: 'NoSuchBucket'}, /aws s3api create-bucket --bucket backups/],
    [
      {name: 'AccessDenied'},
      /\{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::backups"\}/,
    ],
    [
      {name: 'AccessDenied', message: 'User: x is not authorized to perform: s3:PutObject on resource: y'},
      /"Action":"s3:PutObject","Resource":"arn:aws:s3:::backups\/main\/shop\/\*"/,
    ],
    [
      {name: 'AccessDenied', message: 'not authorized to perform: kms:GenerateDataKey on'},
      /kms:GenerateDataKey/,
    ],
    [{name: 'InvalidAccessKeyId'}, /AWS_ACCESS_KEY_ID/],
    [{name: 'SignatureDoesNotMatch'}, /AWS_SECRET_ACCESS_KEY/],
    [{name: 'ExpiredToken'}, /role-duration-seconds/],
    [{name: 'AuthorizationHeaderMalformed', Region: 'eu-west-1'}, /AWS_REGION: eu-west-1/],
    [
      {name: 'PermanentRedirect', $response: {headers: {'x-amz-bucket-region': 'us-west-2'}}},
      /AWS_REGION: us-west-2/,
    ],
    [{name: 'RequestTimeTooSkewed'}, /timedatectl/],
    [{name: 'CredentialsProviderError'}, /configure-aws-credentials/],
    [{code: 'ECONNREFUSED', name: 'Error'}, /s3-endpoint/],
    [
      {name: 'AggregateError', errors: [{code: 'ETIMEDOUT', message: 'connect ETIMEDOUT'}]},
      /cannot be reached/,
    ],
    [{name: 'TimeoutError'}, /cannot be reached/],
    [{code: 'DEPTH_ZERO_SELF_SIGNED_CERT', name: 'Error'}, /NODE_EXTRA_CA_CERTS/],
    [{code: 'ERR_TLS_CERT_ALTNAME_INVALID', name: 'Error'}, /NODE_EXTRA_CA_CERTS/],
    [{name: 'XMinioStorageFull'}, /no room/],
    [{name: 'EntityTooLarge'}, /no room/],
    [{name: 'SlowDown'}, /overloaded/],
    [{name: 'Unknown', $metadata: {httpStatusCode: 503}}, /overloaded/],
    [{name: 'Unknown', $metadata: {httpStatusCode: 403}}, /"Action":"s3:ListBucket"/],
    [{name: 'KMS.NotFoundException'}, /s3-kms-key-id/],
    [{name: 'InvalidStorageClass'}, /s3-storage-class/],
    [{name: 'InvalidObjectState'}, /restore-object/],
    [{name: 'BadDigest'}, /damaged/],
    [{name: 'SomethingElse'}, /log of the store/],
  ])('%j has a cure', (fields, cure) => {
    const explained = explainS3(thrown(fields), attempted);
    expect(explained.cure).toMatch(cure);
    expect(explained.message).toMatch(/^s3:\/\/backups\/main could not be listed\. \w/);
    expect(explained.message).not.toContain('UnknownError');
  });

  test('what has a cure already keeps it', () => {
    const error = new UserError('a', 'b');
    expect(explainS3(error, attempted)).toBe(error);
  });

  test('a statement for the whole bucket reaches all of it', () => {
    expect(statementFor('s3:GetObject', parseS3Url('s3://b-1'))).toContain('"arn:aws:s3:::b-1/*"');
  });
});
