import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, onTestFinished, test, vi} from 'vitest';
import {extraction, hasKilledPart, isOverLimit, lacksTar} from '../../src/host/extraction.js';
import {CommandError} from '../../src/host/host.js';
import {runner} from '../../src/host/local.js';

const recordBytes = 64 * 1024;

/** A directory with an archive of so many bytes, and one to unpack it into. */
function makeArchive(bytes: number): {readonly tar: Buffer; readonly into: string; readonly root: string} {
  const root = mkdtempSync(join(tmpdir(), 'extraction-'));
  onTestFinished(() => rmSync(root, {recursive: true}));
  const into = join(root, 'into');
  mkdirSync(into);
  // Head of the member, its blocks, and two blocks of zeros at the end.
  writeFileSync(join(root, 'file'), Buffer.alloc(bytes - 3 * 512, 7));
  const tar = execFileSync('tar', ['-c', '-b', '1', '-f', '-', '-C', root, 'file'], {maxBuffer: 1 << 24});
  expect(tar).toHaveLength(bytes);
  return {tar, into, root};
}

async function unpack(
  tar: Buffer,
  into: string,
  options?: {readonly codec?: string; readonly limitBytes?: number},
): Promise<CommandError | undefined> {
  const bytes = async function* () {
    // As a pipe gives them: in pieces that are no records.
    for (let at = 0; at < tar.length; at += 10_000) yield tar.subarray(at, at + 10_000);
  };
  const host = runner(new AbortController().signal, into);
  try {
    await host.run(extraction(into, options), {stdin: bytes()});
    return undefined;
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
}

/** A codec that does nothing, and ends with a status. */
function codec(root: string, status: number, end = `exit ${status}`): string {
  const path = join(root, 'codec');
  writeFileSync(path, `#!/bin/sh\ncat\n${end}\n`, {mode: 0o755});
  return path;
}

describe('an archive is unpacked', () => {
  test.each([
    ['as it is', undefined],
    ['by a codec', 0],
  ])('%s', async (_, status) => {
    const {tar, into, root} = makeArchive(5 * recordBytes + 512);
    const options = status === undefined ? {} : {codec: codec(root, status)};
    expect(await unpack(tar, into, options)).toBeUndefined();
    expect(readFileSync(join(into, 'file')).equals(readFileSync(join(root, 'file')))).toBe(true);
  });

  test('of exactly the size that it may have', async () => {
    const {tar, into, root} = makeArchive(5 * recordBytes);
    expect(await unpack(tar, into, {codec: codec(root, 0), limitBytes: tar.length})).toBeUndefined();
  });
});

describe('an archive fails', () => {
  test('that is larger than it may be', async () => {
    const {tar, into, root} = makeArchive(9 * recordBytes);
    const limitBytes = 5 * recordBytes;
    const error = await unpack(tar, into, {codec: codec(root, 0), limitBytes});
    expect(error && isOverLimit(error)).toBe(true);
  });

  test.each([
    ['as it is', undefined],
    ['by a codec', 0],
  ])('that was cut, %s', async (_, status) => {
    const {tar, into, root} = makeArchive(5 * recordBytes);
    const options = status === undefined ? {} : {codec: codec(root, status)};
    const error = await unpack(tar.subarray(0, 3 * recordBytes), into, options);
    expect(error?.stderr).toMatch(/Unexpected EOF|short read/);
  });

  test('whose codec fails behind the last byte', async () => {
    const {tar, into, root} = makeArchive(5 * recordBytes);
    const error = await unpack(tar, into, {codec: codec(root, 1)});
    expect(error?.stderr).toContain('Failed:');
    expect(error && hasKilledPart(error)).toBe(false);
  });

  test('whose codec is killed, which tar that stops reading does not do', async () => {
    const {tar, into, root} = makeArchive(40 * recordBytes);
    const killed = await unpack(tar, into, {codec: codec(root, 0, 'kill -9 $$')});
    expect(killed && hasKilledPart(killed)).toBe(true);
    const spoilt = await unpack(Buffer.alloc(tar.length, 'no tar'), into, {codec: codec(root, 0)});
    expect(spoilt && hasKilledPart(spoilt)).toBe(false);
  });

  test('where there is no tar', async () => {
    const {tar, into, root} = makeArchive(recordBytes);
    const programs = join(root, 'programs');
    mkdirSync(programs);
    for (const name of readdirSync('/usr/bin').filter((one) => one !== 'tar'))
      symlinkSync(join('/usr/bin', name), join(programs, name));
    vi.stubEnv('PATH', programs);
    onTestFinished(() => void vi.unstubAllEnvs());
    const error = await unpack(tar, into);
    expect(error && lacksTar(error)).toBe(true);
  });
});
