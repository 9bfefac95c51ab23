import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {ConninfoError, formatConninfo, parseConninfo} from '../../src/postgres/conninfo.js';

describe('a URI', () => {
  test.each([
    ['postgresql://', {}],
    ['postgres://db', {host: 'db'}],
    ['postgresql://u:p@db:5433/app', {user: 'u', password: 'p', host: 'db', port: '5433', dbname: 'app'}],
    ['postgresql://u@[::1]:5433', {user: 'u', host: '::1', port: '5433'}],
    ['postgresql://%2Fvar%2Frun/app', {host: '/var/run', dbname: 'app'}],
    ['postgresql:///app?host=/tmp&port=5', {dbname: 'app', host: '/tmp', port: '5'}],
    ['postgresql://db?sslmode=verify-full', {host: 'db', sslmode: 'verify-full'}],
    ['postgresql://db?ssl=true', {host: 'db', sslmode: 'require'}],
    ['postgresql://a:1,b:2', {host: 'a,b', port: '1,2'}],
    ['postgresql://u:p%40ss%3A%2F%20w%25rd%3F%23@db', {user: 'u', password: 'p@ss:/ w%rd?#', host: 'db'}],
  ])('%s', (text, expected) => {
    expect(parseConninfo(text)).toEqual(expected);
  });

  test.each([
    'postgresql://u:p@ss:/ w%rd?#@db',
    'postgresql://u:p%zz@db',
    'postgresql://db?x',
    'postgresql://u:p%00@db',
  ])('refuses %s without repeating it', (text) => {
    expect(() => parseConninfo(text)).toThrow(ConninfoError);
    expect(() => parseConninfo(text)).not.toThrow(/w%rd|%zz/);
  });

  test('gives back every part that was percent-encoded into it', () => {
    const part = fc.string({unit: 'grapheme', minLength: 1}).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(part, part, part, (user, password, dbname) => {
        const [u = '', p = '', d = ''] = [user, password, dbname].map(encodeURIComponent);
        expect(parseConninfo(`postgresql://${u}:${p}@db/${d}`)).toEqual({user, password, host: 'db', dbname});
      }),
    );
  });
});

describe('key=value pairs', () => {
  test.each([
    ['', {}],
    ['host=db port = 5433', {host: 'db', port: '5433'}],
    ["password='a b' user=u", {password: 'a b', user: 'u'}],
    [String.raw`password='it\'s \\ here'`, {password: String.raw`it's \ here`}],
    [String.raw`password=a\ b\'c`, {password: "a b'c"}],
    ["user='' host=db", {user: '', host: 'db'}],
    ['user= host=db', {user: 'host=db'}],
  ])('%s', (text, expected) => {
    expect(parseConninfo(text)).toEqual(expected);
  });

  test.each(['host', "password='open", 'host=db secretword', "password='a'b"])(
    'refuses %s without repeating it',
    (text) => {
      expect(() => parseConninfo(text)).toThrow(ConninfoError);
      expect(() => parseConninfo(text)).not.toThrow(/open|secretword/);
    },
  );

  test('reads what formatConninfo wrote', () => {
    const values = fc.dictionary(
      fc.constantFrom('host', 'user', 'password', 'dbname'),
      fc.string({unit: 'binary'}),
      {noNullPrototype: true},
    );
    fc.assert(
      fc.property(values, (conninfo) => {
        expect(parseConninfo(formatConninfo(conninfo))).toEqual(conninfo);
      }),
    );
  });
});
