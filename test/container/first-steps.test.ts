import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {parse} from 'yaml';
import {run} from '../support/command.js';
import {describeWithEngine} from '../support/container.js';
import {runAction, succeeded} from '../support/runner.js';
import {images, service} from '../support/service.js';
import {workspace} from '../support/workspace.js';

interface Step {
  readonly id?: string;
  readonly uses?: string;
  readonly with?: Record<string, unknown>;
  readonly run?: string;
  readonly env?: Record<string, string>;
}

interface Workflow {
  readonly jobs: {
    readonly try: {
      readonly services: {readonly postgres: {readonly env: {readonly POSTGRES_PASSWORD: string}}};
      readonly steps: readonly Step[];
    };
  };
}

const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
const [, block = ''] = /^```yaml\n(name: Try a physical backup\n.*?)^```$/ms.exec(readme) ?? [];

describeWithEngine("README's first workflow", () => {
  test('ends with the rows of the restored server', async () => {
    const job = (parse(block) as Workflow).jobs.try;
    const own = await service(images['17-trixie'], {password: job.services.postgres.env.POSTGRES_PASSWORD});
    const home = workspace();
    const outputs = new Map<string, string>([['job.services.postgres.id', own.id]]);
    const filled = (text: unknown) =>
      String(text)
        .replaceAll(/\$\{\{ (.*?) \}\}/g, (_, name: string) => outputs.get(name) ?? '')
        .replaceAll('localhost:5432', `${own.host}:${own.port}`);
    const values = (of: Record<string, unknown> = {}) =>
      Object.fromEntries(Object.entries(of).map(([name, value]) => [name, filled(value)]));
    const printed: string[] = [];
    for (const step of job.steps) {
      if (step.run !== undefined) {
        const env = {PATH: process.env.PATH ?? '', ...values(step.env)};
        printed.push(await run('bash', ['-e', '-c', step.run], {env}));
        continue;
      }
      const result = succeeded(await runAction(values(step.with), {workspace: home}));
      for (const [name, value] of Object.entries(result.outputs))
        outputs.set(`steps.${step.id}.outputs.${name}`, value);
    }
    expect(outputs.get('steps.restore.outputs.proof')).toBe('read');
    expect(printed.at(-1)).toContain('5000');
  });
});
