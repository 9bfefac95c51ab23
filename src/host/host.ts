import type {Readable, Writable} from 'node:stream';

/** A program and its arguments, as a value: an array, so that no shell ever reads an input. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** Added to the environment; secrets travel here and never in `args`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What goes into a running program and where its output goes. */
export interface RunOptions {
  /** Fed to the program's standard input; without it the input is empty. */
  readonly stdin?: Readable;
  /** Takes the program's standard output; without it the output is kept and returned. */
  readonly stdout?: Writable;
  /** Called with every complete line of standard error as it is written. */
  readonly onErrorLine?: (line: string) => void;
  /** Run to its end although the run is cancelled: for stopping servers and removing files. */
  readonly cleanup?: boolean;
}

/** What a program that succeeded wrote. */
export interface Output {
  /** Empty when it went to `RunOptions.stdout`. */
  readonly stdout: string;
  /** The last 64 KiB. */
  readonly stderr: string;
}

/**
 * Where PostgreSQL's programs run and the restored files live: the runner, or a container. A host is chosen
 * once, in `main`; programs and files of a host belong to its `user`.
 */
export interface Host {
  /** For messages: `the runner`. */
  readonly name: string;
  /** The account that PostgreSQL runs as; never root. */
  readonly user: string;
  /** Threads that this host can run at the same time. */
  readonly cores: number;
  /** Bytes of memory that this host has. */
  readonly memoryBytes: number;

  /** Runs a program in a process group of its own. Throws a CommandError when its status is not 0. */
  run(command: Command, options?: RunOptions): Promise<Output>;
  /** The path of a program on PATH, links resolved, or undefined. */
  findOnPath(program: string): Promise<string | undefined>;

  /** What is at a path. */
  look(path: string): Promise<'absent' | 'file' | 'directory' | 'empty-directory' | 'other'>;
  /** Names in a directory, sorted; empty when it is absent. */
  list(directory: string): Promise<readonly string[]>;
  /** Makes a directory and its missing parents; it, also if it was there, is then `user`'s with mode 0700. */
  makeDirectory(path: string): Promise<void>;
  /** Makes an empty directory of a short path for sockets, owned by `user`, mode 0700. */
  makeTemporaryDirectory(): Promise<string>;
  /** The text of a file, or undefined when it is absent. */
  readText(path: string): Promise<string | undefined>;
  /** Writes a file owned by `user`, mode 0600 (0700 when `executable`). */
  writeText(path: string, text: string, options?: {executable?: boolean}): Promise<void>;
  /** Removes a file or a directory with all that is in it; nothing happens when it is absent. */
  remove(path: string): Promise<void>;
  /** Bytes that `user` can still write at a path, or at its nearest parent that exists. */
  freeBytes(path: string): Promise<number>;
}

/** A program ended with a status other than 0: the one place where that is decided. */
export class CommandError extends Error {
  readonly program: string;
  readonly status: number | string;
  readonly stderr: string;

  /** `status` is the exit status, or the name of the signal that ended the program. */
  constructor(program: string, status: number | string, stderr: string) {
    const name = program.split('/').at(-1) ?? program;
    const how = typeof status === 'number' ? `exited with status ${status}` : `was ended by ${status}`;
    const lastLine = stderr.trimEnd().split('\n').at(-1)?.trim();
    super(lastLine ? `${name} ${how}: ${lastLine}` : `${name} ${how} and printed no error.`);
    this.name = 'CommandError';
    this.program = name;
    this.status = status;
    this.stderr = stderr;
  }
}
