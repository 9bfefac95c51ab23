import {once} from 'node:events';
import {Worker} from 'node:worker_threads';
import {UserError} from '../errors.js';

/** What the thread of a valve looks at. */
export interface Watched {
  /** The process id of the program that writes the files, 0 until it runs; shared with the thread. */
  readonly program: Int32Array<SharedArrayBuffer>;
  readonly directory: string;
  /** Bytes that may lie there before the program is held back. */
  readonly windowBytes: number;
}

/** Is told when the program is held back, and when it goes on. */
export interface Witness {
  held(): void;
  released(): void;
}

/** How long a program may be held back, and what for. */
export interface Holding extends Pick<Watched, 'directory' | 'windowBytes'> {
  /** At a time. */
  readonly stallTimeoutSeconds: number;
}

/** Holds a program back while what it writes is not taken away as fast. */
export class Valve {
  readonly #stallTimeoutSeconds: number;
  readonly #controller = new AbortController();
  readonly #program = new Int32Array(new SharedArrayBuffer(4));
  readonly #thread: Worker;
  #witness: Witness | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Starts the thread, which has to run before the program: that may fill a disk sooner than a thread starts. */
  static async open({stallTimeoutSeconds, directory, windowBytes}: Holding): Promise<Valve> {
    const valve = new Valve(stallTimeoutSeconds, {directory, windowBytes});
    await once(valve.#thread, 'message');
    valve.#thread.on('error', (error) => valve.#controller.abort(error));
    valve.#thread.on('message', (what: 'held' | 'released') => valve.#note(what));
    return valve;
  }

  private constructor(stallTimeoutSeconds: number, watched: Omit<Watched, 'program'>) {
    this.#stallTimeoutSeconds = stallTimeoutSeconds;
    this.#thread = new Worker(new URL('./valve-thread.ts', import.meta.url), {
      workerData: {...watched, program: this.#program},
    });
  }

  /** Aborted, with the reason, when the program was held back for too long. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Takes charge of a program by its process id. */
  attach(pid: number, witness: Witness): void {
    this.#witness = witness;
    Atomics.store(this.#program, 0, pid);
    Atomics.notify(this.#program, 0);
  }

  /** Lets the program go on. */
  async close(): Promise<void> {
    await this.#thread.terminate();
    clearTimeout(this.#timer);
    const pid = Atomics.load(this.#program, 0);
    if (pid === 0) return;
    try {
      process.kill(pid, 'SIGCONT');
    } catch (error) {
      // It has ended, and another one may have its number.
      if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }

  #note(what: 'held' | 'released'): void {
    clearTimeout(this.#timer);
    this.#witness?.[what]();
    if (what === 'held') this.#timer = setTimeout(() => this.#stall(), this.#stallTimeoutSeconds * 1000);
  }

  #stall(): void {
    this.#controller.abort(tooSlow(this.#stallTimeoutSeconds));
  }
}

function tooSlow(seconds: number): UserError {
  return new UserError(
    `pg_basebackup was held back for ${seconds} s (stall-timeout), because the storage had not taken what was there, and the backup was ended: a client that waits holds up the server.`,
    'Look at the link to the storage, compress more (compress: client-zstd:level=9,workers=4), set artifact-part-size lower (storage: artifact), or set stall-timeout higher.',
  );
}
