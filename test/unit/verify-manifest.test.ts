import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {parseManifest} from '../../src/backup-set/manifest.js';
import {ignoredBy} from '../../src/restore/unpack/verify-manifest.js';
import {manifestText} from '../support/manifest.js';

const megabyte = 2 ** 20;

const manifestOf = (sizes: Readonly<Record<string, number>>) =>
  parseManifest(manifestText(Object.entries(sizes).map(([path, size]) => ({Path: path, Size: size}))));

const relations = (count: number, megabytes: number) =>
  Object.fromEntries(Array.from({length: count}, (_, n) => [`base/5/${16384 + n}`, megabytes * megabyte]));

describe('the comparison with the manifest', () => {
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
    ['where most of it is in small files', manifestOf(relations(2000, 1)), 4],
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
