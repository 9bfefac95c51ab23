import {describe, expect, test} from 'vitest';
import {judgeChecks, judgeSource} from '../../src/restore/preflight/judge.js';
import {takenPorts} from '../../src/restore/preflight/port.js';
import type {Check} from '../../src/restore/request.js';

const host = {
  name: 'the runner',
  memoryBytes: 8e9,
  adviseInstall: (what: string, major: number) => `install ${what} ${major}`,
};
const names = ['postgres', 'pg_amcheck', 'pg_checksums', 'pg_dump'];
const there = {directory: '/bin', names, lacksAmcheck: false};

describe('checks that cannot run', () => {
  const judge = (checks: readonly Check[], more: object = {}) =>
    judgeChecks({request: {checks}, host, major: 17, there, ...more});

  test('are none where all is there, and where nobody knows yet what is', () => {
    const all: readonly Check[] = ['manifest', 'dump', 'checksums', 'amcheck'];
    expect(judge(all)).toEqual([]);
    expect(judge(all, {there: undefined})).toEqual([]);
  });

  test('are told with what they lack, all of them', () => {
    const found = judge(['dump', 'checksums', 'amcheck'], {there: {...there, names: ['postgres']}});
    expect(found).toMatchObject([
      {level: 'error', observed: 'the runner has no pg_dump in /bin.', cure: 'install client 17'},
      {level: 'error', observed: 'the runner has no pg_checksums in /bin.', cure: 'install server 17'},
      {level: 'error', observed: 'the runner has no pg_amcheck in /bin.', cure: 'install client 17'},
    ]);
  });

  test('tell of amcheck before 14, whatever is there, and of its extension', () => {
    expect(judge(['amcheck'], {major: 13, there: undefined})).toMatchObject([
      {level: 'error', subject: 'Check amcheck', cure: 'Use checks: dump.'},
    ]);
    expect(judge(['amcheck'], {there: {...there, lacksAmcheck: true}})[0]?.observed).toContain(
      'lacks the extension amcheck',
    );
    expect(judge(['dump'], {there: {...there, lacksAmcheck: true}})).toEqual([]);
  });
});

describe('what the source had', () => {
  const settings = {
    max_connections: '100',
    max_worker_processes: '8',
    max_wal_senders: '10',
    max_prepared_transactions: '0',
    max_locks_per_transaction: '64',
    track_commit_timestamp: 'off',
  };
  const judge = (changed: object, postgresqlConf: readonly string[] = [], checks: readonly Check[] = []) =>
    judgeSource({settings: {...settings, ...changed}, dataChecksums: true}, {checks, postgresqlConf}, host);

  test('fits on a small machine, or on one that nothing is known of', () => {
    expect(judge({})).toEqual([]);
    expect(judge({max_connections: '1000', max_locks_per_transaction: '1024'})).toEqual([]);
    expect(judge({max_connections: 'many'})).toEqual([]);
    expect(
      judgeSource({settings: null, dataChecksums: null}, {checks: ['checksums'], postgresqlConf: []}, host),
    ).toEqual([]);
  });

  test('is a warning beyond half of the memory, and an error beyond all of it', () => {
    const large = {max_connections: '10000', max_locks_per_transaction: '1280'};
    expect(judge(large)).toMatchObject([{level: 'warning', subject: 'Memory'}]);
    expect(judge({...large, max_prepared_transactions: '10000'})).toMatchObject([{level: 'error'}]);
    expect(judge({...large, max_prepared_transactions: '10000'})[0]?.observed).toContain(
      'max_prepared_transactions = 10000',
    );
  });

  test.each([
    ["shared_buffers = '9GB'", 'error'],
    ['shared_buffers = 5GB # of 8', 'warning'],
    ['shared_buffers 1000000', 'error'],
  ])('counts %s, which is an %s', (line, level) => {
    expect(judge({}, [line])).toMatchObject([{level}]);
    expect(judge({}, [line, 'shared_buffers = 128MB'])).toEqual([]);
  });

  test('has no page checksums, which is told where they shall be checked', () => {
    const judged = (checks: readonly Check[]) =>
      judgeSource({settings: null, dataChecksums: false}, {checks, postgresqlConf: []}, host);
    expect(judged(['checksums'])).toMatchObject([{level: 'warning', subject: 'Check checksums'}]);
    expect(judged(['dump'])).toEqual([]);
  });
});

describe('a port', () => {
  // As Linux writes them on a machine with the low byte first.
  const line = (local: string, state = '0A') =>
    `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000   107        0 1 1 0 100 0 0 10 0`;
  const mapped = '0000000000000000FFFF00000100007F';

  test.each([
    ['at that address', '0100007F:1539', true],
    ['at the address of the container', '030011AC:1539', true],
    ['at all addresses', '00000000:1539', true],
    ['at all addresses of IPv6', `${'0'.repeat(32)}:1539`, true],
    ['at that address, by IPv6', `${mapped}:1539`, true],
    ['at another address', '0101A8C0:1539', false],
    ['at the loopback of IPv6', '00000000000000000000000001000000:1539', false],
    ['at another port', '00000000:1538', false],
  ])('that somebody listens on %s', (_, local, isTaken) => {
    expect(takenPorts(`  sl  local_address\n${line(local)}\n`, ['127.0.0.1', '172.17.0.3'])(5433)).toBe(
      isTaken,
    );
  });

  test('that is only used for a connection is free', () => {
    expect(takenPorts(line('0100007F:1539', '01'), ['127.0.0.1'])(5433)).toBe(false);
    expect(takenPorts('', ['127.0.0.1'])(5433)).toBe(false);
  });
});
