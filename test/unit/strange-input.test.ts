import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import fc from 'fast-check';
import {describe, expect, onTestFinished, test} from 'vitest';
import type {BackupFiles} from '../../src/backup-set/archive.js';
import {readPieces} from '../../src/backup-set/digest.js';
import {parseManifest} from '../../src/backup-set/manifest.js';
import {wholeTar} from '../../src/backup-set/tar-end.js';
import {unpackLimit} from '../../src/backup-set/unpack-limit.js';
import {segmentRuns} from '../../src/backup-set/wal-run.js';
import {segmentSizeOf} from '../../src/backup-set/wal-segment.js';
import {runner} from '../../src/host/local.js';
import {includesOf, referencesOf} from '../../src/restore/unpack/foreign-files.js';
import {readArchive} from '../../src/verify/archive-reader.js';
import {manifestInside} from '../../src/verify/archives.js';
import {manifestText} from '../support/manifest.js';

/** An archive of files with these names and sizes, as GNU tar writes it, without what it adds behind the end mark. */
function archiveOf(files: Readonly<Record<string, number>>, format: string): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'tar-'));
  onTestFinished(() => rmSync(directory, {recursive: true}));
  for (const [name, size] of Object.entries(files))
    writeFileSync(join(directory, name), Buffer.alloc(size, 1));
  const args = ['--create', `--format=${format}`, '--blocking-factor=1', '-C', directory];
  return execFileSync('tar', [...args, ...Object.keys(files)]);
}

async function read(archive: Buffer, chunkBytes = 65_536, limitBytes?: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const source = async function* () {
    for (let at = 0; at < archive.length; at += chunkBytes) yield archive.subarray(at, at + chunkBytes);
  };
  for await (const chunk of wholeTar('base.tar', source(), limitBytes)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a tar archive', () => {
  const files = {
    backup_label: 225,
    empty: 0,
    exact: 1024,
    [`long${'x'.repeat(90)}`]: 3000,
    pg_control: 8192,
  };

  test.each(['gnu', 'ustar', 'pax'])(
    'in format %s passes unchanged, however it is cut into chunks',
    async (format) => {
      const long = format === 'ustar' ? {} : {['x'.repeat(150)]: 3000};
      const archive = archiveOf({...long, ...files}, format);
      await fc.assert(
        fc.asyncProperty(fc.integer({min: 1, max: 2000}), async (chunkBytes) => {
          expect((await read(archive, chunkBytes)).equals(archive)).toBe(true);
        }),
        {numRuns: 25},
      );
    },
  );

  test('is refused wherever it is cut', async () => {
    const archive = archiveOf(files, 'gnu');
    await fc.assert(
      fc.asyncProperty(fc.integer({min: 0, max: archive.length - 1}), async (length) => {
        await expect(read(archive.subarray(0, length))).rejects.toThrow(/base\.tar: it was cut/);
      }),
    );
    for (const cut of [512, 1024, 1536]) {
      await expect(read(archive.subarray(0, archive.length - cut))).rejects.toThrow(/it was cut/);
    }
  });

  test('with a last member of zeros is still refused without its end mark', async () => {
    const archive = archiveOf({zeros: 0}, 'gnu');
    const member = Buffer.concat([archiveOf({pg_control: 8192}, 'gnu').subarray(0, 512), Buffer.alloc(8192)]);
    await expect(read(Buffer.concat([archive.subarray(0, 512), member]))).rejects.toThrow(
      /behind pg_control/,
    );
  });

  test.each([
    ['something behind its end mark', (archive: Buffer) => Buffer.concat([archive, archive])],
    [
      'garbage between its members',
      (archive: Buffer) => Buffer.concat([archive.subarray(0, 1024), Buffer.alloc(512, 7), archive]),
    ],
  ])('with %s is refused', async (_, change) => {
    await expect(read(change(archiveOf({backup_label: 225}, 'gnu')))).rejects.toThrow(/base\.tar/);
  });

  test('of a member that says it is larger than all disks is refused', async () => {
    const archive = archiveOf({backup_label: 225}, 'gnu');
    archive.fill(0xff, 124, 136);
    archive.write(checksumOf(archive), 148);
    await expect(read(archive)).rejects.toThrow(/the member that follows its beginning has no size/);
  });

  test('whose pax header alone tells a size passes, and its content is not taken for headers', async () => {
    const records = '13 size=3000\n';
    const header = (name: string, type: string, size: number) => {
      const block = Buffer.alloc(512);
      block.write(name, 'latin1');
      block.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
      block.write(type, 156, 'latin1');
      block.write('ustar\x0000', 257, 'latin1');
      block.write(checksumOf(block), 148, 'latin1');
      return block;
    };
    const archive = Buffer.concat([
      header('pax', 'x', records.length),
      Buffer.from(records.padEnd(512, '\0')),
      header('large', '0', 0),
      Buffer.alloc(3072, 7),
      Buffer.alloc(1024),
    ]);
    expect((await read(archive)).equals(archive)).toBe(true);
  });

  test('is refused as soon as it is larger than it may be', async () => {
    const archive = archiveOf({large: 100_000}, 'gnu');
    await expect(read(archive, 1000, 50_000)).rejects.toThrow(/more than 50000 bytes/);
    expect(await read(archive, 1000, archive.length)).toEqual(archive);
  });
});

function checksumOf(block: Buffer): string {
  const sum = block
    .subarray(0, 512)
    .reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  return `${sum.toString(8).padStart(6, '0')}\0 `;
}

/** An uncompressed archive of thousands of empty files, which need no names of their own here. */
async function* archiveOfEmpty(thousands: number): AsyncGenerator<Buffer> {
  const header = Buffer.alloc(512);
  header.write('base/5/1', 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  header.write(checksumOf(header), 148, 'latin1');
  const piece = Buffer.alloc(1000 * 512, header);
  for (let count = 0; count < thousands; count += 1) yield piece;
  yield Buffer.alloc(1024);
}

describe('the size that a manifest promises', () => {
  const listed = (directory: string, count: number, sizeBytes: number) =>
    Array.from({length: count}, (_, index) => ({Path: `${directory}${index}`, Size: sizeBytes}));
  const manifest = parseManifest(
    manifestText(
      [
        ...listed('base/5/', 100, 10_000),
        ...listed('pg_tblspc/16385/PG_15/', 10, 10_000),
        ...listed('pg_tblspc/16386/PG_15/', 1, 10_000),
      ],
      [{Timeline: 1, 'Start-LSN': '0/2000028', 'End-LSN': '0/3000000'}],
    ),
  );
  const files = (wal: boolean): BackupFiles & {kind: 'tar'} => ({
    kind: 'tar',
    base: {name: 'base.tar', codec: 'none'},
    tablespaces: [{oid: '16385', name: '16385.tar', codec: 'none'}],
    ...(wal && {wal: {name: 'pg_wal.tar', codec: 'none'}}),
  });
  const slack = 16 * 2 ** 20;
  const perFile = 2560;

  test('of base is that of its files and of tablespaces without an archive of their own', () => {
    expect(unpackLimit(manifest, files(true), 'base')).toBe(1_010_000 + 101 * perFile + slack);
  });
  test('of a tablespace is that of its own files', () => {
    expect(unpackLimit(manifest, files(true), {oid: '16385'})).toBe(100_000 + 10 * perFile + slack);
    expect(unpackLimit(manifest, files(true), {oid: '99999'})).toBe(slack);
  });
  test('leaves room for WAL where there may be some', () => {
    const wal = 0x3000000 - 0x2000028 + 2 * 2 ** 30;
    expect(unpackLimit(manifest, files(true), 'wal')).toBe(wal + slack);
    expect(unpackLimit(manifest, files(false), 'base')).toBe(1_010_000 + 101 * perFile + slack + wal);
  });
  test('lets 200,000 empty files pass, whose headers alone have 100 MB', async () => {
    const empty = parseManifest(manifestText(listed('base/5/', 200_000, 0)));
    let members = 0;
    await readArchive(
      {name: 'base.tar', codec: 'none'},
      {
        // Nothing is decompressed: no program runs.
        runner: runner(new AbortController().signal, tmpdir()),
        bytes: archiveOfEmpty(200),
        mostBytes: unpackLimit(empty, files(true), 'base'),
        visit: () => {
          members += 1;
          return undefined;
        },
      },
    );
    expect(members).toBe(200_000);
  }, 60_000);
});

describe('a file of settings', () => {
  test.each([
    [`include '/etc/passwd'`, 'include', '/etc/passwd'],
    ["  INCLUDE = 'a b.conf' # why", 'include', 'a b.conf'],
    ['include_if_exists=x.conf', 'include_if_exists', 'x.conf'],
    [`\tinclude_dir'it''s.d'`, 'include_dir', `it's.d`],
    [`include '\\057etc'`, 'include', '\\057etc'],
    ["include ''", 'include', ''],
    ['include', 'include', ''],
  ])('has %j read something else', (line, directive, path) => {
    expect(includesOf(`port = 1\n${line}\r\n`)).toEqual([{line: 2, directive, path}]);
  });
  test.each(['# include x', "includes = 'x'", "include_me.not = 'x'", "search_path = 'include x'"])(
    'has %j read nothing else',
    (line) => {
      expect(includesOf(line)).toEqual([]);
    },
  );
});

describe('a file of rules', () => {
  test.each([
    'include /etc/passwd',
    '"include_if_exists" /etc/passwd',
    'incl"ude_dir" x',
    'local @/etc/passwd all trust',
    'local a,@names all trust',
    'local all "@"names trust',
    'incl\\\nude /etc/passwd',
    'local \\\n@names all trust',
  ])('refers to another in %j', (text) => {
    expect(referencesOf(text)).not.toEqual([]);
  });
  test('refers to none by default, nor by an address of mail', () => {
    const text =
      '# write "@" before a name, or include one\nlocal all all trust # ask dba@example.com, @all\nlocal "a#b" all trust#@x\nhost all user@realm ::1/128 scram-sha-256\n';
    expect(referencesOf(text)).toEqual([]);
  });
});

describe('WAL segments', () => {
  const label = {
    startLsn: '0/2000028',
    startSegment: '000000010000000000000002',
    fromStandby: false,
    timeline: 1,
  };

  test.each([
    ['0/2000028', '000000010000000000000002', 16],
    ['0/200028', '000000010000000000000002', 1],
    ['12/40000028', '000000010000001200000001', 1024],
    ['0/1234', '000000010000000000000000', 1],
  ])('at %s in %s have %i MiB', (startLsn, startSegment, mebibytes) => {
    expect(segmentSizeOf({...label, startLsn, startSegment})).toBe(mebibytes * 2 ** 20);
  });
  test('that do not fit the position are those of no backup', () => {
    expect(() => segmentSizeOf({...label, startSegment: '000000010000000000000007'})).toThrow('backup_label');
  });
  test('are read from the backup’s start on, gaps and newer timelines apart', () => {
    const names = [
      '000000010000000000000001',
      '000000010000000000000002',
      '000000010000000000000003',
      '000000010000000000000005',
      '000000020000000000000005',
      '0000000200000000000000FF',
      '000000020000000100000000',
      '00000002.history',
      'archive_status',
    ];
    expect(segmentRuns(names, label)).toEqual([
      {
        timeline: 1,
        startLsn: '0/2000028',
        endLsn: '0/4000000',
        firstName: '000000010000000000000002',
        lastName: '000000010000000000000003',
      },
      {
        timeline: 1,
        startLsn: '0/5000000',
        endLsn: '0/6000000',
        firstName: '000000010000000000000005',
        lastName: '000000010000000000000005',
      },
      {
        timeline: 2,
        startLsn: '0/5000000',
        endLsn: '0/6000000',
        firstName: '000000020000000000000005',
        lastName: '000000020000000000000005',
      },
      {
        timeline: 2,
        startLsn: '0/FF000000',
        endLsn: '1/1000000',
        firstName: '0000000200000000000000FF',
        lastName: '000000020000000100000000',
      },
    ]);
  });
});

test('a manifest inside of base.tar that is too large is refused for that, and not taken for missing', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'manifest-'));
  onTestFinished(() => rmSync(directory, {recursive: true}));
  const header = Buffer.alloc(512);
  header.write('backup_manifest', 'latin1');
  header.write('04000000000', 124, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  header.write(checksumOf(header), 148, 'latin1');
  writeFileSync(join(directory, 'base.tar'), header);
  const files = {kind: 'tar', base: {name: 'base.tar', codec: 'none'}, tablespaces: []} as const;
  const surroundings = {
    runner: runner(new AbortController().signal, tmpdir()),
    peek: (name: string) => readPieces(join(directory, name)),
  };
  await expect(manifestInside(files, surroundings)).rejects.toThrow(
    /backup_manifest: it has 536870912 bytes or more, and no manifest has more than 419430400/,
  );
});
