import {DamagedBackupError, DamageError} from '../backup-set/digest.js';
import {info} from '../log.js';

/** More of them say nothing new; a directory that was deleted would fill the whole log. */
const mostLogged = 500;
const mostShown = 20;

/** What is wrong with a backup, file by file, so that all of it is told together. */
export class Problems {
  readonly #lines: string[] = [];
  readonly #files = new Set<string>();
  #isCertain = false;
  #count = 0;

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Whether one of them is that a stored file is not the one that was recorded, and nothing else can be the reason. */
  get isCertain(): boolean {
    return this.#isCertain;
  }

  /** Notes a problem of a file, as its name is shown to people. */
  add(file: string, reason: string): void {
    this.#count += 1;
    this.#files.add(file);
    if (this.#lines.length < mostLogged) this.#lines.push(`${file}: ${reason}`);
  }

  /** Notes that a file is damaged. */
  take({file, reason, isCertain}: DamageError): void {
    this.add(file, reason);
    if (isCertain) this.#isCertain = true;
  }

  /** Does something that may find a file damaged, and notes that; every other error goes on. */
  async collect<T>(work: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      this.take(error);
      return undefined;
    }
  }

  /** Throws a DamagedBackupError that tells the problems, if there are any. */
  refuse(): void {
    if (this.#count === 0) return;
    for (const line of this.#lines) info(line);
    const shown = this.#lines.slice(0, mostShown);
    const rest = this.#count - shown.length;
    const more = rest > 0 ? `\nand ${rest} more, in the log of the step` : '';
    const [only] = shown;
    throw new DamagedBackupError(
      this.#count === 1
        ? `The backup is damaged: ${only}.`
        : `The backup is damaged: ${this.#count} problems.\n${shown.join('\n')}${more}`,
      'Nothing was changed. Take a new backup, verify another one (backup-name), and find out what changed this one.',
      {files: [...this.#files], isCertain: this.#isCertain},
    );
  }
}
