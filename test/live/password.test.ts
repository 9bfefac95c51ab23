import fc from 'fast-check';
import {beforeAll, expect, test} from 'vitest';
import {isMd5, isStoredAs, scramSecret} from '../../src/postgres/password.js';
import {
  type Cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  quoteText,
} from '../support/cluster.js';
import {run} from '../support/command.js';

/** As users choose them, and what SASLprep maps, composes, or refuses. */
const passwords = [
  'simple',
  ' ',
  `p@ss:/ w%rd?#'"\\`,
  'pässwörd',
  'pa\u0308sswo\u0308rd',
  'ﬁ Ⅸ ½ №',
  'a\u00a0b\u2003c',
  'soft\u00adhyphen\u200d',
  '\u00ad',
  '日本語 パスワード',
  '🔥',
  'a\u0308🔥',
  'ﬁ\u{1F9EA}',
  'bell\u0007',
  'ä\u0007',
  'ä\ue000',
  'שלום',
  'שלום1',
  'שלa',
  '\u2028ä',
  '\ufeffä',
  'x'.repeat(900),
];

describeWithPostgres('what PostgreSQL stores of a password', () => {
  let server: Cluster;

  beforeAll(async () => {
    server = await createCluster({password: 'admin'});
    await server.sql('create role tester login');
    return () => server.remove();
  });

  /** What the server makes of passwords. */
  async function storedBy(method: string, given: readonly string[]): Promise<readonly string[]> {
    const statements = given.map(
      (password) =>
        `alter role tester password ${quoteText(password)}; select rolpassword from pg_authid where rolname = 'tester';`,
    );
    return (await server.sql(`set password_encryption = '${method}'; ${statements.join('\n')}`)).split('\n');
  }

  test.each(['scram-sha-256', 'md5'])('is recognised: %s', async (method) => {
    const stored = await storedBy(method, passwords);
    expect(stored.map(isMd5)).toEqual(passwords.map(() => method === 'md5'));
    expect(
      passwords.filter((password, index) => !isStoredAs(stored[index] ?? '', password, 'tester')),
    ).toEqual([]);
  });

  test('is recognised whatever its characters', async () => {
    const text = fc
      .string({unit: 'binary', minLength: 1, maxLength: 12})
      .filter((value) => !/[\0\n\r\ud800-\udfff]/u.test(value));
    await fc.assert(
      fc.asyncProperty(fc.array(text, {minLength: 20, maxLength: 20}), async (given) => {
        const stored = await storedBy('scram-sha-256', given);
        expect(
          given.filter((password, index) => !isStoredAs(stored[index] ?? '', password, 'tester')),
        ).toEqual([]);
      }),
      {numRuns: 10},
    );
  });

  test.each(passwords)('lets libpq in when it is made here: %#', async (password) => {
    const secret = scramSecret(password, 4096);
    await server.sql(`alter role tester password ${quoteText(secret)}`);
    const env = {PGHOST: '127.0.0.1', PGPORT: `${server.port}`, PGUSER: 'tester', PGDATABASE: 'postgres'};
    const args = ['--no-psqlrc', '--no-password', '--command=select 1'];
    await run(postgresProgram('psql'), args, {env: {...env, PGPASSWORD: password}});
  });
});
