import {beforeAll, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {expectIdle, expectNoFiles} from '../support/leftovers.js';
import {processesOf} from '../support/processes.js';
import {type ActionResult, runAction, succeeded} from '../support/runner.js';
import {backupInputs, type Inputs, restore} from '../support/steps.js';
import {type Fault, tcpProxy} from '../support/tcp-proxy.js';
import {workspace} from '../support/workspace.js';

const asksFor = (text: string) => ({sight: {from: 'client', text}}) as const;

/** When something happens to a connection, from its beginning to just before the end of the backup. */
const phases = {
  connect: {},
  preflight: asksFor('from pg_tablespace'),
  identification: asksFor('IDENTIFY_SYSTEM'),
  slot: asksFor('CREATE_REPLICATION_SLOT'),
  start: {...asksFor('BASE_BACKUP'), afterBytes: 20_000},
  half: {...asksFor('BASE_BACKUP'), afterBytes: 5e6},
  wal: asksFor('START_REPLICATION'),
  end: {sight: {from: 'server', text: '"Manifest-Checksum"'}},
} as const satisfies Readonly<Record<string, Omit<Fault, 'kind'>>>;

type Phase = keyof typeof phases;

describeWithPostgres('a backup through a connection', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster({settings: ['max_wal_senders = 40', 'max_replication_slots = 40']});
    await source.sql(`create table noise as
      select string_agg(md5(random()::text), '') from generate_series(1, 400000) n group by n % 40000`);
    return () => source.remove();
  });

  /** Runs a backup for each phase, all at the same time: they wait most of the time. */
  async function outcomes(kind: Fault['kind'], more: Inputs): Promise<Readonly<Record<Phase, string>>> {
    const runs = Object.entries(phases).map(async ([phase, when]) => {
      const home = workspace();
      const port = await tcpProxy(source.port, {kind, ...when});
      const inputs = backupInputs(source, {port: String(port), compress: 'none', ...more});
      const result = await runAction(inputs, {workspace: home});
      if (result.status !== 0) {
        expectNoFiles(home);
        expect(processesOf(home.root)).toEqual([]);
      } else await restore(home);
      return [phase, outcome(result)] as const;
    });
    const all = Object.fromEntries(await Promise.all(runs)) as Record<Phase, string>;
    await expectIdle(source);
    return all;
  }

  test('that is cut each time fails for that reason, or goes without what is not needed', async () => {
    const lost = expect.stringMatching(
      /^red: [\s\S]*connection was lost on the way[\s\S]*run the step again/,
    );
    const all = await outcomes('cut', {});
    expect(all, JSON.stringify(all)).toEqual({
      connect: lost,
      preflight: expect.stringMatching(/^green: [\s\S]*No SQL session[\s\S]*connection was lost on the way/),
      identification: lost,
      slot: lost,
      start: lost,
      half: lost,
      wal: expect.stringMatching(/^red: [\s\S]*second connection, which streams the WAL, was lost/),
      end: lost,
    });
  });

  test('that goes silent is given up after the time that was given', async () => {
    const limits = {'stall-timeout': '6s', 'connection-string': 'connect_timeout=4'};
    const silent = expect.stringMatching(/^red: [\s\S]*nothing from the server for 6 s \(stall-timeout\)/);
    const all = await outcomes('stall', limits);
    expect(all, JSON.stringify(all)).toEqual({
      connect: expect.stringMatching(/^red: [\s\S]*Nothing answers at postgres@127\.0\.0\.1:/),
      preflight: expect.stringMatching(
        /^green: [\s\S]*did not answer for 6 s[\s\S]*stall-timeout gives more/,
      ),
      identification: expect.stringMatching(
        /^red: [\s\S]*did not answer for 6 s[\s\S]*stall-timeout gives more/,
      ),
      slot: silent,
      start: silent,
      half: silent,
      wal: silent,
      end: silent,
    });
  });

  test('that is slow in every phase succeeds and restores', async () => {
    const home = workspace();
    const faults = Object.values(phases).map((when) => ({kind: 'pause', ...when}) as const);
    const inputs = backupInputs(source, {port: String(await tcpProxy(source.port, ...faults))});
    expect(succeeded(await runAction(inputs, {workspace: home})).warnings).toEqual([]);
    await restore(home);
  });
});

function outcome({status, errors, warnings, stdout}: ActionResult): string {
  if (status === 0) return `green: ${warnings.join('\n')}`;
  return errors.length === 1 ? `red: ${errors.join()}` : `${status}: ${stdout}`;
}
