import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {gzipSync, zstdCompressSync} from 'node:zlib';
import {describe, expect, onTestFinished, test} from 'vitest';
import {recognise} from '../../src/backup-set/archive.js';
import {parseBackupLabel, requireFull} from '../../src/backup-set/backup-label.js';
import {formatMetadata, type Metadata, parseMetadata} from '../../src/backup-set/metadata.js';
import {matchesName, nameAt, problemOfName} from '../../src/backup-set/naming.js';
import {directorySource} from '../../src/backup-set/source.js';

const metadata: Metadata = {
  schemaVersion: 1,
  name: 'nightly',
  label: 'nightly, run 1',
  startedAt: '2026-11-22T08:00:00.000Z',
  finishedAt: '2026-11-22T08:00:05.000Z',
  durationSeconds: 5,
  startLsn: '0/2000028',
  endLsn: '0/2000100',
  timeline: 1,
  systemIdentifier: '7711086285421180246',
  serverVersion: '15.18',
  serverVersionNumber: 150018,
  clientVersion: 'pg_basebackup (PostgreSQL) 15.18',
  format: 'tar',
  walMethod: 'stream',
  compression: 'none',
  tablespaces: [{oid: '16384', path: '/srv/ts', sizeBytes: null}],
  bootstrapSuperuser: 'postgres',
  requiredSettings: {max_connections: '100'},
  selfContained: true,
  fromStandby: false,
  dataChecksums: true,
  collations: null,
  libcVersion: '2.36',
  preloadLibraries: ['pg_stat_statements'],
  dataSizeBytes: 1,
  sizeBytes: 1,
  files: [{name: 'base.tar', sizeBytes: 1, sha256: 'a'.repeat(64)}],
  warnings: [],
};

describe('metadata', () => {
  test('is read as it was written', () => {
    expect(parseMetadata(formatMetadata(metadata), 'nightly.json')).toEqual(metadata);
  });

  const needed = Object.keys(metadata).filter(
    (field) => !['libcVersion', 'preloadLibraries'].includes(field),
  );
  test.each(needed)('without %s is refused', (field) => {
    const {[field as keyof Metadata]: _, ...rest} = metadata;
    expect(() => parseMetadata(JSON.stringify(rest), 'nightly.json')).toThrow(field);
  });

  test.each(['../base.tar', '/etc/passwd', 'a/../../b', '', 'a//b', 'a\0b'])(
    'whose file is named %j is refused',
    (name) => {
      const files = [{name, sizeBytes: 1, sha256: 'a'.repeat(64)}];
      expect(() => parseMetadata(JSON.stringify({...metadata, files}), 'nightly.json')).toThrow('files');
    },
  );

  test.each(['', '{', '[]', 'null', '"x"'])('that is %j is refused by its name', (text) => {
    expect(() => parseMetadata(text, 'nightly.json')).toThrow('nightly.json');
  });

  test('of a newer schema is refused', () => {
    const {libcVersion, preloadLibraries, ...first} = metadata;
    expect(parseMetadata(JSON.stringify(first), 'nightly.json')).toMatchObject({
      libcVersion: null,
      preloadLibraries: null,
    });
    expect(() => parseMetadata(JSON.stringify({...metadata, schemaVersion: 2}), 'nightly.json')).toThrow(
      'schemaVersion 2',
    );
  });
});

describe('a backup’s name', () => {
  test('takes strftime codes in UTC', () => {
    expect(nameAt('basebackup-%Y%m%d-%H%M%S', new Date('2026-11-22T08:09:10Z'))).toBe(
      'basebackup-20261122-080910',
    );
  });

  test.each(['a/b', 'a:b', 'a*b', 'a"b', 'a\nb', '..', '', 'latest', '-a', '.a', 'a\\b', 'x'.repeat(201)])(
    'may not be %j',
    (name) => {
      expect(problemOfName(name)).toBeDefined();
    },
  );

  test.each(['basebackup-20261122-080910', 'näme with spaces', 'a.b', "it's"])('may be %j', (name) => {
    expect(problemOfName(name)).toBeUndefined();
  });

  test.each([
    ['nightly-1', 'nightly-*', true],
    ['nightly-1', 'nightly-?', true],
    ['nightly-12', 'nightly-?', false],
    ['nightly', 'latest', true],
    ['a.b', 'a?b', true],
    ['axb', 'a.b', false],
    ['xnightly-1', 'nightly-*', false],
  ])('%s matches %s: %s', (name, pattern, expected) => {
    expect(matchesName(name, pattern)).toBe(expected);
  });
});

describe('a backup_label', () => {
  const text = [
    'START WAL LOCATION: 0/2000028 (file 000000010000000000000002)',
    'CHECKPOINT LOCATION: 0/2000060',
    'BACKUP METHOD: streamed',
    'BACKUP FROM: standby',
    'START TIME: 2026-11-22 08:00:00 UTC',
    'LABEL: nightly',
    'START TIMELINE: 1',
    '',
  ].join('\n');

  test('tells where recovery starts', () => {
    expect(parseBackupLabel(text)).toEqual({
      startLsn: '0/2000028',
      startSegment: '000000010000000000000002',
      fromStandby: true,
      timeline: 1,
    });
  });

  test('of an incremental backup tells what it builds on, and is no data directory by itself', () => {
    const label = parseBackupLabel(`${text}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 2\n`);
    expect(label.incrementalFrom).toEqual({startLsn: '0/1000028', timeline: 2});
    expect(() => requireFull(label)).toThrow('this is an incremental backup');
    expect(() => requireFull(parseBackupLabel(text))).not.toThrow();
    expect(() => parseBackupLabel(`${text}INCREMENTAL FROM LSN: here\n`)).toThrow('does not tell');
  });

  test('that is empty is refused', () => {
    expect(() => parseBackupLabel('')).toThrow('backup_label');
  });
});

describe('files of a backup', () => {
  const tar = Buffer.concat([Buffer.alloc(257), Buffer.from('ustar'), Buffer.alloc(250)]);
  const lz4 = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60]);

  function directoryOf(files: Record<string, Buffer>): string {
    const directory = mkdtempSync(join(tmpdir(), 'recognise-'));
    onTestFinished(() => rmSync(directory, {recursive: true}));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
    return directory;
  }

  const sourceOf = (files: Record<string, Buffer>) => directorySource(directoryOf(files));

  test('are told by name and content', async () => {
    const directory = directoryOf({
      'base.tar.zst': zstdCompressSync(tar),
      '16384.tar.lz4': lz4,
      '9.tar.gz': gzipSync(tar),
      'pg_wal.tar': tar,
      backup_manifest: Buffer.from('{}'),
    });
    expect(await recognise(directorySource(directory))).toEqual({
      kind: 'tar',
      base: {name: 'base.tar.zst', codec: 'zstd'},
      tablespaces: [
        {oid: '9', name: '9.tar.gz', codec: 'gzip'},
        {oid: '16384', name: '16384.tar.lz4', codec: 'lz4'},
      ],
      wal: {name: 'pg_wal.tar', codec: 'none'},
      manifest: 'backup_manifest',
    });
  });

  test('go by their content where the name lies', async () => {
    expect(await recognise(sourceOf({'base.tar': gzipSync(tar)}))).toMatchObject({base: {codec: 'gzip'}});
  });

  test('of a plain backup are a data directory', async () => {
    const directory = directoryOf({PG_VERSION: Buffer.from('15\n')});
    expect(await recognise(directorySource(directory))).toEqual({kind: 'plain', directory});
  });

  test.each([
    [{}, 'empty'],
    [{'notes.txt': Buffer.from('x')}, 'notes.txt'],
    [{'base.tar.gz': Buffer.alloc(0)}, 'base.tar.gz'],
    [{'base.tar.zst': Buffer.from('garbage')}, 'base.tar.zst'],
    [{'base.tar': tar, 'base.tar.gz': gzipSync(tar)}, 'base.tar.gz'],
  ])('%j are refused', async (files, named) => {
    await expect(recognise(sourceOf(files))).rejects.toThrow(named);
  });
});
