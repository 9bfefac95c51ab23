import type {Writable} from 'node:stream';
import {UserError} from '../errors.js';
import type {Owner} from './owner.js';

/** A program and its arguments, as a value: an array, so that no shell ever reads an input. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** Added to the environment; secrets travel here and never in `args`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A constant script for a host's `sh`, and its arguments. */
export function shell(script: string, args: readonly string[]): Command {
  return {program: 'sh', args: ['-c', script, 'sh', ...args]};
}

/** What goes into a running program and where its output goes. */
export interface RunOptions {
  /**
   * Fed to the program's standard input; without it the input is empty. A piece of 64 KiB or more may be gone when
   * the next one is asked for.
   */
  readonly stdin?: AsyncIterable<Uint8Array | string> | string;
  /** Takes the program's standard output; without it the output is kept and returned. */
  readonly stdout?: Writable;
  /** Called with every complete line of standard error as it is written. */
  readonly onErrorLine?: (line: string) => void;
  /** Aborted: the program is ended with all its children, and `run` throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Given the program's process id once it runs, to hold it back by. Its children are left alone. */
  readonly onStart?: (pid: number) => void;
  /**
   * The program starts no others, and so needs no process group and no session of its own. Linux gives each session a
   * share of the processor (sched_autogroup): on a busy machine two that feed each other from two shares take 2.5
   * times as long.
   */
  readonly startsNoOthers?: boolean;
  /** Run to its end although the run is cancelled: for stopping servers and removing files. */
  readonly cleanup?: boolean;
  /** With `cleanup`: SIGTERM tells the program alone when the run is cancelled; what it does then is its own affair. */
  readonly tellsCancellation?: boolean;
}

/** What a program that succeeded wrote. */
export interface Output {
  /** Empty when it went to `RunOptions.stdout`. */
  readonly stdout: string;
  /** The last 64 KiB. */
  readonly stderr: string;
}

/** How a server of a host is reached from the runner. */
export interface Network {
  /** The address that it must listen on: `127.0.0.1`, or a container's own. */
  readonly address: string;
  /** The runner's address as that server sees it. */
  readonly clientAddress: string;
  /** False where that address leads nowhere from the runner. */
  readonly isReachable: boolean;
}

/** What starting a server needs to know. */
export interface Launching {
  readonly logPath: string;
  readonly timeoutSeconds: number;
  /** Asked again and again until it says so, or the time is over. */
  readonly isReady: () => Promise<boolean>;
}

/** A directory whose files are meant for the runner. */
export interface Outbox {
  /** Where the program runs that fills it. */
  readonly host: Host;
  readonly path: string;
  /** Moves the files to the runner. */
  deliver(): Promise<void>;
  /** Ends its host, and removes what is left of it; the runner's directory stays. */
  close(): Promise<void>;
}

/** How an archive is extracted. */
export interface ExtractOptions {
  /** The program that decompresses the stream; without it tar gets the stream as it is. */
  readonly codec?: string;
  /** Most bytes that may come out of `codec`. Not exact: tar looks at every record of 64 KiB. */
  readonly limitBytes?: number;
}

/** The refusal of a text file that is longer than any of its kind. */
export function tooLong(path: string, limitBytes: number): UserError {
  return new UserError(
    `${path} has more than ${limitBytes} bytes, which is more than any such file has.`,
    'Nothing was started. Restore another backup (backup-name), and find out who made this one.',
  );
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
  /** For files that outlive no step: the runner's temporary folder. */
  readonly scratchDirectory: string;
  /** How later steps reach a server of this host. */
  readonly network: Network;

  /** What to do when PostgreSQL's programs of a major version are missing here: text to paste. */
  adviseInstall(what: 'client' | 'server', major: number): string;
  /** A command line that runs a command here as root: text to paste into an earlier step. */
  adviseAsRoot(command: string): string;

  /** Runs a program in a process group of its own. Throws a CommandError when its status is not 0. */
  run(command: Command, options?: RunOptions): Promise<Output>;
  /** The path of a program on PATH, links resolved, or undefined. */
  findOnPath(program: string): Promise<string | undefined>;
  /**
   * Starts a server that goes on after this run, its output appended to a log, and returns when it is ready or has
   * ended. Present where a server must not be left to the host's first process, as `pg_ctl start` leaves it.
   */
  readonly launch?: (command: Command, launching: Launching) => Promise<void>;

  /**
   * Ends the programs that a dead run has left here, a server among them, and returns their names. Present where they go
   * on unseen by the runner. Throws an Error that names those that do not end.
   */
  readonly endOrphans?: (owner: Owner) => Promise<readonly string[]>;

  /**
   * Extracts a tar stream into a directory, everything owned by `user`. Names that lead out of the directory, and a
   * second file of the same name, are refused by tar itself. Throws a CommandError; `isOverLimit` knows one that came
   * of `limitBytes`. What the stream throws is passed on. A piece of 64 KiB or more may be gone when the next one is
   * asked for.
   */
  extract(stream: AsyncIterable<Buffer>, directory: string, options?: ExtractOptions): Promise<void>;
  /** Throws a CommandError when a directory of the runner cannot be read by whom `receive` needs. */
  checkReadable(runnerDirectory: string): Promise<void>;
  /** Makes a directory of the runner readable here: itself, or a copy at `path`; returns where it is. */
  receive(runnerDirectory: string, path: string): Promise<string>;
  /** Where a program fills a directory that shall end up in `runnerDirectory`, which exists. */
  openOutbox(runnerDirectory: string): Promise<Outbox>;

  /** What is at a path. */
  look(path: string): Promise<'absent' | 'file' | 'directory' | 'empty-directory' | 'other'>;
  /** Names in a directory, sorted; empty when it is absent. */
  list(directory: string): Promise<readonly string[]>;
  /** Makes a directory and its missing parents; it, also if it was there, is then `user`'s with mode 0700. */
  makeDirectory(path: string): Promise<void>;
  /** Makes an empty directory below another, owned by `user`, mode 0700. */
  makeTemporaryDirectory(parent: string): Promise<string>;
  /**
   * The text of a file, or undefined when it is absent. Throws a UserError when it has more than `limitBytes`: a
   * stranger's file may be as large as it likes.
   */
  readText(path: string, limitBytes?: number): Promise<string | undefined>;
  /** Writes a file owned by `user`, mode 0600 (0700 when `executable`). */
  writeText(path: string, text: string, options?: {executable?: boolean}): Promise<void>;
  /** Removes files, and directories with all that is in them; nothing happens for what is absent. */
  remove(...paths: readonly string[]): Promise<void>;
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
    const lines = stderr.trimEnd().split('\n');
    // pg_basebackup goes on to tell of its cleaning up after the error.
    const lastLine = (
      lines.findLast((line) => /\b(error|ERROR|FATAL|PANIC): /.test(line)) ?? lines.at(-1)
    )?.trim();
    super(lastLine ? `${name} ${how}: ${lastLine}` : `${name} ${how} and printed no error.`);
    this.name = 'CommandError';
    this.program = name;
    this.status = status;
    this.stderr = stderr;
  }
}

/**
 * Whether a program was ended from outside, and so has said nothing of what it read: by SIGKILL or SIGTERM, or with the
 * status that a shell tells of one.
 */
export function wasKilled({status}: CommandError): boolean {
  return typeof status === 'string' ? /^SIG(KILL|TERM)$/.test(status) : [137, 143].includes(status);
}
