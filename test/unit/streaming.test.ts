import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setImmediate as turn} from 'node:timers/promises';
import fc from 'fast-check';
import {pack} from 'tar-stream';
import {afterEach, beforeEach, describe, expect, test, vi} from 'vitest';
import {GrowingFile} from '../../src/backup/growing-file.js';
import {Valve} from '../../src/backup/valve.js';
import {rateWithin} from '../../src/backup/window.js';
import {finishedSegments} from '../../src/backup-set/wal-archive.js';
import {messageOf} from '../../src/errors.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'streaming-'));
});
afterEach(() => rmSync(directory, {recursive: true, force: true}));

describe('a file that grows', () => {
  const release = async () => undefined;

  async function readAll(file: GrowingFile): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of file.read()) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  }

  test('is read to the byte, however it is written', async () => {
    const parts = fc.array(fc.uint8Array({minLength: 1, maxLength: 5000}), {maxLength: 8});
    let count = 0;
    await fc.assert(
      fc.asyncProperty(parts, async (written) => {
        count += 1;
        const path = join(directory, String(count));
        appendFileSync(path, '');
        const file = new GrowingFile(path, {release, signal: new AbortController().signal});
        const reading = readAll(file);
        for (const part of written) {
          appendFileSync(path, part);
          await turn();
        }
        file.complete();
        expect(await reading).toEqual(Buffer.concat(written));
      }),
      {numRuns: 25},
    );
  });

  test('gives back what was read, in blocks, and never what was not', async () => {
    const path = join(directory, 'large');
    const content = Buffer.alloc(20 * 2 ** 20 + 77, 7);
    appendFileSync(path, content);
    const released: [number, number][] = [];
    const file = new GrowingFile(path, {
      release: async (from, length) => void released.push([from, from + length]),
      signal: new AbortController().signal,
    });
    file.complete();
    let taken = 0;
    for await (const piece of file.read()) {
      for (const [, to] of released) expect(to).toBeLessThanOrEqual(taken);
      taken += piece.length;
    }
    expect(taken).toBe(content.length);
    expect(released.length).toBeGreaterThan(1);
    // Without a gap, but for what is left of a block, which the next one has again.
    released.reduce((end, [from, to]) => {
      expect(from % 4096).toBe(0);
      expect(from).toBeLessThanOrEqual(end);
      return to;
    }, 0);
  });

  test('is not read on after the end of it all', async () => {
    const path = join(directory, 'cut');
    appendFileSync(path, 'begin');
    const controller = new AbortController();
    const file = new GrowingFile(path, {release, signal: controller.signal});
    const reading = readAll(file);
    controller.abort(new Error('The store is gone.'));
    await expect(reading).rejects.toThrow('The store is gone.');
  });

  test('that becomes shorter is a fault', async () => {
    const path = join(directory, 'shorter');
    appendFileSync(path, Buffer.alloc(2 ** 20));
    const file = new GrowingFile(path, {release, signal: new AbortController().signal});
    file.complete();
    const pieces = file.read();
    await pieces.next();
    truncateSync(path, 10);
    await expect(
      (async () => {
        for (let next = await pieces.next(); !next.done; next = await pieces.next());
      })(),
    ).rejects.toThrow('became shorter');
  });
});

describe('a pg_wal.tar that is being written', () => {
  /** Headers and contents as tar-stream makes them, in one piece each. */
  async function archiveOf(members: readonly {name: string; content: Buffer}[]): Promise<Buffer> {
    const archive = pack();
    for (const {name, content} of members) archive.entry({name}, content);
    archive.finalize();
    const pieces: Buffer[] = [];
    for await (const piece of archive) pieces.push(piece as Buffer);
    return Buffer.concat(pieces);
  }

  async function settledOf(content: Buffer, from = 0): Promise<number> {
    const path = join(directory, 'pg_wal.tar');
    const handle = await open(path, 'w+');
    try {
      await handle.write(content);
      return await finishedSegments(handle, from, content.length);
    } finally {
      await handle.close();
    }
  }

  const segment = (byte: number) => ({
    name: `00000001000000000000000${byte}`,
    content: Buffer.alloc(8192, byte),
  });

  test('is settled up to its last member that tells its size, and never in its midst', async () => {
    const whole = await archiveOf([segment(1), segment(2)]);
    const [first, second] = [512 + 8192, 2 * (512 + 8192)];
    await fc.assert(
      fc.asyncProperty(fc.integer({min: 0, max: whole.length}), async (length) => {
        const expected = length >= second ? second : length >= first ? first : 0;
        expect(await settledOf(whole.subarray(0, length))).toBe(expected);
      }),
      {numRuns: 100},
    );
    expect(await settledOf(whole, first)).toBe(second);
  });

  test('is settled behind what says that a segment is done, which is empty', async () => {
    const done = {name: 'archive_status/000000010000000000000001.done', content: Buffer.alloc(0)};
    const content = await archiveOf([segment(1), done, segment(2)]);
    const length = 512 + 8192 + 512 + 512 + 8192;
    expect(await settledOf(content.subarray(0, length))).toBe(length);
  });

  test('is not settled where a segment has its space but not its size yet', async () => {
    const begun = await archiveOf([segment(1)]);
    const inWork = await archiveOf([{...segment(2), content: Buffer.alloc(0)}]);
    const content = Buffer.concat([
      begun.subarray(0, 512 + 8192),
      inWork.subarray(0, 512),
      Buffer.alloc(8192),
    ]);
    expect(await settledOf(content)).toBe(512 + 8192);
  });

  test('is not settled by a header of which half is written', async () => {
    const content = await archiveOf([segment(1)]);
    content.fill(0, 130, 512);
    expect(await settledOf(content)).toBe(0);
  });
});

describe('a program that writes faster than its files are taken', () => {
  const windowBytes = 2 ** 20;
  let archive: string;
  let writer: ChildProcess;
  let valve: Valve;
  let seen: string[];

  beforeEach(() => {
    archive = join(directory, 'base.tar');
    seen = [];
    const line = `while :; do head --bytes=65536 /dev/zero >> '${archive}'; echo >> '${join(directory, 'pg_wal.tar')}'; done`;
    writer = spawn('sh', ['-c', line], {stdio: 'ignore'});
  });
  afterEach(async () => {
    await valve.close();
    writer.kill('SIGKILL');
    await once(writer, 'exit');
  });

  async function attach(stallTimeoutSeconds: number): Promise<void> {
    valve = await Valve.open({directory, windowBytes, stallTimeoutSeconds});
    const witness = {held: () => seen.push('held'), released: () => seen.push('released')};
    valve.attach(writer.pid ?? 0, witness);
  }
  /** `T`: held (proc(5)). */
  const state = () => /\) (\w)/.exec(readFileSync(`/proc/${writer.pid}/stat`, 'utf8'))?.[1];

  test('is held back at the window, and goes on below it, however often', async () => {
    await attach(60);
    for (let round = 1; round <= 3; round += 1) {
      await vi.waitFor(() => expect(seen).toHaveLength(2 * round - 1), 20_000);
      // It may have to end a system call first.
      await vi.waitFor(() => expect(state()).toBe('T'), 20_000);
      truncateSync(archive, 0);
    }
    await vi.waitFor(() => expect(seen).toHaveLength(7), 20_000);
    expect(seen).toEqual(['held', 'released', 'held', 'released', 'held', 'released', 'held']);
    expect(valve.signal.aborted).toBe(false);
    await valve.close();
    await vi.waitFor(() => expect(state()).not.toBe('T'), 20_000);
  });

  test('is held back no longer than stall-timeout', async () => {
    await attach(0.1);
    await vi.waitFor(() => expect(valve.signal.aborted).toBe(true), 20_000);
    expect(messageOf(valve.signal.reason)).toContain('was held back for 0.1 s (stall-timeout)');
    expect(seen).toEqual(['held']);
  });

  test('may have ended', async () => {
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    writeFileSync(archive, Buffer.alloc(2 * windowBytes, 1));
    await attach(60);
    await vi.waitFor(() => expect(seen).toEqual(['held']), 20_000);
    await valve.close();
    expect(valve.signal.aborted).toBe(false);
    writer = spawn('true');
  });
});

test.for([
  ['a disk with room for any rate', {freeBytes: 14e9, storeDiskBytes: 1e9}, undefined, undefined],
  ['the same, and a rate that was asked for', {freeBytes: 14e9, storeDiskBytes: 1e9}, '32M', '32M'],
  ['a small disk', {freeBytes: 124 * 2 ** 20, storeDiskBytes: 0}, undefined, '204800k'],
  [
    'a small disk that parts lie on, too',
    {freeBytes: 124 * 2 ** 20, storeDiskBytes: 50 * 2 ** 20},
    undefined,
    '102400k',
  ],
  [
    'a small disk, and a slower rate that was asked for',
    {freeBytes: 124 * 2 ** 20, storeDiskBytes: 0},
    '500',
    '500',
  ],
  ['a small disk, and a faster one', {freeBytes: 124 * 2 ** 20, storeDiskBytes: 0}, '1024M', '204800k'],
  ['a disk that is nearly full', {freeBytes: 2 ** 20, storeDiskBytes: 0}, undefined, '8192k'],
] as const)('the rate on %s', ([, space, asked, expected]) => {
  expect(rateWithin(space, asked)).toBe(expected);
});
