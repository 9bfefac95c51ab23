import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {lsnPosition, parseManifest} from '../../src/backup-set/manifest.js';
import {changeManifest, manifestText} from '../support/manifest.js';

const range = {Timeline: 1, 'Start-LSN': '0/2000028', 'End-LSN': '0/2000100'};

describe('a manifest', () => {
  test('tells files, sizes, WAL range and time', () => {
    const text = manifestText([
      {
        Path: 'backup_label',
        Size: 200,
        'Last-Modified': '2026-11-22 08:00:00 GMT',
        'Checksum-Algorithm': 'CRC32C',
        Checksum: '0123ABCD',
      },
      {'Encoded-Path': '62617365ff', Size: 8192},
    ]);
    expect(parseManifest(text)).toEqual({
      dataSizeBytes: 8392,
      fileCount: 2,
      timeline: 1,
      startLsn: '0/2000028',
      endLsn: '0/2000100',
      takenAt: new Date('2026-11-22T08:00:00Z'),
      walRanges: [{timeline: 1, startLsn: '0/2000028', endLsn: '0/2000100'}],
      files: new Map([
        [
          'backup_label',
          {
            path: 'backup_label',
            sizeBytes: 200,
            algorithm: 'CRC32C',
            checksum: '0123abcd',
            lastModified: '2026-11-22 08:00:00 GMT',
          },
        ],
        ['base\xff', {path: 'base\xff', sizeBytes: 8192, algorithm: 'NONE', checksum: ''}],
      ]),
    });
  });

  test('of a backup that saw a promotion spans both timelines', () => {
    const text = manifestText(
      [],
      [
        {Timeline: 2, 'Start-LSN': '0/3000000', 'End-LSN': '0/4000100'},
        {Timeline: 1, 'Start-LSN': '0/2000028', 'End-LSN': '0/3000000'},
      ],
    );
    expect(parseManifest(text)).toMatchObject({timeline: 2, startLsn: '0/2000028', endLsn: '0/4000100'});
  });

  test('of version 2 has a system identifier, every digit of it, whatever a path says', () => {
    const path = '"System-Identifier": 5';
    const text = manifestText([{Path: path, Size: 0}], [range], '7711086285421180246');
    expect(parseManifest(text)).toMatchObject({systemIdentifier: '7711086285421180246'});
    expect([...parseManifest(text).files.keys()]).toEqual([path]);
    expect(parseManifest(manifestText([{Path: path, Size: 0}])).systemIdentifier).toBeUndefined();
  });

  test('knows the bytes of a path, whichever way it is written', () => {
    const paths = ['base/1/Ünïcode', 'base/1/\u{1f418}'];
    const encoded = paths.map((path) => ({'Encoded-Path': Buffer.from(path).toString('hex'), Size: 1}));
    const plain = paths.map((Path) => ({Path, Size: 1}));
    expect([...parseManifest(manifestText(encoded)).files.keys()]).toEqual([
      ...parseManifest(manifestText(plain)).files.keys(),
    ]);
  });

  test('is read as it was written, for any names and sizes', () => {
    const file = fc.record({
      path: fc.uint8Array({minLength: 1, maxLength: 40}),
      size: fc.nat(2 ** 31),
      checksum: fc.uint8Array({minLength: 32, maxLength: 32}),
    });
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    fc.assert(
      fc.property(fc.uniqueArray(file, {selector: ({path}) => hex(path)}), (files) => {
        const text = manifestText(
          files.map(({path, size, checksum}) => ({
            'Encoded-Path': hex(path),
            Size: size,
            'Checksum-Algorithm': 'SHA256',
            Checksum: hex(checksum),
          })),
        );
        const read = [...parseManifest(text).files.values()];
        expect(read.map(({path, sizeBytes, checksum}) => [path, sizeBytes, checksum])).toEqual(
          files.map(({path, size, checksum}) => [Buffer.from(path).toString('latin1'), size, hex(checksum)]),
        );
      }),
    );
  });

  test('that differs in one character, or ends early, is refused', () => {
    const text = manifestText([{Path: 'PG_VERSION', Size: 3}]);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.boolean(), (at, isCut) => {
        const other = text[at] === '7' ? '8' : '7';
        const damaged = isCut ? text.slice(0, at) : text.slice(0, at) + other + text.slice(at + 1);
        expect(() => parseManifest(damaged)).toThrow('backup_manifest');
      }),
    );
  });

  const version = '"PostgreSQL-Backup-Manifest-Version": 1';
  const withFile = (file: string) => `{${version}, "Files": [\n    ${file}\n]}\n`;
  const withRange = (text: string) => `{${version}, "Files": [], "WAL-Ranges": [\n    ${text}\n]}\n`;
  const lsns = '"Start-LSN": "0/0", "End-LSN": "0/0"';

  // PostgreSQL's own list: src/bin/pg_verifybackup/t/005_bad_manifest.pl of 18, and three of 002 and 003.
  test.for([
    ['input string ended unexpectedly', '{\n', 'not complete JSON'],
    ['unexpected object end', '{}\n', 'does not begin with its version'],
    ['unexpected array start', '[]\n', 'not a JSON object'],
    ['expected version indicator', '{"not-expected": 1}\n', 'does not begin with its version'],
    [
      'manifest version not an integer',
      '{"PostgreSQL-Backup-Manifest-Version": "phooey"}\n',
      'version is not a whole number',
    ],
    [
      'unexpected manifest version',
      '{"PostgreSQL-Backup-Manifest-Version": 9876599}\n',
      'version is 9876599',
    ],
    ['unexpected scalar', `{${version}, "Files": true}\n`, 'Files are not a list'],
    ['unrecognized top-level field', `{${version}, "Oops": 1}\n`, 'a field "Oops"'],
    ['unexpected object start', `{${version}, "Files": {}}\n`, 'Files are not a list'],
    ['missing path name', withFile('{}'), 'lacks Path'],
    [
      'both path name and encoded path name',
      withFile('{"Path": "x", "Encoded-Path": "1234"}'),
      'both Path and Encoded-Path',
    ],
    ['unexpected file field', withFile('{"Oops": 1}'), 'a field "Oops"'],
    ['missing size', withFile('{"Path": "x"}'), 'file "x" lacks Size'],
    [
      'file size is not an integer',
      withFile('{"Path": "x", "Size": "Oops"}'),
      'the Size of file "x" is not a whole number',
    ],
    [
      'could not decode file name',
      withFile('{"Encoded-Path": "123", "Size": 0}'),
      'Encoded-Path of a file is not hexadecimal',
    ],
    [
      'duplicate path name in backup manifest',
      withFile('{"Path": "x", "Size": 0},\n    {"Path": "x", "Size": 0}').replace(
        ']}',
        '], "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/0", "End-LSN": "0/0"}]}',
      ),
      '"x" twice',
    ],
    [
      'checksum without algorithm',
      withFile('{"Path": "x", "Size": 100, "Checksum": "Oops"}'),
      'a Checksum and no Checksum-Algorithm',
    ],
    [
      'unrecognized checksum algorithm',
      withFile('{"Path": "x", "Size": 100, "Checksum-Algorithm": "Oops", "Checksum": "00"}'),
      'Checksum-Algorithm "Oops"',
    ],
    [
      'invalid checksum for file',
      withFile('{"Path": "x", "Size": 100, "Checksum-Algorithm": "CRC32C", "Checksum": "0"}'),
      'the Checksum "0"',
    ],
    ['missing start LSN', withRange('{"Timeline": 1}'), 'lacks Start-LSN'],
    ['missing end LSN', withRange('{"Timeline": 1, "Start-LSN": "0/0"}'), 'lacks End-LSN'],
    ['unexpected WAL range field', withRange('{"Oops": 1}'), 'a field "Oops"'],
    ['missing timeline', withRange('{}'), 'lacks Timeline'],
    ['unexpected object end (2)', withRange(`{"Timeline": 1, ${lsns}}`), 'Manifest-Checksum'],
    ['timeline is not an integer', withRange(`{"Timeline": true, ${lsns}}`), 'is not a timeline'],
    [
      'could not parse start LSN',
      withRange('{"Timeline": 1, "Start-LSN": "oops", "End-LSN": "0/0"}'),
      'Start-LSN of a WAL range is not an LSN',
    ],
    [
      'could not parse end LSN',
      withRange('{"Timeline": 1, "Start-LSN": "0/0", "End-LSN": "oops"}'),
      'End-LSN of a WAL range is not an LSN',
    ],
    ['expected at least 2 lines', oneLine('null'), 'one line only'],
    ['last line not newline-terminated', manifestText().trimEnd(), 'its last line has no end'],
    [
      'invalid manifest checksum',
      `${oneLine('"x"').replace(' "Manifest', '\n"Manifest')}`,
      'last line is not its own checksum',
    ],
    ['manifest checksum mismatch', manifestText().replace('2000100', '2000200'), 'it was changed'],
    ['no WAL range', manifestText([], []), 'names no range of WAL'],
    [
      'a range that ends before it starts',
      manifestText([], [{...range, 'End-LSN': '0/1'}]),
      'ends before it starts',
    ],
    [
      'manifest system identifier not an integer',
      changeManifest(manifestText([], [range], '7'), (text) => text.replace('": 7', '": "seven"')),
      'System-Identifier is not a whole number',
    ],
    [
      'a checksum of another length',
      manifestText([{Path: 'x', Size: 1, 'Checksum-Algorithm': 'SHA256', Checksum: '00'}]),
      'is no SHA256',
    ],
  ] as const)('is refused with PostgreSQL’s case: %s', ([, text, reason]) => {
    expect(() => parseManifest(text)).toThrow(/^The backup is damaged: backup_manifest: /);
    expect(() => parseManifest(text)).toThrow(reason);
  });

  function oneLine(checksum: string): string {
    const ranges = `[{"Timeline": 1, ${lsns}}]`;
    return `{${version}, "Files": [], "WAL-Ranges": ${ranges}, "Manifest-Checksum": ${checksum}}\n`;
  }

  test('positions order as the numbers that they are', () => {
    const half = fc.nat({max: 0xffffffff});
    fc.assert(
      fc.property(half, half, (high, low) => {
        const lsn = `${high.toString(16).toUpperCase()}/${low.toString(16).toUpperCase()}`;
        expect(lsnPosition(lsn)).toBe(BigInt(high) * 2n ** 32n + BigInt(low));
      }),
    );
  });
});

test('a manifest with a time that is none does not tell when the backup was made', () => {
  const label = {Path: 'backup_label', Size: 1, 'Last-Modified': 'not a time'};
  expect(parseManifest(manifestText([label])).takenAt).toBeUndefined();
  const right = {...label, 'Last-Modified': '2026-11-22 08:00:00 GMT'};
  expect(parseManifest(manifestText([right])).takenAt).toEqual(new Date('2026-11-22T08:00:00Z'));
});
