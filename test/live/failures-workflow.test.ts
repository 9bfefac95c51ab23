import {spawnSync} from 'node:child_process';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {parse} from 'yaml';
import {type Cluster, createCluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {cleanEnvironment} from '../support/command.js';
import {runAction, transcript} from '../support/runner.js';
import {writeScript} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

interface Step {
  readonly id?: string;
  readonly name?: string;
  readonly if?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly 'continue-on-error'?: boolean;
}

const file = join(import.meta.dirname, '../../.github/workflows/failures.yml');
const {jobs} = parse(readFileSync(file, 'utf8')) as {jobs: {failures: {steps: readonly Step[]}}};

/** As much of a job as this workflow needs: its own steps and scripts, in order, with the outcomes of earlier ones. */
class Job {
  readonly outcomes = new Map<string, string>();

  private readonly home: Workspace;
  private readonly env: Readonly<Record<string, string>>;

  constructor(home: Workspace, env: Readonly<Record<string, string>>) {
    this.home = home;
    this.env = env;
  }

  async run(step: Step): Promise<void> {
    const {outcome, log} = step.uses === undefined ? this.script(step) : await this.action(step);
    if (step.id !== undefined) this.outcomes.set(step.id, outcome);
    if (outcome === 'failure' && step['continue-on-error'] !== true)
      throw new Error(`${step.name} failed.\n${log}`);
  }

  private async action(step: Step): Promise<{outcome: string; log: string}> {
    const result = await runAction(step.with ?? {}, {workspace: this.home, env: this.env});
    return {outcome: result.status === 0 ? 'success' : 'failure', log: transcript(result)};
  }

  private script({run = '', env = {}}: Step): {outcome: string; log: string} {
    const outcomeOf = (_: string, id: string) => this.outcomes.get(id) ?? 'unknown';
    const given = Object.entries(env).map(([name, value]) => [
      name,
      value.replaceAll(/\$\{\{ steps\.([\w-]+)\.outcome \}\}/g, outcomeOf),
    ]);
    const ended = spawnSync('bash', ['-exo', 'pipefail', '-c', run], {
      cwd: this.home.directory,
      env: {
        ...cleanEnvironment(),
        ...this.env,
        PATH: `${join(this.home.root, 'programs')}:${process.env.PATH ?? ''}`,
        RUNNER_TEMP: this.home.temp,
        ...Object.fromEntries(given),
      },
      encoding: 'utf8',
    });
    return {outcome: ended.status === 0 ? 'success' : 'failure', log: ended.stdout + ended.stderr};
  }
}

describeWithPostgres('the workflow of failures', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster({password: 'of the superuser'});
    return () => source.remove();
  });

  test('is green, with every step that has to fail', async () => {
    const home = workspace();
    const event = join(home.root, 'event.json');
    writeFileSync(
      event,
      JSON.stringify({repository: {full_name: 'octo-org/octo-repo', private: false, visibility: 'public'}}),
    );
    // The cluster takes the place of the runner's own, which `sudo -u postgres psql` reaches and systemctl starts.
    mkdirSync(join(home.root, 'programs'));
    writeScript(join(home.root, 'programs', 'sudo'), [
      '[ "$1" = -u ] || exit 0',
      'shift 3',
      `exec '${postgresProgram('psql')}' --host='${source.socketDirectory}' --username=postgres "$@"`,
    ]);
    const job = new Job(home, {PGPORT: String(source.port), GITHUB_EVENT_PATH: event});
    const steps = jobs.failures.steps.filter(({uses}) => uses === undefined || uses === './');
    for (const step of steps) {
      expect([undefined, 'github.event.repository.private == false']).toContain(step.if);
      await job.run(step);
    }
    expect([...job.outcomes.values()]).toEqual(Array(job.outcomes.size).fill('failure'));
    expect(job.outcomes.size).toBeGreaterThanOrEqual(8);
  });
});
