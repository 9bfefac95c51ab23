import fc from 'fast-check';
import {pack} from 'tar-stream';
import {describe, expect, test} from 'vitest';
import {shownName, type TarMember, TarReader} from '../../src/backup-set/tar.js';

interface Read {
  readonly members: readonly TarMember[];
  readonly contents: readonly string[];
}

/** Reads an archive in pieces of some length. */
function read(archive: Buffer, pieceBytes = 64 * 1024): Read {
  const members: TarMember[] = [];
  const contents: string[] = [];
  const reader = new TarReader('base.tar', (member) => {
    members.push(member);
    const index = contents.push('') - 1;
    let hasEnded = false;
    return {
      write: (bytes) => {
        contents[index] += bytes.toString('latin1');
      },
      end: () => {
        expect(hasEnded).toBe(false);
        hasEnded = true;
      },
    };
  });
  for (let at = 0; at < archive.length; at += pieceBytes)
    reader.write(Buffer.from(archive.subarray(at, at + pieceBytes)));
  reader.end();
  return {members, contents};
}

async function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const packing = pack();
  for (const [name, content] of Object.entries(files)) packing.entry({name}, content);
  packing.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of packing) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/** A header alone, with a right sum. */
function header(fields: {name: string; size?: string; type?: string; magic?: string}): Buffer {
  const block = Buffer.alloc(512);
  block.write(fields.name, 0, 'latin1');
  block.write(fields.size ?? '00000000000', 124, 'latin1');
  block.write(fields.type ?? '0', 156, 'latin1');
  block.write(fields.magic ?? 'ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

const end = Buffer.alloc(1024);

describe('an archive', () => {
  test('is read as tar-stream packs it, in pieces of any length', async () => {
    const name = fc.stringMatching(/^[a-z][a-zA-Z0-9._/-]{0,150}[a-z]$/);
    const files = fc.dictionary(name, fc.string({maxLength: 2000, unit: 'binary-ascii'}), {maxKeys: 6});
    await fc.assert(
      fc.asyncProperty(files, fc.integer({min: 1, max: 3000}), async (wanted, pieceBytes) => {
        const {members, contents} = read(await tarOf(wanted), pieceBytes);
        expect(members.map((member) => member.name)).toEqual(Object.keys(wanted));
        expect(members.map(({sizeBytes}) => sizeBytes)).toEqual(contents.map(({length}) => length));
        expect(contents).toEqual(Object.values(wanted));
      }),
      {numRuns: 60},
    );
  });

  test('tells links, devices and directories, which have no content', () => {
    const types = ['0', '\0', '5', '2', '1', '3', '4', '6', '7', 'S'];
    const members = types.map((type) => header({name: `a${type.charCodeAt(0)}`, type, size: '00000000000'}));
    const kinds = read(Buffer.concat([...members, header({name: 'old/'}), end])).members.map(
      ({kind}) => kind,
    );
    expect(kinds).toEqual([
      'file',
      'file',
      'directory',
      'symbolic-link',
      ...Array(6).fill('other'),
      'directory',
    ]);
  });

  test('takes a size of more than 8 GiB, as PostgreSQL writes it', () => {
    const size = Buffer.alloc(12);
    size[0] = 0x80;
    size.writeUInt32BE(9, 4);
    const block = header({name: 'big', size: size.toString('latin1')});
    const reader = new TarReader('base.tar', (member) => {
      expect(member.sizeBytes).toBe(9 * 2 ** 32);
      return undefined;
    });
    reader.write(block);
    expect(() => reader.end()).toThrow('it ends within big');
  });

  test('takes names of GNU and of pax, whatever bytes they have', () => {
    const long = `${'d/'.repeat(80)}\xff\xfe`;
    const padded = (text: string) => {
      const content = Buffer.alloc(Math.ceil(text.length / 512) * 512);
      content.write(text, 'latin1');
      return content;
    };
    const octal = (size: number) => size.toString(8).padStart(11, '0');
    const record = ` path=${long}\n`;
    const pax = `${record.length + 3}${record}`;
    const archive = Buffer.concat([
      header({name: '././@LongLink', type: 'L', size: octal(long.length + 1), magic: 'ustar  \0'}),
      padded(`${long}\0`),
      header({name: 'short', magic: 'ustar  \0'}),
      header({name: 'PaxHeaders/x', type: 'x', size: octal(pax.length)}),
      padded(pax),
      header({name: 'short'}),
      header({name: 'own'}),
      end,
    ]);
    expect(read(archive, 100).members.map(({name}) => name)).toEqual([long, long, 'own']);
  });

  test('that lost anything of its end is refused, to the last byte of its end mark', async () => {
    const archive = await tarOf({PG_VERSION: '15\n', backup_label: 'x'.repeat(700)});
    for (let length = 0; length < archive.length; length += 1)
      expect(() => read(archive.subarray(0, length)), `${length} bytes`).toThrow(/base\.tar: it was cut: /);
    expect(read(archive).members).toHaveLength(2);
  });

  test('may have any number of zeros at its end, and nothing else', async () => {
    const archive = await tarOf({PG_VERSION: '15\n'});
    expect(read(Buffer.concat([archive, Buffer.alloc(10_240)])).members).toHaveLength(1);
    expect(() => read(Buffer.concat([archive, archive]))).toThrow('there is more behind its end mark');
    expect(() => read(Buffer.concat([archive, Buffer.from('x')]))).toThrow('it was cut');
  });

  test('with a byte turned over in a header is refused', async () => {
    const archive = await tarOf({PG_VERSION: '15\n'});
    for (let at = 0; at < 512; at += 1) {
      const damaged = Buffer.from(archive);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x41, at);
      expect(() => read(damaged), `byte ${at}`).toThrow('base.tar: ');
    }
  });

  test.for([
    ['a name without end', header({name: 'x', type: 'L', size: '77777777777'}), 'the name of the member'],
    ['a size that is no number', header({name: 'x', size: 'x'}), 'has no size'],
    ['no magic number', header({name: 'x', magic: 'tar'}), 'is not the header of a tar member'],
    [
      'a pax header that lies about its length',
      Buffer.concat([header({name: 'x', type: 'x', size: '00000000014'}), Buffer.alloc(512, '99 path=abcd')]),
      'a pax header',
    ],
  ] as const)('is refused with %s', ([, bytes, reason]) => {
    expect(() => read(Buffer.concat([bytes, end]))).toThrow(reason);
  });
});

test('a name is shown as UTF-8, and cannot break a line or begin a command', () => {
  expect(shownName(Buffer.from('base/ä\n::error::').toString('latin1'))).toBe('base/ä\\x0a::error::');
});
