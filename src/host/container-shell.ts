import {randomUUID} from 'node:crypto';
import {PassThrough, Writable} from 'node:stream';
import type {Command} from './host.js';
import {endGroup, english, runProcess} from './process.js';

/** A program for a shell that stays in a container. */
export interface ShellRequest {
  readonly command: Command;
  /** All of its standard input; the input is empty without it. */
  readonly stdin?: string;
  /** Whether it may run for long: others then do not wait for it. */
  readonly isLong: boolean;
  /** Shown the lines of standard error until it takes one, which is then no part of the output. */
  readonly takeErrorLine: (line: string) => boolean;
  /** Called with every other line of standard error. */
  readonly onErrorLine?: (line: string) => void;
}

/** What a program wrote, and its exit status; undefined when the shell ended before the program did. */
export interface ShellReply {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | undefined;
}

/**
 * A shell that stays in a container and runs one small program after another: each would need a `docker exec` of its
 * own otherwise, which takes 0.2 s of processor time (Docker 20.10). It ends with its input, and so with this
 * process, however that ends.
 */
export interface ContainerShell {
  /** Undefined, and the program was not started, when the shell has ended or is at something long. */
  run(request: ShellRequest): Promise<ShellReply | undefined>;
  hasEnded(): boolean;
  /** Gives it up, with what it runs. */
  abandon(): void;
  /** Ends it after what it runs. */
  close(): Promise<void>;
}

/** The shells that stay in a container: one as root, and one as PostgreSQL's account. */
export interface ContainerShells {
  get(asRoot: boolean): ContainerShell;
  /** Ends them all. */
  close(): Promise<void>;
}

/** The shells of a container, opened when they are asked for, and again when one has ended. */
export function openShells({
  id,
  user,
  libpqVariables,
}: {
  readonly id: string;
  readonly user: string;
  readonly libpqVariables: readonly string[];
}): ContainerShells {
  const open = new Map<boolean, ContainerShell>();
  return {
    get(asRoot) {
      const shell = open.get(asRoot);
      if (shell && !shell.hasEnded()) return shell;
      const account = `--user=${asRoot ? '0' : user}`;
      const names = Object.keys(english).flatMap((name) => ['--env', name]);
      const made = openShell({
        args: ['exec', '--interactive', account, ...names, id, 'sh'],
        env: english,
        setUp: libpqVariables.map((name) => `unset ${name}`).join('\n'),
      });
      open.set(asRoot, made);
      return made;
    },
    async close() {
      await Promise.all([...open.values()].map((shell) => shell.close()));
    },
  };
}

/** Opens a shell by `docker exec` with these arguments and variables. Whether it came up, the first program shows. */
export function openShell({
  args,
  env,
  setUp,
}: {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Its first command. */
  readonly setUp: string;
}): ContainerShell {
  const input = new PassThrough();
  const abandoned = new AbortController();
  let reading: Reading | undefined;
  let [hasEnded, isAtLength] = [false, false];
  const stdout = new Writable({
    write(chunk: Buffer, _, done) {
      reading?.takeOutput(chunk);
      done();
    },
    // It has ended by itself, and reads nothing more.
    final(done) {
      input.end();
      done();
    },
  });
  const onErrorLine = (line: string) => reading?.takeErrorLine(line);
  const options = {stdin: input, stdout, onErrorLine};
  const running = runProcess({program: 'docker', args, env}, options, {
    signal: abandoned.signal,
    end: ({pid}) => endGroup(pid),
  })
    .catch(() => undefined)
    .then(() => {
      hasEnded = true;
      reading?.end();
    });
  input.write(`${setUp}\n`);
  let turn: Promise<unknown> = Promise.resolve();
  const runNow = async (request: ShellRequest) => {
    if (hasEnded) return undefined;
    reading = read(request);
    input.write(scriptOf(request, reading.token));
    return reading.reply;
  };
  return {
    async run(request) {
      if (hasEnded || isAtLength) return undefined;
      isAtLength = request.isLong;
      const reply = turn.then(() => runNow(request));
      turn = reply;
      const ended = await reply;
      if (request.isLong) isAtLength = false;
      return ended;
    },
    hasEnded: () => hasEnded,
    abandon: () => abandoned.abort(),
    async close() {
      input.end();
      setTimeout(() => abandoned.abort(), 4000).unref();
      await running;
    },
  };
}

/** One program, and a line on each output that tells where its own ends. */
function scriptOf({command: {program, args, env = {}}, stdin}: ShellRequest, token: string): string {
  const variables = Object.entries(env).map(([name, value]) => `export ${name}=${quoted(value)}; `);
  const words = [program, ...args].map(quoted).join(' ');
  const run = stdin === undefined ? `exec ${words} </dev/null` : `printf %s ${quoted(stdin)} | ${words}`;
  return `(${variables.join('')}${run}); printf '\\n${token} %s\\n' "$?"; printf '\\n${token}\\n' >&2\n`;
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

interface Reading {
  readonly token: string;
  readonly reply: Promise<ShellReply>;
  takeOutput(chunk: Buffer): void;
  takeErrorLine(line: string): void;
  /** The shell has ended. */
  end(): void;
}

function read({takeErrorLine, onErrorLine}: ShellRequest): Reading {
  const token = `pg-basebackup-action-${randomUUID()}`;
  const endMark = new RegExp(`\\n${token} (\\d+)\\n$`);
  const chunks: Buffer[] = [];
  const lines: string[] = [];
  let [tail, blankLines, isTaken, errorsEnded] = ['', 0, false, false];
  let status: number | undefined;
  const {promise: reply, resolve} = Promise.withResolvers<ShellReply>();
  const finish = (endLength: number) => {
    const all = Buffer.concat(chunks);
    resolve({
      stdout: all.toString('utf8', 0, all.length - endLength),
      stderr: lines.join('\n').slice(-64 * 1024),
      status,
    });
  };
  const finishWhenComplete = () => {
    const [mark = '', number] = endMark.exec(tail) ?? [];
    if (number === undefined || !errorsEnded) return;
    status = Number(number);
    finish(mark.length);
  };
  return {
    token,
    reply,
    takeOutput(chunk) {
      chunks.push(chunk);
      // The mark may arrive in two pieces.
      tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - 100))).slice(-100);
      finishWhenComplete();
    },
    takeErrorLine(line) {
      if (line === token) {
        errorsEnded = true;
        finishWhenComplete();
      } else if (!isTaken && takeErrorLine(line)) isTaken = true;
      else if (line === '') blankLines += 1;
      else {
        // The last may be the one that the mark begins with.
        const whole = [...Array<string>(blankLines).fill(''), line];
        blankLines = 0;
        lines.push(...whole);
        for (const one of whole) onErrorLine?.(one);
      }
    },
    end: () => finish(0),
  };
}
