import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {CommandError} from '../../src/host/host.js';
import {explain} from '../../src/postgres/failures.js';
import {
  type Cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  runAsServer,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {backupInputs, type Inputs} from '../support/steps.js';
import {type Authority, createAuthority, useCertificate} from '../support/tls.js';
import {listAll, workspace} from '../support/workspace.js';

describeWithPostgres('TLS', () => {
  let server: Cluster;
  let authority: Authority;
  let stranger: Authority;
  const root = mkdtempSync(join(tmpdir(), 'tls-'));

  beforeAll(async () => {
    authority = createAuthority(join(root, 'authority'));
    stranger = createAuthority(join(root, 'stranger'));
    server = await createCluster();
    return async () => {
      await server.remove();
      rmSync(root, {recursive: true});
    };
  });

  const verified = (more: Inputs = {}): Inputs => ({
    sslmode: 'verify-full',
    sslrootcert: authority.certificate,
    ...more,
  });

  /** What the action fails with, and that it leaves nothing. */
  async function refusal(inputs: Inputs): Promise<string> {
    const home = workspace();
    const message = failure(await runAction(backupInputs(server, inputs), {workspace: home}));
    expect(listAll(home.directory)).toEqual([]);
    expect(listAll(home.temp)).toEqual([]);
    return message;
  }

  /** What we say of pg_basebackup's own failure with the same inputs. */
  async function cureOfProgram(inputs: Inputs): Promise<string> {
    const {host = '', port = '', user = '', ...parameters} = {...server.inputs, ...inputs};
    const conninfo = Object.entries({host, port, user, ...parameters}).map(
      ([name, value]) => `${name}='${value}'`,
    );
    const args = [`--pgdata=${join(root, 'never')}`, '--no-password', `--dbname=${conninfo.join(' ')}`];
    const thrown = await run(postgresProgram('pg_basebackup'), args).then(
      () => expect.unreachable('pg_basebackup succeeded'),
      (error: Error) => new CommandError('pg_basebackup', 1, error.message),
    );
    return explain('It failed', thrown, {parameters: {host, port, user, ...parameters}, environment: {}})
      .cure;
  }

  test.each(['require', 'verify-full'])(
    'that the server has not is told, with sslmode %s',
    async (sslmode) => {
      await server.sql('alter system set ssl = off; ');
      await server.sql('select pg_reload_conf()');
      await expect.poll(() => server.sql('show ssl'), {timeout: 30_000}).toBe('off');
      const inputs = {sslmode, sslrootcert: authority.certificate};
      for (const told of [await refusal(inputs), await cureOfProgram(inputs)]) {
        expect(told).toContain('The server has no TLS');
        expect(told).toContain('ALTER SYSTEM SET ssl = on');
      }
    },
  );

  describe('with a certificate that is sound', () => {
    beforeAll(async () => {
      await useCertificate(server, authority.sign('sound', {subjectAltName: 'IP:127.0.0.1,DNS:db.example'}));
    });

    test('lets a backup through, also by the default file of libpq', async () => {
      const home = workspace();
      succeeded(await runAction(backupInputs(server, verified()), {workspace: home}));
      const account = join(root, 'account');
      mkdirSync(join(account, '.postgresql'), {recursive: true});
      await run('cp', [authority.certificate, join(account, '.postgresql', 'root.crt')]);
      const inputs = backupInputs(server, {sslmode: 'verify-full', 'backup-name': 'by-default'});
      succeeded(await runAction(inputs, {workspace: home, env: {HOME: account}}));
    });

    test('is refused when another authority was named', async () => {
      const inputs = verified({sslrootcert: stranger.certificate});
      const told = await refusal(inputs);
      expect(told).toContain('Set sslrootcert to the file of the authority that signed');
      expect(told).not.toContain('expired');
      expect(await cureOfProgram(inputs)).toMatch(/another authority signed it[\s\S]*openssl s_client/);
    });

    test('is refused under a name that is not in it', async () => {
      const inputs = verified({host: 'localhost'});
      for (const told of [await refusal(inputs), await cureOfProgram(inputs)])
        expect(told).toContain('The server’s certificate is not for localhost. Set host to a name');
      succeeded(await runAction(backupInputs(server, {...inputs, sslmode: 'verify-ca'})));
    });

    test.each([
      ['is missing', undefined],
      ['is none', 'nothing of a certificate'],
    ])('is refused when the file of the authority %s', async (_, text) => {
      const sslrootcert = join(root, 'odd.crt');
      rmSync(sslrootcert, {force: true});
      if (text !== undefined) writeFileSync(sslrootcert, text);
      for (const told of [
        await refusal(verified({sslrootcert})),
        await cureOfProgram(verified({sslrootcert})),
      ])
        expect(told).toContain('Set sslrootcert, and sslcert and sslkey where you use them');
    });

    test('is trusted by the system, which a client older than 16 does not know', async () => {
      const inputs = backupInputs(server, {sslrootcert: 'system'});
      const home = workspace();
      const env = {SSL_CERT_FILE: authority.certificate};
      const result = await runAction(inputs, {workspace: home, env});
      const [, major] = /(\d+)/.exec(await runAsServer('pg_basebackup', ['--version'])) ?? [];
      if (Number(major) >= 16) {
        succeeded(result);
        return;
      }
      expect(failure(result)).toMatch(
        /sslrootcert: system needs a pg_basebackup of PostgreSQL 16 or newer[\s\S]*Set sslrootcert: \//,
      );
      expect(listAll(home.directory)).toEqual([]);
    });

    test('is not looked at well enough by less than verify-full with sslrootcert: system', async () => {
      const told = await refusal({sslrootcert: 'system', sslmode: 'require'});
      expect(told).toContain('require is too weak for sslrootcert: system');
    });
  });

  test('is refused when the certificate has expired, until it is renewed', async () => {
    const subjectAltName = 'IP:127.0.0.1';
    await useCertificate(server, authority.sign('old', {subjectAltName, endsAt: '20200102000000Z'}));
    expect(await refusal(verified())).toMatch(/certificate has expired[\s\S]*Renew the server’s certificate/);
    expect(await cureOfProgram(verified())).toContain('has expired');
    await useCertificate(server, authority.sign('renewed', {subjectAltName}));
    succeeded(await runAction(backupInputs(server, verified({'dry-run': 'true'}))));
  });
});
