import {resolve} from 'node:path';
import {UserError} from '../errors.js';

/** Reads inputs one by one and collects what is wrong with them, so that all is reported together. */
export interface InputReader {
  /** The text of an input, or undefined when it is empty or not set. */
  text(name: string): string | undefined;
  /** One of a few words. */
  choice<T extends string>(name: string, allowed: readonly T[], fallback: T): T;
  /** `true` or `false`, as YAML 1.2 writes them. */
  flag(name: string, fallback: boolean): boolean;
  /** A whole number within bounds. */
  integer(name: string, bounds: {min: number; max: number}): number | undefined;
  /** One item a line; empty lines are left out. */
  lines(name: string): readonly string[];
  /** A text that must match; `allowed` says in words what fits. */
  matching(name: string, pattern: RegExp, allowed: string): string | undefined;
  /** Notes a problem; `problem` follows the input's name and must not repeat a secret. */
  reject(name: string, problem: string): void;
  /** Throws a UserError that lists every problem, if there are any. */
  finish(): void;
}

/** Makes a reader. `read` returns an input's text, empty when it is not set (as `core.getInput` does). */
export function inputReader(read: (name: string) => string): InputReader {
  const problems: string[] = [];
  const reject = (name: string, problem: string) => {
    problems.push(`${name}: ${problem}`);
  };
  const text = (name: string) => read(name) || undefined;
  const matching = (name: string, pattern: RegExp, allowed: string) => {
    const value = text(name);
    if (value === undefined || pattern.test(value)) return value;
    reject(name, `${JSON.stringify(value)} is not ${allowed}`);
    return undefined;
  };
  return {
    text,
    matching,
    choice(name, allowed, fallback) {
      const value = text(name) ?? fallback;
      const found = allowed.find((one) => one === value);
      if (found === undefined) reject(name, `${JSON.stringify(value)} is not one of ${allowed.join(', ')}`);
      return found ?? fallback;
    },
    flag: (name, fallback) =>
      (
        matching(name, /^(true|True|TRUE|false|False|FALSE)$/, 'true or false') ?? String(fallback)
      ).toLowerCase() === 'true',
    integer(name, {min, max}) {
      const value = matching(name, /^\d{1,15}$/, `a whole number from ${min} to ${max}`);
      const number = Number(value);
      if (value === undefined) return undefined;
      if (number >= min && number <= max) return number;
      reject(name, `${JSON.stringify(value)} is not a whole number from ${min} to ${max}`);
      return undefined;
    },
    lines: (name) =>
      read(name)
        .split(/\r?\n/)
        .map((line) => line.trim())
        .filter((line) => line !== ''),
    reject,
    finish() {
      if (problems.length === 0) return;
      throw new UserError(
        `${problems.length === 1 ? 'An input is' : `${problems.length} inputs are`} not valid.\n${problems.join('\n')}`,
        'Correct the `with:` block of the step. Every input is described in the action’s README.',
      );
    },
  };
}

const secondsOf = {s: 1, m: 60, h: 3600, d: 86_400, w: 604_800} as const;

/** Reads a length of time such as `90s`, `26h` or `8d`, in seconds. */
export function readSeconds(reader: InputReader, name: string): number | undefined {
  const text = reader.matching(name, /^\d{1,6}[smhdw]$/, 'a length of time such as 90s, 10m, 26h, 8d or 2w');
  const unit = text?.at(-1) as keyof typeof secondsOf | undefined;
  return text === undefined || unit === undefined ? undefined : Number(text.slice(0, -1)) * secondsOf[unit];
}

/** Reads `OLD=NEW` lines; `\=` stands for an equals sign in a path. Both paths must be absolute. */
export function readMapping(reader: InputReader, name: string): ReadonlyMap<string, string> {
  const mapping = new Map<string, string>();
  for (const line of reader.lines(name)) {
    const parts = line.split(/(?<!\\)=/).map((part) => part.trim().replaceAll('\\=', '='));
    const [from, to] = parts;
    if (parts.length !== 2 || !from?.startsWith('/') || !to?.startsWith('/')) {
      reader.reject(
        name,
        `${JSON.stringify(line)} is not OLD=NEW, two absolute paths (write \\= for an equals sign in a path)`,
      );
    } else if (mapping.has(from)) {
      reader.reject(name, `${JSON.stringify(from)} is mapped twice`);
    } else mapping.set(from, resolve(to));
  }
  return mapping;
}

/**
 * The container to work in; `none`, the default of action.yml, is the runner. An empty value is an expression that
 * found no service, which must not pass for the runner. Docker's own rule for names; ids fit it too.
 */
export function readContainer(reader: InputReader): string | undefined {
  const value = reader.text('container');
  if (value === 'none') return undefined;
  if (value === undefined) {
    const hint = 'in ${{ job.services.NAME.id }}, NAME must be that of a service of this job';
    reader.reject('container', `it is empty: ${hint}; write none to work on the runner`);
  }
  return reader.matching('container', /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, 'the id or name of a container');
}
