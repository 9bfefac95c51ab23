import {beforeAll, expect, test} from 'vitest';
import {explain} from '../../src/postgres/failures.js';
import {openSession} from '../../src/postgres/session.js';
import {type Cluster, createCluster} from '../support/cluster.js';
import {expectNothingLeft} from '../support/leftovers.js';
import {describeWithPooler, pgbouncerVersion, poolerOf} from '../support/pgbouncer.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {backupInputs, restore} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

describeWithPooler('a backup through PgBouncer', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    return () => source.remove();
  });

  test('is refused with the cure, or taken where PgBouncer hands replication on', async () => {
    const home = workspace();
    const inputs = backupInputs(source, {port: String((await poolerOf(source)).port)});
    const result = await runAction(inputs, {workspace: home});
    // From 1.23 on it does (its changelog).
    if ((await pgbouncerVersion()) >= 123) {
      succeeded(result);
      await restore(home);
      return;
    }
    const message = failure(result);
    expect(message).toContain('A pooler is in between');
    expect(message).toContain('Set host and port to the server itself.');
    expect(message).not.toContain('things stand in the way');
    expect(result.stdout).not.toContain('once more');
    await expectNothingLeft(home, source);
  });

  test('that does not let the user in is refused once, and not tried again', async () => {
    const home = workspace();
    const {port, log} = await poolerOf(source, {users: {postgres: 'right'}});
    const inputs = backupInputs(source, {port: String(port), password: 'wrong one'});
    const result = await runAction(inputs, {workspace: home});
    expect(failure(result)).toMatch(/A pooler is in between|Check the secret behind `password`/);
    expect(result.stdout).not.toContain('once more');
    // One by SQL, one for replication where that is not refused earlier.
    expect(log().match(/closing because: SASL authentication failed/g)?.length).toBeLessThanOrEqual(2);
    await expectNothingLeft(home, source);
  });

  test('that does not let the user in gives no reason, and the cure is told all the same', async () => {
    const {port} = await poolerOf(source, {users: {postgres: 'right'}});
    const {host = '', user = ''} = source.inputs;
    const parameters = {host, port: String(port), user, dbname: 'postgres'};
    const connection = {parameters, password: 'wrong one', environment: {}};
    const thrown = await openSession(connection, {kind: 'sql'}).then(
      () => expect.unreachable('The pooler let us in.'),
      (error: unknown) => error,
    );
    expect(explain('It failed', thrown, connection).cure).toContain('Check the secret behind `password`');
  });
});
