import {createReadStream} from 'node:fs';
import {readdir, realpath, rm, stat, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import type {Encryption} from '../backup-set/encryption/encryption.js';
import {encryptedName} from '../backup-set/encryption/names.js';
import type {BackupFile, Metadata} from '../backup-set/metadata.js';
import {finishedSegments} from '../backup-set/wal-archive.js';
import {UserError} from '../errors.js';
import type {Claim} from '../host/claim.js';
import {makeDirectories} from '../host/directories.js';
import {CommandError, type Host} from '../host/host.js';
import {groupedPhase, phase} from '../log.js';
import {explain} from '../postgres/failures.js';
import type {Receiver, Store, StoredBackup} from '../store/store.js';
import {describeBackup} from './describe.js';
import {GrowingFile} from './growing-file.js';
import {HolePuncher} from './hole-puncher.js';
import {openFiles} from './open-files.js';
import type {BackupPlan} from './plan.js';
import {makePartial, removeAll, requireFiles, requireManifest, runBasebackup} from './take.js';
import {Valve, type Witness} from './valve.js';
import {rateWithin, windowBytes} from './window.js';

const lookEveryMilliseconds = 20;

/** What streaming a backup works with. */
export interface Streaming {
  readonly runner: Host;
  readonly store: Store;
  /** Records what is written. */
  readonly claim: Claim;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
}

/**
 * Runs pg_basebackup and stores its files while it writes them. Not through its standard output, which takes neither
 * tablespaces nor a WAL stream: the files are the same as those of any backup, read as they grow, their disk space
 * given back, and pg_basebackup waits when the store is slower. Either all of it is stored, or nothing stays.
 */
export async function streamBackup(
  plan: BackupPlan,
  streaming: Streaming,
): Promise<{readonly metadata: Metadata; readonly stored: StoredBackup}> {
  const {request, mostBytes, partialDirectory, finalDirectory} = plan;
  const {receiving} = streaming.store;
  if (receiving === undefined) throw new Error('The store takes no backup that is still being made.');
  const partsDirectory = `${finalDirectory}.parts`;
  const made = receiving.diskBytes > 0 ? [partialDirectory, partsDirectory] : [partialDirectory];
  const startedAt = new Date();
  for (const directory of made) await makeDirectories(dirname(directory));
  const mark = await streaming.claim.mark(partialDirectory);
  let puncher: HolePuncher | undefined;
  try {
    for (const directory of made) await makePartial(directory);
    await mark.note(made);
    puncher = new HolePuncher(streaming.runner, partialDirectory);
    await requireHoles(puncher, partialDirectory);
    const receiver = await receiving.begin({name: request.name, mostBytes, partsDirectory});
    try {
      const taken = await forwardBackup(plan, {...streaming, receiver, puncher});
      const metadata = await describeBackup(plan, {...taken, startedAt});
      return {metadata, stored: await receiver.finish(metadata)};
    } catch (error) {
      await receiver.abandon();
      throw error;
    }
  } finally {
    await puncher?.close();
    await removeAll(made);
    await mark.release();
  }
}

async function forwardBackup(
  plan: BackupPlan,
  {runner, store, receiver, puncher, signal}: Streaming & {receiver: Receiver; puncher: HolePuncher},
) {
  const {partialDirectory: directory, request, encryption} = plan;
  const failing = new AbortController();
  const {stallTimeoutSeconds} = request;
  const valve = await Valve.open({directory, windowBytes, stallTimeoutSeconds});
  const forwarder = new Forwarder(directory, {
    puncher,
    receiver,
    encryption,
    signal: AbortSignal.any([signal, failing.signal]),
  });
  const forwarding = forwarder.run();
  forwarding.catch((error: unknown) => failing.abort(error));
  try {
    const flow = {
      attach(pid: number, witness: Witness) {
        forwarder.watch(pid);
        valve.attach(pid, witness);
      },
      signal: AbortSignal.any([failing.signal, valve.signal]),
    };
    const freeBytes = await runner.freeBytes(directory);
    const storeDiskBytes = store.receiving?.diskBytes ?? 0;
    const maxRate = rateWithin({freeBytes, storeDiskBytes}, request.maxRate);
    const paced = {...plan, request: {...request, ...(maxRate !== undefined && {maxRate})}};
    const warnings = await groupedPhase('pg_basebackup', () => runBasebackup(paced, flow));
    const manifest = await requireManifest(directory);
    await requireFiles(plan);
    forwarder.complete();
    return {manifest, warnings, files: await phase('Store the rest', () => forwarding)};
  } catch (error) {
    failing.abort(error);
    throw error instanceof CommandError ? explain('The backup failed', error, plan.client.connection) : error;
  } finally {
    await valve.close();
    // Nothing may still be read when the files are removed.
    await forwarding.catch(() => undefined);
  }
}

/** What a forwarder works with. */
interface Forwarding {
  readonly puncher: HolePuncher;
  readonly receiver: Receiver;
  readonly encryption: Encryption | undefined;
  /** Aborted: nothing more is stored. */
  readonly signal: AbortSignal;
}

/** Hands the files of a directory to a store while they are written. */
class Forwarder {
  readonly #directory: string;
  readonly #forwarding: Forwarding;
  readonly #files = new Map<string, GrowingFile>();
  readonly #puts: Promise<BackupFile>[] = [];
  /** Archives that were seen, and not open. */
  readonly #closed = new Set<string>();
  /** As the system tells it of open files. */
  #realDirectory: string;
  #pid: number | undefined;
  #isWriter = false;
  #isComplete = false;

  constructor(directory: string, forwarding: Forwarding) {
    this.#directory = directory;
    this.#realDirectory = directory;
    this.#forwarding = forwarding;
  }

  /** Says which program writes the archives. */
  watch(pid: number): void {
    this.#pid = pid;
  }

  /** Says that all files are written. */
  complete(): void {
    this.#isComplete = true;
  }

  /** Returns what was stored when all is. */
  async run(): Promise<readonly BackupFile[]> {
    const {signal} = this.#forwarding;
    const failed = new AbortController();
    this.#realDirectory = await realpath(this.#directory);
    while (!this.#isComplete) {
      await this.#look(failed);
      await sleep(lookEveryMilliseconds);
      signal.throwIfAborted();
      failed.signal.throwIfAborted();
    }
    await this.#look(failed);
    for (const file of this.#files.values()) file.complete();
    const rest = (await readdir(this.#directory)).filter((name) => !this.#files.has(name));
    for (const name of rest) this.#puts.push(this.#putWhole(name));
    const stored = await Promise.all(this.#puts);
    await this.#requireAll();
    return stored.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async #look(failed: AbortController): Promise<void> {
    const pid = this.#pid;
    // Listed first: what is there and is not open is written to its end.
    const names = (await readdir(this.#directory)).filter((name) => /\.tar(\.\w+)?$/.test(name));
    const open = pid === undefined ? undefined : openFiles(pid, this.#realDirectory);
    for (const name of names) {
      if (open && !isWal(name)) this.#judge(name, open.has(name));
      if (this.#files.has(name)) continue;
      const put = this.#put(name);
      put.catch((error: unknown) => failed.abort(error));
      this.#puts.push(put);
    }
  }

  /**
   * Ends the reading of an archive that its writer has closed. Their order tells nothing: the server sends tablespaces
   * in that of a directory, and many may come and go between two looks. Twice, because a file is in its directory a
   * moment before the program has it open. A program that was never seen with one is not the writer itself.
   */
  #judge(name: string, isOpen: boolean): void {
    if (isOpen) {
      this.#isWriter = true;
      this.#closed.delete(name);
    } else if (this.#closed.has(name) && this.#isWriter) this.#files.get(name)?.complete();
    else this.#closed.add(name);
  }

  /** Throws when a file went on after its reading had ended: what was stored is not all of it. */
  async #requireAll(): Promise<void> {
    for (const [name, file] of this.#files) {
      const {size} = await stat(join(this.#directory, name));
      if (size !== file.takenBytes)
        throw new UserError(
          `${name} has ${size} bytes, of which ${file.takenBytes} were stored.`,
          'This should never be: please report it. Until then set artifact-part-size: none, or storage: directory.',
        );
    }
  }

  #put(name: string): Promise<BackupFile> {
    const {puncher, signal} = this.#forwarding;
    const file = new GrowingFile(join(this.#directory, name), {
      ...(isWal(name) && {settled: name === 'pg_wal.tar' ? finishedSegments : nothingSettled}),
      release: (fromByte, lengthBytes) => puncher.punch({name, fromByte, lengthBytes}),
      signal,
    });
    this.#files.set(name, file);
    return this.#store(name, file.read());
  }

  #putWhole(name: string): Promise<BackupFile> {
    return this.#store(name, createReadStream(join(this.#directory, name)));
  }

  #store(name: string, bytes: AsyncIterable<Buffer>): Promise<BackupFile> {
    const {receiver, encryption} = this.#forwarding;
    return encryption
      ? receiver.put(encryptedName(name), encryption.encrypt(bytes))
      : receiver.put(name, bytes);
  }
}

const isWal = (name: string) => name.startsWith('pg_wal.tar');

/** Of a compressed archive of WAL, headers are written again at places that cannot be told. */
const nothingSettled = async (_file: unknown, from: number) => from;

/** Throws a UserError when the file system keeps the space of what was stored. */
async function requireHoles(puncher: HolePuncher, directory: string): Promise<void> {
  const probe = join(directory, 'probe');
  try {
    await writeFile(probe, Buffer.alloc(8192));
    await puncher.punch({name: 'probe', fromByte: 0, lengthBytes: 8192});
  } catch (cause) {
    throw new UserError(
      `The disk of ${directory} cannot give back the space of what is stored while a file grows.`,
      'Set directory to a local disk (ext4, XFS, Btrfs), or artifact-part-size: none with storage: artifact.',
      {cause},
    );
  } finally {
    await rm(probe, {force: true});
  }
}
