import {readFileSync} from 'node:fs';
import {describe, expect, test} from 'vitest';
import {parse} from 'yaml';
import {type Entry, parseContract, withTables} from '../../script/docs.ts';
import {messageOf} from '../../src/errors.js';
import {knownInputs, parseRequest} from '../../src/inputs/inputs.js';
import type {RunContext} from '../../src/inputs/run-context.js';
import {outputNames} from '../../src/report/outputs.js';

const fileOfRoot = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const actionYaml = fileOfRoot('action.yml');
const contract = parseContract(actionYaml);
const inputs = contract.inputs.flatMap(({entries}) => entries);
const outputs = contract.outputs.flatMap(({entries}) => entries);

const namesOf = (entries: readonly Entry[]) => entries.map(({name}) => name).sort();
const inputsOf = (title: string) => contract.inputs.find((group) => group.title === title)?.entries ?? [];

const namesIn = (...titles: string[]) => titles.flatMap(inputsOf).map(({name}) => name);

const context: RunContext = {
  workspace: '/workspace',
  temporaryDirectory: '/temporary',
  operatingSystem: 'Linux',
  environment: {},
  now: new Date('2026-11-22T02:17:00Z'),
  applicationName: 'test',
  runName: 'run 4242, attempt 1',
  defaultLabel: 'test',
};

/** What `core.getInput` returns in a step that sets `given`: the runner fills in the defaults of action.yml. */
function reader(given: Record<string, string>): (name: string) => string {
  const defaults = Object.fromEntries(inputs.map(({name, runnerDefault = ''}) => [name, runnerDefault]));
  return (name) => given[name] ?? defaults[name] ?? '';
}

describe('action.yml', () => {
  test.for([
    {given: {mode: 'backup'}, ignored: []},
    {given: {mode: 'restore'}, ignored: []},
    // They mean nothing there, but the runner fills them in.
    {
      given: {mode: 'prepare', user: 'backup', password: 'secret'},
      ignored: ['directory', 'install', 'pg-version', 'storage'],
    },
  ])('declares exactly the inputs that the code reads in mode $given.mode', ({given, ignored}) => {
    const names = new Set<string>(ignored);
    const read = reader(given);
    const recorder = (name: string) => {
      names.add(name);
      return read(name);
    };
    parseRequest(recorder, context);
    expect([...names].sort()).toEqual(namesOf(inputs));
  });

  test('declares exactly the inputs that a misspelt one is compared with', () => {
    expect([...knownInputs].sort()).toEqual(namesOf(inputs));
  });

  test('declares exactly the outputs that the code sets', () => {
    expect([...outputNames].sort()).toEqual(namesOf(outputs));
  });

  test('groups its inputs as README shows them', () => {
    expect(contract.inputs.map(({title}) => title)).toEqual([
      'Every mode',
      'Connection',
      'Prepare',
      'Backup',
      'Restore and verify',
      'Restore',
    ]);
  });

  test('leaves no input without a group', () => {
    const ungrouped = actionYaml.replace(/^ {2}# --- Every mode\n/m, '');
    expect(() => parseContract(ungrouped)).toThrow('action.yml: mode is in no group.');
  });

  test('has a runner fill in only what every mode takes', () => {
    const filled = inputs.filter(({runnerDefault}) => runnerDefault !== undefined);
    expect(namesOf(inputsOf('Every mode'))).toEqual(expect.arrayContaining(namesOf(filled)));
  });

  // The runner evaluates an expression wherever it finds one and refuses the whole file.
  test('has no expression in it', () => {
    expect(actionYaml).not.toContain('${{');
  });

  test('is what the marketplace and the runner take', () => {
    const {description, runs} = parse(actionYaml) as {description: string; runs: Record<string, string>};
    expect(description.length).toBeLessThanOrEqual(125);
    expect(runs).toEqual({
      using: 'node24',
      main: 'dist/index.js',
      post: 'dist/index.js',
      'post-if': 'always()',
    });
  });
});

describe('an input of the other mode', () => {
  test.for([
    ...namesIn('Restore', 'Restore and verify').map((name) => ['backup', name] as const),
    ...namesIn('Backup').map((name) => ['restore', name] as const),
    ...namesIn('Prepare').flatMap((name) => [['backup', name] as const, ['restore', name] as const]),
    ...namesIn('Backup', 'Restore', 'Restore and verify').map((name) => ['prepare', name] as const),
    ...namesIn('Connection', 'Prepare', 'Backup', 'Restore').map((name) => ['verify', name] as const),
    ['verify', 'tablespace-mapping'] as const,
    ['prepare', 'backup-name'] as const,
    ['prepare', 'passphrase'] as const,
    ['prepare', 'decrypt-with'] as const,
    ['prepare', 'github-token'] as const,
    ['prepare', 'tablespace-mapping'] as const,
    ['prepare', 'slot'] as const,
  ])('is refused: %s with %s', ([mode, name]) => {
    expect(problemsOf({mode, [name]: '1'})).toContain(`\n${name}: it belongs to mode:`);
  });
});

describe('a default that action.yml tells', () => {
  const told = inputs.filter(({defaultText}) => /^`[^`%]+`$/.test(defaultText)).map(({name}) => name);

  // An empty container is refused: see its own test.
  test.for(told.filter((name) => !['mode', 'container'].includes(name)))(
    'is the one that is taken: %s',
    (name) => {
      const mode = namesOf(inputsOf('Restore')).includes(name) ? 'restore' : 'backup';
      const value = inputs.find((input) => input.name === name)?.defaultText.slice(1, -1) ?? '';
      const parsed = (text: string) => parseRequest(reader({mode, [name]: text}), context);
      expect(parsed(value)).toEqual(parsed(''));
    },
  );
});

test('README has the tables that action.yml makes', () => {
  const readme = fileOfRoot('README.md');
  expect(withTables(readme, contract)).toBe(readme);
});

function problemsOf(given: Record<string, string>): string {
  try {
    parseRequest(reader(given), context);
    return 'nothing';
  } catch (error) {
    return messageOf(error);
  }
}
