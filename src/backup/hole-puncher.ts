import {PassThrough, Writable} from 'node:stream';
import {type Host, shell} from '../host/host.js';

/** The program that gives the disk space of what was stored back, from util-linux. */
export const holePuncher = 'fallocate';

/** One line in, `offset length name`; out comes what the program says, and a line with its exit status. */
const script = `while read -r offset length name; do
  ${holePuncher} --punch-hole --offset="$offset" --length="$length" "$1/$name" 2>&1
  echo "= $?"
done`;

const statusLine = /^= (\d+)\n/m;

/** Bytes of a file that are of no use any more. */
export interface Hole {
  /** Of the file, in the directory. */
  readonly name: string;
  readonly fromByte: number;
  readonly lengthBytes: number;
}

/**
 * Gives disk space back, by a shell that stays. A program that this process itself starts makes every page of its
 * memory one that has to be copied when it is next written to (fork(2)): at one program for every 8 MiB that took half
 * of the processor time of an upload.
 */
export class HolePuncher {
  readonly #input = new PassThrough();
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  readonly #running: Promise<void>;
  #failure: unknown;
  #hasEnded = false;

  /** Works on the files of a directory until it is closed. */
  constructor(runner: Host, directory: string) {
    const command = shell(script, [directory]);
    this.#running = runner
      .run(command, {stdin: this.#input, stdout: this.#replies()})
      .then(() => undefined)
      .catch((error: unknown) => {
        this.#failure = error;
      })
      .finally(() => {
        this.#hasEnded = true;
        for (const punching of this.#waiting.splice(0)) punching.reject(this.#endedEarly());
      });
  }

  /** Throws an Error with the program's words when the file system does not do it. */
  punch({name, fromByte, lengthBytes}: Hole): Promise<void> {
    if (this.#hasEnded) return Promise.reject(this.#endedEarly());
    const punching = Promise.withResolvers<void>();
    this.#waiting.push(punching);
    this.#input.write(`${fromByte} ${lengthBytes} ${name}\n`);
    return punching.promise;
  }

  /** Ends the shell after what it was told. */
  async close(): Promise<void> {
    this.#input.end();
    await this.#running;
  }

  #endedEarly(): unknown {
    return this.#failure ?? new Error('The shell that gives disk space back has ended.');
  }

  #replies(): Writable {
    let text = '';
    return new Writable({
      write: (chunk: Buffer, _, done) => {
        text += chunk.toString('utf8');
        for (let end = statusLine.exec(text); end; end = statusLine.exec(text)) {
          this.#reply(end[1] === '0', text.slice(0, end.index));
          text = text.slice(end.index + end[0].length);
        }
        done();
      },
      // It has ended, perhaps by a signal, and reads nothing more.
      final: (done) => {
        this.#input.end();
        done();
      },
    });
  }

  #reply(isDone: boolean, told: string): void {
    const punching = this.#waiting.shift();
    if (isDone) punching?.resolve();
    else punching?.reject(new Error(told.trim()));
  }
}
