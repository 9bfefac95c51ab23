import {type ChildProcess, spawn} from 'node:child_process';
import {chmodSync, existsSync, readFileSync, realpathSync, writeFileSync} from 'node:fs';
import {dirname, join, resolve} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {parse} from 'yaml';
import {cleanEnvironment, waitUntil} from './command.js';
import {type Workspace, workspace} from './workspace.js';

const repository = resolve(import.meta.dirname, '../..');

/** What a step of a workflow may differ in besides its inputs. */
export interface ActionOptions {
  /** Without it, a fresh one that is removed after the test. */
  readonly workspace?: Workspace;
  /** A job container that the action runs in, as whom; it has what `jobMounts` tells. */
  readonly within?: {readonly container: string; readonly user: string};
  /** Added to the environment that the runner gives. */
  readonly env?: Readonly<Record<string, string>>;
  /** A directory that is searched for programs ahead of all others. */
  readonly programs?: string;
  /** After that many seconds (default 240) the action is killed and the test fails. */
  readonly timeoutSeconds?: number;
}

/** All that a run of the action leaves behind. */
export interface ActionResult {
  /** Null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly outputs: Readonly<Record<string, string>>;
  /** What it leaves to the end of the job. */
  readonly state: Readonly<Record<string, string>>;
  readonly summary: string;
  /** Messages of `::error`, decoded. */
  readonly errors: readonly string[];
  /** Messages of `::warning`, decoded. */
  readonly warnings: readonly string[];
  readonly workspace: Workspace;
}

/** A run of the action that has not ended yet. */
export interface RunningAction {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly workspace: Workspace;
  readonly result: Promise<ActionResult>;
  /** What it has written to standard output so far. */
  log(): string;
  /** Waits until the condition holds, and fails when the action ends first. */
  until(condition: () => boolean | Promise<boolean>, what: string): Promise<void>;
}

/** Runs the built action as GitHub's runner does, to its end. */
export function runAction(
  inputs: Readonly<Record<string, string>>,
  options?: ActionOptions,
): Promise<ActionResult> {
  return startAction(inputs, options).result;
}

/** Runs what the action does at the end of the job, after a step of it. */
export function endJob({state, workspace: home}: ActionResult): Promise<ActionResult> {
  const env = Object.fromEntries(Object.entries(state).map(([name, value]) => [`STATE_${name}`, value]));
  return runAction({}, {workspace: home, env});
}

/** Starts the built action as GitHub's runner does, for tests that watch or interrupt it. */
export function startAction(
  inputs: Readonly<Record<string, string>>,
  options: ActionOptions = {},
): RunningAction {
  const home = options.workspace ?? workspace();
  const files = fileCommands(home);
  const variables = variablesOf(inputs, home, files, options);
  const {program, args} = commandOf(options.within, home, Object.keys(variables));
  const child = spawn(program, args, {
    cwd: home.directory,
    env: {...cleanEnvironment(), NODE_COMPILE_CACHE: compileCache, ...pathOf(options), ...variables},
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (child.pid === undefined) throw new Error('Node did not start.');
  const written = {stdout: '', stderr: '', hasEnded: false};
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    written.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    written.stderr += text;
  });
  const result = ended(child, options.timeoutSeconds ?? 240, () => written.stdout + written.stderr).then(
    (end) => {
      written.hasEnded = true;
      return {...end, ...collect(written.stdout, written.stderr, files), workspace: home};
    },
  );
  // Whoever waits for the result sees the failure; a test that fails earlier must not fail twice.
  result.catch(() => undefined);
  return {
    pid: child.pid,
    child,
    workspace: home,
    result,
    log: () => written.stdout,
    until: (condition, what) => untilBeforeEnd(condition, {what, written}),
  };
}

/** The result as text, for the message of an assertion. */
export function transcript({status, signal, stdout, stderr}: ActionResult): string {
  return `The action ended with ${status ?? signal}.\n--- stdout\n${stdout}\n--- stderr\n${stderr}`;
}

/** Returns the result of a run that succeeded without any error; throws with the whole log otherwise. */
export function succeeded(result: ActionResult): ActionResult {
  if (result.status !== 0 || result.errors.length > 0) throw new Error(transcript(result));
  return result;
}

/** Returns the one error of a run that failed with status 1; throws with the whole log otherwise. */
export function failure(result: ActionResult): string {
  const [error, ...more] = result.errors;
  if (result.status !== 1 || error === undefined || more.length > 0) throw new Error(transcript(result));
  return error;
}

interface FileCommands {
  readonly GITHUB_OUTPUT: string;
  readonly GITHUB_STATE: string;
  readonly GITHUB_ENV: string;
  readonly GITHUB_PATH: string;
  readonly GITHUB_STEP_SUMMARY: string;
}

let steps = 0;

/** Empty files of the runner's; each step has its own. */
function fileCommands(home: Workspace): FileCommands {
  steps += 1;
  const make = (name: string): string => {
    const path = join(home.fileCommands, `${name}_${steps}`);
    writeFileSync(path, '');
    // The account of a job's container writes to them, too.
    chmodSync(path, 0o666);
    return path;
  };
  return {
    GITHUB_OUTPUT: make('set_output'),
    GITHUB_STATE: make('save_state'),
    GITHUB_ENV: make('set_env'),
    GITHUB_PATH: make('add_path'),
    GITHUB_STEP_SUMMARY: make('step_summary'),
  };
}

/** The action itself, here or in a container, where `docker exec` takes the values of variables from its own. */
function commandOf(
  within: ActionOptions['within'],
  home: Workspace,
  names: readonly string[],
): {program: string; args: readonly string[]} {
  if (within === undefined) return {program: node(), args: [bundle()]};
  const variables = names.map((name) => `--env=${name}`);
  const options = [`--user=${within.user}`, `--workdir=${home.directory}`, ...variables];
  const action = [`${insideContainer}/node`, `${insideContainer}/dist/index.js`];
  return {program: 'docker', args: ['exec', ...options, within.container, ...action]};
}

/** The bundle is compiled for two thousand runs, each in a process of its own. */
const compileCache = join(repository, 'node_modules', '.cache', 'compiled');

const insideContainer = '/opt/action';

/** Options of `docker create` for a container that the action can run in: GitHub's runner mounts them alike. */
export function jobMounts(home: Workspace): readonly string[] {
  const mounts = [
    [dirname(bundle()), `${insideContainer}/dist`],
    [realpathSync(node()), `${insideContainer}/node`],
    [home.root, home.root],
  ];
  return mounts.map(([from, to]) => `--volume=${from}:${to}`);
}

function pathOf({programs}: ActionOptions): Record<string, string> {
  return programs === undefined ? {} : {PATH: `${programs}:${process.env.PATH ?? ''}`};
}

function variablesOf(
  inputs: Readonly<Record<string, string>>,
  home: Workspace,
  files: FileCommands,
  options: ActionOptions,
): Record<string, string> {
  // A test must not change the machine that it runs on, unless it says so.
  const given = {...defaults(), install: 'never', ...inputs};
  const asVariables = Object.entries(given).map(([name, value]) => [inputVariable(name), value]);
  return {
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_ACTION: '__self',
    GITHUB_API_URL: 'https://api.github.com',
    GITHUB_EVENT_NAME: 'schedule',
    GITHUB_EVENT_PATH: eventFile(home),
    GITHUB_JOB: 'nightly',
    GITHUB_REF: 'refs/heads/main',
    GITHUB_REPOSITORY: 'octo-org/octo-repo',
    GITHUB_REPOSITORY_OWNER: 'octo-org',
    GITHUB_RETENTION_DAYS: '90',
    GITHUB_RUN_ATTEMPT: '1',
    GITHUB_RUN_ID: '4242',
    GITHUB_RUN_NUMBER: '7',
    GITHUB_SERVER_URL: 'https://github.com',
    GITHUB_SHA: '0123456789abcdef0123456789abcdef01234567',
    GITHUB_WORKFLOW: 'Nightly backup',
    GITHUB_WORKSPACE: home.directory,
    RUNNER_ARCH: 'X64',
    RUNNER_ENVIRONMENT: 'github-hosted',
    RUNNER_NAME: 'test',
    RUNNER_OS: 'Linux',
    RUNNER_TEMP: home.temp,
    RUNNER_TOOL_CACHE: join(home.root, 'tools'),
    ...files,
    ...Object.fromEntries(asVariables),
    ...options.env,
  };
}

/** The payload of the event that the run is for: of a private repository. */
function eventFile(home: Workspace): string {
  const path = join(home.fileCommands, 'event.json');
  const repository = {full_name: 'octo-org/octo-repo', private: true, visibility: 'private'};
  writeFileSync(path, JSON.stringify({schedule: '17 2 * * *', repository}));
  return path;
}

/** `pg-version` -> `INPUT_PG-VERSION`: the runner keeps the hyphen. */
function inputVariable(name: string): string {
  return `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`;
}

let declared: Record<string, string> | undefined;

/** The runner hands over every declared input, with its default; a `${{ … }}` in one is empty in a test. */
function defaults(): Record<string, string> {
  declared ??= readDefaults();
  return declared;
}

function readDefaults(): Record<string, string> {
  const action: unknown = parse(readFileSync(join(repository, 'action.yml'), 'utf8'));
  const inputs = (action as {inputs?: Record<string, {default?: unknown}>}).inputs ?? {};
  const asText = (value: unknown): string => String(value ?? '').replaceAll(/\$\{\{.*?\}\}/g, '');
  return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, asText(input.default)]));
}

function bundle(): string {
  const path = join(repository, 'dist', 'index.js');
  if (!existsSync(path)) throw new Error(`${path} is missing: npm run build`);
  return path;
}

function node(): string {
  const path = join(repository, 'node_modules', '.bin', 'node');
  return existsSync(path) ? path : process.execPath;
}

async function ended(
  child: ChildProcess,
  timeoutSeconds: number,
  log: () => string,
): Promise<{status: number | null; signal: NodeJS.Signals | null}> {
  const timer = new AbortController();
  const close = new Promise<{status: number | null; signal: NodeJS.Signals | null}>((resolveEnd, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolveEnd({status, signal}));
  });
  const late = sleep(timeoutSeconds * 1000, undefined, {signal: timer.signal}).then(() => {
    child.kill('SIGKILL');
    throw new Error(`The action did not end within ${timeoutSeconds} seconds.\n${log()}`);
  });
  late.catch(() => undefined); // The abort below rejects it, too.
  try {
    return await Promise.race([close, late]);
  } finally {
    timer.abort();
  }
}

async function untilBeforeEnd(
  condition: () => boolean | Promise<boolean>,
  {what, written}: {what: string; written: {stdout: string; stderr: string; hasEnded: boolean}},
): Promise<void> {
  const log = () => written.stdout + written.stderr;
  await waitUntil(
    async () => {
      if (await condition()) return true;
      if (written.hasEnded) throw new Error(`The action ended before ${what}.\n${log()}`);
      return false;
    },
    {seconds: 60, what, detail: log},
  );
}

function collect(stdout: string, stderr: string, files: FileCommands) {
  return {
    stdout,
    stderr,
    outputs: parseFileCommand(readFileSync(files.GITHUB_OUTPUT, 'utf8')),
    state: parseFileCommand(readFileSync(files.GITHUB_STATE, 'utf8')),
    summary: readFileSync(files.GITHUB_STEP_SUMMARY, 'utf8'),
    errors: annotations('error', stdout),
    warnings: annotations('warning', stdout),
  };
}

/** Reads `name<<delimiter`, the value's lines, and the delimiter again. */
function parseFileCommand(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [, name = '', , value = ''] of text.matchAll(/^(.+?)<<(.+)\n([\s\S]*?)\n?^\2$/gm))
    values[name] = value;
  return values;
}

function annotations(command: string, stdout: string): readonly string[] {
  const pattern = new RegExp(`^::${command}(?: [^:]*)?::(.*)$`, 'gm');
  return [...stdout.matchAll(pattern)].map(([, message = '']) =>
    message.replaceAll('%0D', '\r').replaceAll('%0A', '\n').replaceAll('%25', '%'),
  );
}
