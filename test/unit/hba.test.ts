import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {formatHbaEntry, type HbaEntry, hbaRefusalIn} from '../../src/postgres/hba.js';
import {hbaComment, withLines} from '../../src/prepare/hba-file.js';

const entry: HbaEntry = {type: 'host', role: 'backup', address: '192.0.2.7/32', method: 'scram-sha-256'};

describe('a line of pg_hba.conf', () => {
  test.each([
    [{}, 'host replication "backup" 192.0.2.7/32 scram-sha-256'],
    [
      {type: 'hostssl', database: 'replication', method: 'md5'},
      'hostssl "replication" "backup" 192.0.2.7/32 md5',
    ],
    [{role: `o'b"r, all`}, `host replication "o'b""r, all" 192.0.2.7/32 scram-sha-256`],
    [{role: '/a.b\\'}, 'host replication "/^/a\\.b\\\\$" 192.0.2.7/32 scram-sha-256'],
    [{role: 'a/b'}, 'host replication "a/b" 192.0.2.7/32 scram-sha-256'],
  ] as const)('of %j is %s', (more, line) => {
    expect(formatHbaEntry({...entry, ...more}, 16)).toBe(line);
  });

  test('has no regular expression before 16, where a quoted slash is one', () => {
    expect(formatHbaEntry({...entry, role: '/a.b'}, 15)).toContain('"/a.b"');
  });

  test('for the socket has no address', () => {
    expect(formatHbaEntry({type: 'local', role: 'backup', method: 'md5'})).toBe(
      'local replication "backup" md5',
    );
  });

  test('has each name back when it is read as the server reads it', () => {
    fc.assert(
      fc.property(fc.string({minLength: 1}), fc.string({minLength: 1}), (role, database) => {
        const line = formatHbaEntry({...entry, role, database}, 15);
        expect(fieldsOf(line)).toEqual(['host', database, role, '192.0.2.7/32', 'scram-sha-256']);
      }),
    );
  });
});

/** Fields as hba.c, next_token, takes them out of a line. */
function fieldsOf(line: string): readonly string[] {
  const fields = [...line.matchAll(/"((?:[^"]|"")*)"|([^\s",#]+)/g)];
  return fields.map(([, quoted, bare]) => bare ?? quoted?.replaceAll('""', '"') ?? '');
}

describe('a refusal', () => {
  test.each([
    [
      'no pg_hba.conf entry for replication connection from host "172.17.0.1", user "b", no encryption',
      {role: 'b', address: '172.17.0.1', isEncrypted: false},
    ],
    [
      'no pg_hba.conf entry for replication connection from host "172.17.0.1", user "b", SSL off',
      {role: 'b', address: '172.17.0.1', isEncrypted: false},
    ],
    [
      'pg_hba.conf rejects replication connection for host "fe80::1%eth0", user "b", SSL encryption',
      {role: 'b', address: 'fe80::1', isEncrypted: true},
    ],
    [
      'no pg_hba.conf entry for host "192.0.2.7", user "b", database "postgres", SSL on',
      {role: 'b', address: '192.0.2.7', isEncrypted: true},
    ],
    [
      'pg_hba.conf rejects connection for host "[local]", user "b", database "postgres", no encryption',
      {role: 'b', isEncrypted: false},
    ],
  ])('%s', (message, refusal) => {
    expect(hbaRefusalIn(message)).toEqual(refusal);
  });

  test('is no other failure', () => {
    expect(hbaRefusalIn('password authentication failed for user "b"')).toBeUndefined();
  });
});

const line = 'host replication "backup" 192.0.2.7/32 scram-sha-256';
const other = 'host "postgres" "backup" 192.0.2.7/32 scram-sha-256';

describe('lines are added to pg_hba.conf', () => {
  test.each([
    ['an empty file', '', `${hbaComment}\n${line}\n`],
    ['comments alone', '# one\n\n', `# one\n\n${hbaComment}\n${line}\n`],
    ['comments without a line break at the end', '# one', `# one\n${hbaComment}\n${line}\n`],
    ['rules', '# one\nlocal all all trust\n', `# one\n${hbaComment}\n${line}\nlocal all all trust\n`],
    [
      'rules without a line break at the end',
      'local all all peer',
      `${hbaComment}\n${line}\nlocal all all peer`,
    ],
    ['an indented rule', ' # one\n  local all\n', ` # one\n${hbaComment}\n${line}\n  local all\n`],
    ['lines of Windows', '# one\r\nlocal\r\n', `# one\r\n${hbaComment}\r\n${line}\r\nlocal\r\n`],
    // Of what a server of 14 or newer takes for a comment of two lines, one of 13 takes the second for a rule.
    ['a comment that goes on', '# one\\\nlocal\nhost\n', `${hbaComment}\n${line}\n# one\\\nlocal\nhost\n`],
    ['a directive', 'include_if_exists "x"\n', `${hbaComment}\n${line}\ninclude_if_exists "x"\n`],
  ])('in front of the first rule of %s', (_, before, after) => {
    expect(withLines(before, [line])).toBe(after);
  });

  test('unless they are the first rules already', () => {
    const once = withLines('local all all trust\n', [line, other]);
    expect(withLines(once, [line])).toBe(once);
    expect(withLines(once, [other, line])).toBe(once);
    expect(withLines(withLines('', [line]), [line, other])).toBe(`${hbaComment}\n${other}\n${line}\n`);
  });

  test('again where another rule comes first', () => {
    expect(
      withLines(`host all all all reject\n${line}\n`, [line]).startsWith(`${hbaComment}\n${line}\nhost all`),
    ).toBe(true);
  });

  test('and whatever the file holds stays as it is', () => {
    const piece = fc.constantFrom(
      '# c',
      ' ',
      '\\',
      '\n',
      '\r\n',
      'host all all all md5',
      'local x y z',
      '\t#',
      '"#"',
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const before = pieces.join('');
        const after = withLines(before, [line, other]);
        const ending = before.includes('\r\n') ? '\r\n' : '\n';
        const added = [hbaComment, line, other].map((text) => `${text}${ending}`).join('');
        const at = after.indexOf(added);
        expect(at).toBeGreaterThanOrEqual(0);
        const ahead = after.slice(0, at);
        const rest = after.slice(at + added.length);
        expect([ahead + rest, ahead.slice(0, -ending.length) + rest]).toContain(before);
        // No rule ahead of them, and no comment that goes on in them, on any version.
        expect(ahead.split(/\r?\n/).filter((one) => !/^\s*(#.*)?$/.test(one))).toEqual([]);
        expect(ahead).not.toMatch(/\\\r?\n$/);
        expect(withLines(after, [line, other])).toBe(after);
      }),
    );
  });
});
