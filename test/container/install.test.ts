import {readdirSync} from 'node:fs';
import {afterAll, beforeAll, expect, test} from 'vitest';
import {places} from '../../src/postgres/search.js';
import {waitUntil} from '../support/command.js';
import {describeWithEngine, docker, imageName} from '../support/container.js';
import {createJob, type Job, jobBackupInputs, socketDirectory} from '../support/job.js';
import {type ResultsService, startResultsService} from '../support/results-service.js';
import {type ActionResult, failure, succeeded} from '../support/runner.js';
import {createService, images, type Service} from '../support/service.js';
import {fillShop} from '../support/service-steps.js';
import {backupDirectory, type Inputs, restoreInputs} from '../support/steps.js';
import {listAll, makeWorkspace, type Workspace} from '../support/workspace.js';

/** A server of 17 whose socket jobs share, and which lets in whoever comes through it. */
async function createSource(): Promise<Service> {
  const made = await createService(images['17-trixie'], {
    options: [`--volume=${socketDirectory}`],
    // The runners lack the image's locale.
    env: {POSTGRES_INITDB_ARGS: '--no-locale --encoding=UTF8'},
  });
  await fillShop(made);
  return made;
}

/** What was taken up must be given back, also when a later step of the set-up fails. */
function givenBack(): {readonly keep: <T extends {remove(): Promise<unknown>}>(made: T) => T} {
  const made: {remove(): Promise<unknown>}[] = [];
  afterAll(async () => {
    for (const one of made.reverse()) await one.remove();
  });
  return {
    keep(one) {
      made.push(one);
      return one;
    },
  };
}

/** The log without what shows only when the workflow runs with debug logging, or on a slow machine. */
const shown = ({stdout}: ActionResult) => stdout.replaceAll(/^(?:::debug::.*|.* goes on: \d+ s)\n/gm, '');

const checkOrders = {'check-database': 'shop', 'check-sql': 'select count(*) = 2000 from orders'};

describeWithEngine('a job in a container without any program of PostgreSQL', () => {
  const {keep} = givenBack();
  let home: Workspace;
  let source: Service;
  let results: ResultsService;
  let online: Job;
  let network: string;
  /** What the job's container has before and after each dry run. */
  const states: {before: string; after: string}[] = [];
  let planned: ActionResult;
  let taken: ActionResult;
  let plannedRestore: ActionResult;
  let restored: ActionResult;

  const createOwnJob = async (where: string) => {
    const {env} = results;
    const image = imageName('no-postgres');
    return keep(await createJob(image, {workspace: home, beside: source, network: where, env}));
  };

  const dryRun = async (inputs: Inputs) => {
    const before = await online.state();
    const result = await online.run({...inputs, 'dry-run': 'true'});
    states.push({before, after: await online.state()});
    return result;
  };

  beforeAll(async () => {
    home = keep(makeWorkspace());
    source = keep(await createSource());
    // From an internal network this machine is reached, and nothing else. What a killed run left goes first.
    const label = 'pg-basebackup-action.network';
    await docker(['network', 'prune', '--force', `--filter=label=${label}`]);
    const name = `pg-basebackup-action-${process.pid}`;
    network = (await docker(['network', 'create', '--internal', `--label=${label}`, name])).trim();
    keep({remove: () => docker(['network', 'rm', network])});
    const format = '--format={{(index .IPAM.Config 0).Gateway}}';
    const gateway = await docker(['network', 'inspect', format, network]);
    results = await startResultsService({address: gateway.trim()});
    keep({remove: () => results.stop()});

    online = await createOwnJob('host');
    planned = await dryRun(jobBackupInputs());
    taken = await online.run(jobBackupInputs());
    plannedRestore = await dryRun(restoreInputs());
    restored = await online.run(restoreInputs({...checkOrders, checks: 'manifest\ndump'}));
  }, 400_000);

  test('is told by a dry run what would be installed, which changes nothing', () => {
    expect(succeeded(planned).stdout).toContain(
      'the runner lacks one: postgresql-client-17 would be installed.',
    );
    expect(planned.summary).toContain('postgresql-client-17 would be installed');
    expect(succeeded(plannedRestore).stdout).toContain(
      'the runner lacks them: postgresql-17 would be installed.',
    );
    for (const {before, after} of states) expect(after).toBe(before);
  });

  test('gets the client of the server’s version from its package sources', () => {
    expect(shown(succeeded(taken))).toMatch(
      /::group::Install postgresql-client-17\nDownloaded postgresql-client-17 17\.\S+ from the configured package sources\.\nInstalled/,
    );
    expect(taken.stdout).toMatch(/Client: pg_basebackup \(PostgreSQL\) 17.* on the runner/);
    expect(readdirSync(backupDirectory(home))).toContain('base.tar.gz');
  });

  test('gets the server of the backup’s version, and no cluster besides the restored one', async () => {
    expect(succeeded(restored).stdout).toContain('::group::Install postgresql-17\n');
    expect(restored.outputs.proof).toBe('read');
    expect(await online.files('/etc/postgresql')).toEqual([]);
    const running = (await online.processes()).filter(({state}) => state !== 'Z');
    expect(running.map(({args}) => args)).toEqual([['sleep', 'infinity']]);
    expect(await online.state()).not.toMatch(/policy-rc\.d|pg-basebackup-action/);
    expect(readdirSync(home.temp).filter((name) => name.includes('packages'))).toEqual([]);
  });

  test('gets both from the cache when no package source can be reached', async () => {
    const key = /^pg-basebackup-action-debian-trixie-[a-z0-9]+-(postgresql-[a-z0-9-]+?)-\d{4}-\d\d-\d+\S+$/;
    const kept = results.cacheKeys().map((one) => key.exec(one)?.[1]);
    expect(kept).toEqual(['postgresql-17', 'postgresql-common', 'postgresql-client-17']);

    const cutOff = await createOwnJob(network);
    const cached = {'backup-name': 'cached'};
    expect(succeeded(await cutOff.run(jobBackupInputs(cached))).stdout).toContain(
      'Installed postgresql-client-17 from the cache, without a download',
    );
    const inputs = {...cached, ...checkOrders, 'data-directory': '/srv/restored'};
    const again = succeeded(await cutOff.run(restoreInputs(inputs)));
    expect(again.stdout).toContain('Installed postgresql-17 from the cache, without a download');
    expect(again.outputs.proof).toBe('recovered');
  });

  test('has no package half installed when it is cancelled meanwhile', async () => {
    const job = await createOwnJob(network);
    const running = job.start(jobBackupInputs({'backup-name': 'cancelled'}));
    await running.until(() => running.log().includes('Cache restored successfully'), 'the installation');
    await job.interrupt();
    expect(failure(await running.result)).toContain('Cancelled by SIGINT');
    const isInstalling = async () =>
      (await job.processes()).some(({args}) => args.some((arg) => /\bapt-get$|\bdpkg$/.test(arg)));
    await waitUntil(async () => !(await isInstalling()), {seconds: 60, what: 'apt-get to end'});
    expect(await job.exec(['dpkg', '--audit'])).toBe('');
    expect(await job.state()).not.toMatch(/policy-rc\.d|pg-basebackup-action/);
    expect(listAll(home.directory).filter((path) => path.includes('cancelled'))).toEqual([]);
  });
});

describeWithEngine('a runner whose package sources lack the version', () => {
  const {keep} = givenBack();
  let home: Workspace;
  let source: Service;

  const createOwnJob = async (network: string, user: string) =>
    keep(await createJob(imageName('old-release'), {workspace: home, beside: source, network, user}));

  beforeAll(async () => {
    home = keep(makeWorkspace());
    source = keep(await createSource());
  });

  test('gets it from PostgreSQL’s own, as an account that may use sudo', async () => {
    const job = await createOwnJob('host', 'runner');
    const taken = succeeded(await job.run(jobBackupInputs()));
    expect(taken.stdout).toContain(
      "The configured package sources lack postgresql-client-17: adding PostgreSQL's own.",
    );
    expect(taken.stdout).toMatch(/Client: pg_basebackup \(PostgreSQL\) 17.* on the runner/);
    expect(await job.state()).toContain('/etc/apt/sources.list.d/pgdg.list');
    expect(await job.state()).not.toMatch(/policy-rc\.d|pg-basebackup-action/);
  });

  test('is left as it was when the sources cannot be reached, with the cure', async () => {
    const job = await createOwnJob('none', 'runner');
    const before = await job.state();
    const inputs = jobBackupInputs({'backup-name': 'offline'});
    const message = failure(await job.run(inputs));
    expect(message).toMatch(/The server is PostgreSQL 17; the runner has no pg_basebackup/);
    expect(message).toMatch(
      /postgresql-client-17 cannot be installed: the package sources cannot be reached \(/,
    );
    expect(message).toContain('sudo apt-get install --yes postgresql-client-17');
    expect(message).toContain('container: ${{ job.services.postgres.id }}');
    expect(await job.state()).toBe(before);
    expect(listAll(home.directory).filter((path) => path.includes('offline'))).toEqual([]);
  });

  test('is left as it was when PostgreSQL’s own sources cannot be used', async () => {
    const job = await createOwnJob('host', 'runner');
    // With what PostgreSQL's script needs, so that nothing has to be installed for it.
    await job.exec([
      'sh',
      '-c',
      'mkdir -p /etc/ssl/certs; touch /etc/ssl/certs/ca-certificates.crt; rm -r /srv/pgdg',
    ]);
    const message = failure(await job.run(jobBackupInputs({'backup-name': 'unreachable'})));
    expect(message).toMatch(
      /postgresql-client-17 cannot be installed: the package sources cannot be reached/,
    );
    expect(await job.state()).not.toMatch(/pgdg\.list|policy-rc\.d|pg-basebackup-action/);
    await job.exec(['apt-get', 'update', '-qq']);
  });

  test('has what is there already, wherever packages put it, and nothing is installed', async () => {
    const job = await createOwnJob('none', 'runner');
    for (const place of places) {
      const directory = place.replace('*', '17');
      const program = `#!/bin/sh\necho 'pg_basebackup (PostgreSQL) 17.5'\n`;
      const write = 'mkdir -p "$1"; cat >"$1/pg_basebackup"; chmod 755 "$1/pg_basebackup"';
      await job.exec(['sh', '-c', write, 'sh', directory], {stdin: program});
      const inputs = jobBackupInputs({'backup-name': 'elsewhere', 'dry-run': 'true'});
      const planned = succeeded(await job.run(inputs));
      expect(planned.stdout).toContain(
        `Client: pg_basebackup (PostgreSQL) 17.5 in ${directory} on the runner`,
      );
      await job.exec(['rm', '-r', directory]);
    }
  });

  test('is told when it has no apt-get, also by a dry run', async () => {
    const job = await createOwnJob('none', 'runner');
    await job.exec(['rm', '/usr/bin/apt-get']);
    const message = failure(await job.run(jobBackupInputs({'backup-name': 'none', 'dry-run': 'true'})));
    expect(message).toContain('postgresql-client-17 cannot be installed: the runner has no apt-get.');
  });

  test('is told when its account may not install anything', async () => {
    const job = await createOwnJob('none', 'guest');
    const message = failure(await job.run(jobBackupInputs({'backup-name': 'guest'})));
    expect(message).toMatch(
      /postgresql-client-17 cannot be installed: the runner's account guest is not root, and sudo asks for a password\./,
    );
    const never = failure(await job.run(jobBackupInputs({'backup-name': 'never', install: 'never'})));
    expect(never).not.toContain('cannot be installed');
    expect(never).toContain('sudo apt-get install --yes postgresql-client-17');
  });
});
