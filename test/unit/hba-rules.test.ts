import {BlockList} from 'node:net';
import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {contains, type Network, overlap, parseNetwork} from '../../src/prepare/network.js';
import {admits, type Client, type HbaRule, ruleOf} from '../../src/prepare/rules.js';

function network(text: string, netmask?: string): Network {
  const parsed = parseNetwork(text, netmask);
  if (!parsed) throw new Error(`${text} is no network`);
  return parsed;
}

describe('a network', () => {
  test.each([
    '',
    '1.2.3',
    '1.2.3.4/33',
    '1.2.3.4/',
    '1.2.3.4/8/8',
    '::1/129',
    'db.example.com',
    '1.2.3.4/-1',
    'all',
  ])('is not %j', (text) => {
    expect(parseNetwork(text)).toBeUndefined();
  });

  test.each([
    ['10.0.0.0', '255.0.0.0', '10.0.0.0/8'],
    ['2001:db8::', 'ffff:ffff::', '2001:db8::/32'],
    ['0.0.0.0', '0.0.0.0', '0.0.0.0/0'],
    ['::ffff:192.0.2.7', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '::ffff:c000:207'],
  ])('%s with netmask %s is %s', (address, netmask, text) => {
    expect(network(address, netmask)).toEqual(network(text));
  });

  const v4 = fc.tuple(fc.ipV4(), fc.integer({min: 0, max: 32}));
  const v6 = fc.tuple(fc.ipV6(), fc.integer({min: 0, max: 128}));

  test.each([
    ['ipv4', v4, fc.ipV4()],
    ['ipv6', v6, fc.ipV6()],
  ] as const)('holds the addresses that Node says it holds: %s', (family, networks, addresses) => {
    fc.assert(
      fc.property(networks, addresses, fc.boolean(), ([address, prefix], other, isNear) => {
        const list = new BlockList();
        list.addSubnet(address, prefix, family);
        const asked = isNear ? address : other;
        expect(contains(network(`${address}/${prefix}`), network(asked))).toBe(list.check(asked, family));
      }),
    );
  });

  test('overlaps one that it holds and one that holds it, and no other', () => {
    fc.assert(
      fc.property(v4, v4, ([a, m], [b, n]) => {
        const [one, two] = [network(`${a}/${m}`), network(`${b}/${n}`)];
        expect(overlap(one, two)).toBe(contains(one, two) || contains(two, one));
        expect(overlap(one, network('::/0'))).toBe(false);
      }),
    );
  });
});

describe('rules', () => {
  const client: Client = {
    isEncrypted: true,
    role: 'backup',
    groups: ['backup', 'pg_monitor', 'ops'],
    network: network('10.1.0.0/16'),
    major: 16,
  };
  const replication: HbaRule = {
    type: 'hostssl',
    databases: ['replication'],
    users: ['backup'],
    address: '10.0.0.0',
    netmask: '255.0.0.0',
    method: 'scram-sha-256',
  };

  test.each<readonly [string, Partial<HbaRule>, boolean]>([
    ['one that fits', {}, true],
    ['any host', {type: 'host', address: 'all'}, true],
    ['no TLS', {type: 'hostnossl'}, false],
    ['the socket', {type: 'local'}, false],
    ['GSS', {type: 'hostgssenc'}, false],
    ['no GSS', {type: 'hostnogssenc'}, true],
    ['all databases', {databases: ['all']}, false],
    ['several databases', {databases: ['all', 'replication']}, true],
    ['all roles', {users: ['all']}, true],
    ['another role', {users: ['other']}, false],
    ['a group', {users: ['other', '+ops']}, true],
    ['another group', {users: ['+dev']}, false],
    ['a regular expression', {users: ['/^back']}, false],
    ['a smaller network', {address: '10.1.2.0', netmask: '255.255.255.0'}, false],
    ['another network', {address: '192.0.2.0', netmask: '255.255.255.0'}, false],
    ['a host name', {address: 'db.example.com'}, false],
    ['the same network', {address: 'samenet'}, false],
    ['another method', {method: 'peer'}, false],
    ['no password', {method: 'trust'}, true],
  ])('admit or not: %s', (_, more, expected) => {
    const {netmask, ...rest} = {...replication, ...more};
    const isNetwork = /^[\d.]+$/.test(rest.address ?? '');
    expect(admits([{...rest, ...(isNetwork && netmask !== undefined && {netmask})}], client)).toBe(expected);
  });

  test.each<readonly [string, readonly Partial<HbaRule>[], boolean]>([
    ['a rejection ahead', [{method: 'reject'}, {}], false],
    ['a rejection of others ahead', [{method: 'reject', users: ['other']}, {}], true],
    ['a rejection of some of the network ahead', [{method: 'reject', address: '10.1.2.3'}, {}], false],
    ['a rejection that may fit ahead', [{method: 'reject', users: ['/.*']}, {}], false],
    ['a rejection of connections without TLS ahead', [{method: 'reject', type: 'hostnossl'}, {}], true],
    ['a rejection further down', [{}, {method: 'reject'}], true],
    ['one that may fit ahead', [{users: ['/^back']}, {}], true],
    ['none', [], false],
  ])('decide in their order: %s', (_, rules, expected) => {
    expect(
      admits(
        rules.map((more) => ({...replication, ...more})),
        client,
      ),
    ).toBe(expected);
  });

  test.each<readonly [string, readonly string[], boolean]>([
    ['all', ['all'], true],
    ['its name', ['postgres'], true],
    ['another', ['shop'], false],
    ['replication', ['replication'], false],
    ['the role’s own', ['sameuser'], false],
    ['a group’s', ['samerole'], false],
  ])('for SQL in a database: %s', (_, databases, expected) => {
    expect(admits([{...replication, databases}], {...client, database: 'postgres'})).toBe(expected);
  });

  test('know the expression that stands for a name with a slash', () => {
    const slash = {...client, role: '/b.'};
    expect(admits([{...replication, users: ['/^/b\\.$']}], slash)).toBe(true);
    expect(admits([{...replication, users: ['/b.']}], {...slash, major: 15})).toBe(true);
    expect(admits([{...replication, users: ['/c']}], {...slash, major: 15})).toBe(false);
  });

  test('are read from rows, with what is null left out', () => {
    const row = {
      type: 'local',
      database: ['all'],
      user_name: ['all'],
      address: null,
      netmask: null,
      auth_method: 'peer',
    };
    expect(ruleOf(row)).toEqual({type: 'local', databases: ['all'], users: ['all'], method: 'peer'});
  });
});
