import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, onTestFinished, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres, freePort} from '../support/cluster.js';
import {expectIdle, expectNoFiles} from '../support/leftovers.js';
import {isServer, processesOf} from '../support/processes.js';
import {startResultsService} from '../support/results-service.js';
import {
  type ActionResult,
  failure,
  runAction,
  startAction,
  succeeded,
  transcript,
} from '../support/runner.js';
import {
  askRestored,
  backUp,
  backupInputs,
  dataDirectory,
  type Inputs,
  restore,
  restoreInputs,
} from '../support/steps.js';
import {copyOf, listAll, makeWorkspace, type Workspace, workspace} from '../support/workspace.js';

interface Race {
  readonly winner: ActionResult;
  /** What the other one failed with. */
  readonly refusal: string;
  readonly loser: ActionResult;
}

/** Of two runs exactly one succeeds. */
async function race(one: Promise<ActionResult>, other: Promise<ActionResult>): Promise<Race> {
  const results = await Promise.all([one, other]);
  const [winner, ...more] = results.filter(({status}) => status === 0);
  const loser = results.find(({status}) => status !== 0);
  if (winner === undefined || more.length > 0 || loser === undefined)
    throw new Error(`Not one of two runs succeeded.\n${results.map(transcript).join('\n')}`);
  return {winner: succeeded(winner), loser, refusal: failure(loser)};
}

describeWithPostgres('two at the same time', () => {
  let source: Cluster;
  let stored: Workspace;

  beforeAll(async () => {
    source = await createCluster();
    await source.pgbench('bank');
    stored = makeWorkspace();
    await backUp(source, stored);
    return async () => {
      await stored.remove();
      await source.remove();
    };
  });

  describe('backups', () => {
    // Slow enough to meet, however late one of them starts.
    const slow = {'max-rate': '4M', compress: 'none'};

    test('through one slot: one is refused, and leaves nothing', async () => {
      await source.sql("select pg_create_physical_replication_slot('shared')");
      const inputs = backupInputs(source, {slot: 'shared', ...slow});
      const {winner, loser, refusal} = await race(runAction(inputs), runAction(inputs));
      expect(refusal).toMatch(/shared is in use|replication slot "shared" is active/);
      expectNoFiles(loser.workspace);
      await restore(winner.workspace);
      await source.sql("select pg_drop_replication_slot('shared')");
      await expectIdle(source);
    });

    test.each(['tar', 'plain'])('of one name in one directory (%s): one is refused', async (format) => {
      const home = workspace();
      const inputs = backupInputs(source, {...slow, format});
      const options = {workspace: home};
      const {refusal} = await race(runAction(inputs, options), runAction(inputs, options));
      expect(refusal).toMatch(
        /nightly\.partial (is being made by another run|exists: another backup of this name is being taken)/,
      );
      expect(refusal).toContain('Put the time into backup-name');
      expect(listAll(join(home.directory, 'backups')).filter((path) => !path.includes('/'))).toEqual([
        'nightly',
        'nightly.json',
      ]);
      await restore(home);
    });

    test('of one artifact name in one run: one is refused, and keeps its files', async () => {
      const service = await startResultsService();
      onTestFinished(() => service.stop());
      // Whoever is the first to create this one has to try again, and finds the other one there.
      const artifact = 'nightly.base.tar';
      service.setFault({at: 'CreateArtifact', kind: 'unavailable', artifact, times: 1});
      const inputs = backupInputs(source, {storage: 'artifact', ...slow});
      const run = () => runAction(inputs, {env: service.env});
      const {refusal, winner, loser} = await race(run(), run());
      expect(refusal).toMatch(/could not be stored as artifacts[\s\S]*Make the name unique/);
      expect(existsSync(join(loser.workspace.directory, 'backups/nightly/backup_manifest'))).toBe(true);
      expect(service.artifacts().map(({name}) => name)).toHaveLength(4);
      const other = workspace();
      const fetched = await runAction(restoreInputs({storage: 'artifact'}), {
        workspace: other,
        env: service.env,
      });
      expect(succeeded(fetched).outputs['system-identifier']).toBe(winner.outputs['system-identifier']);
    });
  });

  describe('restores', () => {
    /** A restored server that stays as long as the test looks at it. */
    const kept = (port: number): Inputs => restoreInputs({'keep-running': 'true', 'listen-port': `${port}`});
    const rows = 'select count(*) from pg_class';

    test('into one data directory: one is refused, and the other one is whole', async () => {
      const home = copyOf(stored);
      const options = {workspace: home};
      const [one, other] = [await freePort(), await freePort()];
      const {winner, refusal} = await race(runAction(kept(one), options), runAction(kept(other), options));
      expect(refusal).toMatch(/Another step restores into|exists already and is not empty/);
      expect(refusal).toContain('data-directory');
      expect(Number(await askRestored(winner, rows))).toBeGreaterThan(0);
      expect(processesOf(home.root).filter(({args}) => isServer(args))).toHaveLength(1);
    });

    test('on one port: one is refused, and leaves nothing', async () => {
      const port = await freePort();
      const {winner, loser, refusal} = await race(
        runAction(kept(port), {workspace: copyOf(stored)}),
        runAction(kept(port), {workspace: copyOf(stored)}),
      );
      expect(refusal).toContain('Another server listens there: set listen-port');
      expect(Number(await askRestored(winner, rows))).toBeGreaterThan(0);
      expect(existsSync(dataDirectory(loser.workspace))).toBe(false);
      expect(processesOf(loser.workspace.root)).toEqual([]);
    });

    test('of which one comes while the other is unpacked are refused before anything is written', async () => {
      const home = copyOf(stored);
      const inputs = restoreInputs({'check-sql': 'select pg_sleep(3) is not null'});
      const first = startAction(inputs, {workspace: home});
      await first.until(() => existsSync(dataDirectory(home)), 'the data directory is there');
      const message = failure(await runAction(restoreInputs(), {workspace: home}));
      expect(message).toMatch(/Another step restores into|exists already and is not empty/);
      succeeded(await first.result);
    });
  });
});
