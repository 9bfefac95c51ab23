import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import fc from 'fast-check';
import {describe, expect, onTestFinished, test} from 'vitest';
import {parseManifest} from '../../src/backup-set/manifest.js';
import type {Host} from '../../src/host/host.js';
import {runner} from '../../src/host/local.js';
import {ignoredBy, verifyManifest} from '../../src/restore/unpack/verify-manifest.js';
import {manifestText} from '../support/manifest.js';

const megabyte = 2 ** 20;

const manifestOf = (sizes: Readonly<Record<string, number>>) =>
  parseManifest(manifestText(Object.entries(sizes).map(([path, size]) => ({Path: path, Size: size}))));

const relations = (count: number, megabytes: number) =>
  Object.fromEntries(Array.from({length: count}, (_, n) => [`base/5/${16384 + n}`, megabytes * megabyte]));

/** Runs the comparison on two cores, of a cluster that is dealt out, by a script in the place of pg_verifybackup. */
async function compareBy(script: string): Promise<readonly string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'verify-'));
  onTestFinished(() => rmSync(directory, {recursive: true}));
  writeFileSync(join(directory, 'backup_manifest'), '');
  const calls = join(directory, 'calls');
  const text = `#!/bin/sh\necho "$*" >> '${calls}'\n${script}\n`;
  writeFileSync(join(directory, 'pg_verifybackup'), text, {mode: 0o755});
  const host: Host = {...runner(new AbortController().signal, directory), cores: 2};
  const manifest = manifestOf(relations(2, 100));
  await verifyManifest(
    host,
    {directory, major: 15, version: ''},
    {dataDirectory: directory, hasWal: true, manifest},
  );
  return readFileSync(calls, 'utf8').trimEnd().split('\n');
}

describe('the comparison with the manifest', () => {
  test('is done side by side, the WAL by one of them', async () => {
    const calls = await compareBy('exit 0');
    expect(calls).toHaveLength(2);
    expect(calls.filter((args) => args.startsWith('--no-parse-wal'))).toHaveLength(1);
    expect(calls.map((args) => args.match(/--ignore=\S+/g)).sort()).toEqual([
      ['--ignore=base/5/16384'],
      ['--ignore=base/5/16385'],
    ]);
  });

  test('fails when one of them does, with its line', async () => {
    const script = `case "$*" in *--ignore=base/5/16384*) echo 'pg_verifybackup: error: checksum mismatch for file "base/5/16385"' >&2; exit 1 ;; esac`;
    await expect(compareBy(script)).rejects.toThrow(
      'differ from it:\nchecksum mismatch for file "base/5/16385"',
    );
  });

  test('tells once what all of them say', async () => {
    const script = `echo 'pg_verifybackup: error: "strange" is present on disk but not in the manifest' >&2; exit 1`;
    await expect(compareBy(script)).rejects.toThrow(
      /differ from it:\n"strange" is present on disk but not in the manifest\.?$/,
    );
  });

  test('that is killed has found no damage', async () => {
    await expect(compareBy('kill -9 $$')).rejects.toThrow(
      'Whether the backup is whole is not known: pg_verifybackup was ended by SIGKILL',
    );
  });

  test('is dealt out by size', () => {
    const sizes = {
      'base/5/16384': 700,
      'base/5/16384.1': 400,
      'pg_tblspc/16400/PG_15_202209061/5/16401': 500,
      'base/5/16385_fsm': 1,
      'global/1262': 1,
    };
    const manifest = manifestOf(
      Object.fromEntries(Object.entries(sizes).map(([path, size]) => [path, size * megabyte])),
    );
    expect(ignoredBy(manifest, 2)).toEqual([
      ['pg_tblspc/16400/PG_15_202209061/5/16401', 'base/5/16384.1'],
      ['base/5/16384'],
    ]);
  });

  test.each([
    ['on one core', manifestOf(relations(10, 100)), 1],
    ['where little is to be compared', manifestOf(relations(10, 1)), 4],
    ['where most of it is in small files', manifestOf(relations(9000, 1)), 4],
    ['of what no relation file is', manifestOf({'base/5/INCREMENTAL.16384': 900 * megabyte}), 4],
    ['without a manifest beforehand', undefined, 4],
  ])('is left to one process %s', (_, manifest, cores) => {
    expect(ignoredBy(manifest, cores)).toEqual([[]]);
  });

  test('leaves no file to nobody', () => {
    const path = fc.oneof(
      fc.tuple(fc.nat(3), fc.nat(30)).map(([database, relation]) => `base/${database}/${relation}`),
      fc.constantFrom('global/1', 'base/1/2_vm', 'base/1/x=y', 'base/1/-i', 'base/1/2 3', 'base/1'),
    );
    const sizes = fc.dictionary(path, fc.integer({min: 0, max: 500 * megabyte}), {
      minKeys: 1,
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(sizes, fc.integer({min: 1, max: 12}), (files, cores) => {
        const shares = ignoredBy(manifestOf(files), cores);
        for (const name of Object.keys(files))
          expect(
            shares.some((ignored) => !ignored.some((one) => name === one || name.startsWith(`${one}/`))),
          ).toBe(true);
      }),
    );
  });
});
