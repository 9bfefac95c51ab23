import fc from 'fast-check';
import {describe, expect, test} from 'vitest';
import {type CatalogEntry, verifiedOf} from '../../src/backup-set/catalog.js';
import {couldBe, hasCodes, nameAt, problemOfName} from '../../src/backup-set/naming.js';
import type {ProofLevel} from '../../src/backup-set/proof.js';
import {
  type DamageRecord,
  formatProof,
  isVerified,
  judge,
  type ProofRecord,
  parseProof,
  successor,
} from '../../src/backup-set/proof-file.js';
import {decideRetention, type KeepRules, type Retention} from '../../src/backup-set/retention.js';

const day = 86_400_000;
const year = Date.parse('2026-01-01T00:00:00Z');

function proofOf(reached: readonly ProofLevel[], more: Partial<ProofRecord> = {}): ProofRecord {
  return {
    schemaVersion: 1,
    name: 'nightly',
    metadataSha256: 'a'.repeat(64),
    proof: reached.at(-1) ?? 'transferred',
    reached,
    checks: [],
    provenAt: '2026-01-02T00:00:00.000Z',
    by: 'restore',
    serverVersion: null,
    actionRef: null,
    runUrl: null,
    ...more,
  };
}

function damageOf(more: Partial<DamageRecord> = {}): DamageRecord {
  return {
    schemaVersion: 1,
    name: 'nightly',
    metadataSha256: 'a'.repeat(64),
    damage: 'base.tar: it is missing',
    foundAt: '2026-01-02T12:00:00.000Z',
    by: 'verify',
    actionRef: null,
    runUrl: null,
    ...more,
  };
}

function entryAt(time: string | number, more: Partial<CatalogEntry> = {}): CatalogEntry {
  const finishedAt = new Date(time).toISOString();
  const name = more.name ?? `nightly-${finishedAt}`;
  return {
    id: `id of ${name}`,
    name,
    finishedAt,
    sizeBytes: 1,
    systemIdentifier: 'ours',
    metadataSha256: 'a'.repeat(64),
    ...more,
  };
}

const nightly = (name: string) => name.startsWith('nightly');

function decide(catalog: readonly CatalogEntry[], made: CatalogEntry, rules: KeepRules): Retention {
  return decideRetention(catalog, {rules, made, isOfKind: nightly});
}

const daysKept = ({kept}: Retention) => kept.map(({entry}) => entry.finishedAt.slice(0, 10));

describe('what is kept', () => {
  // 2026-03-01 was a Sunday, 2026-03-02 a Monday.
  const made = entryAt('2026-03-10T02:30:00Z');
  const days = [
    '2026-03-09',
    '2026-03-08',
    '2026-03-02',
    '2026-03-01',
    '2026-02-28',
    '2026-02-01',
    '2025-12-31',
  ];
  const catalog = [...days.map((date) => entryAt(`${date}T02:30:00Z`)), made];

  test.for([
    {rules: {last: 3}, kept: ['2026-03-10', '2026-03-09', '2026-03-08']},
    {rules: {last: 1}, kept: ['2026-03-10']},
    {rules: {daily: 2}, kept: ['2026-03-10', '2026-03-09']},
    {rules: {weekly: 3}, kept: ['2026-03-10', '2026-03-08', '2026-03-01']},
    {rules: {monthly: 3}, kept: ['2026-03-10', '2026-02-28', '2025-12-31']},
    {rules: {last: 2, monthly: 2}, kept: ['2026-03-10', '2026-03-09', '2026-02-28']},
  ])('with $rules', ({rules, kept}) => {
    expect(daysKept(decide(catalog, made, rules))).toEqual(kept);
  });

  test('is the newest of a day, which ends at midnight in UTC', () => {
    const [early, late, next] = ['2026-03-08T00:00:00Z', '2026-03-08T23:59:59Z', '2026-03-09T00:00:00Z'].map(
      (time) => entryAt(time),
    ) as [CatalogEntry, CatalogEntry, CatalogEntry];
    const {removed} = decide([early, late, next, made], made, {daily: 3});
    expect(removed).toEqual([early]);
  });

  test('is told with every reason', () => {
    const {kept} = decide(catalog, made, {last: 1, daily: 2, weekly: 1, monthly: 1});
    expect(kept.map(({reasons}) => reasons)).toEqual([
      [
        'just made',
        'keep-last',
        'keep-daily 2026-03-10',
        'keep-weekly from 2026-03-09',
        'keep-monthly 2026-03',
      ],
      ['keep-daily 2026-03-09'],
    ]);
  });

  test('are backups of another system or kind, always, and they take no place', () => {
    const foreign = [
      entryAt('2026-03-10T01:00:00Z', {name: 'nightly-of-another', systemIdentifier: 'another'}),
      entryAt('2026-03-10T01:30:00Z', {name: 'before-migration'}),
    ];
    const decided = decide([...foreign, ...catalog], made, {last: 2});
    expect(daysKept(decided)).toEqual(['2026-03-10', '2026-03-09']);
    expect(decided.removed.filter((entry) => foreign.includes(entry))).toEqual([]);
    expect(decided.others.map(({entry, reasons}) => [entry.name, ...reasons])).toEqual([
      ['before-migration', 'its name is of another kind'],
      ['nightly-of-another', 'of another system'],
    ]);
  });

  test('is the newest verified one, however old, and none with a lesser proof', () => {
    const verified = entryAt('2025-11-11T00:00:00Z', {proof: proofOf(['started', 'recovered'])});
    const older = entryAt('2025-11-10T00:00:00Z', {proof: proofOf(['started', 'recovered', 'read'])});
    const lesser = entryAt('2025-11-12T00:00:00Z', {proof: proofOf(['transferred', 'manifest-verified'])});
    const {kept, removed} = decide([verified, older, lesser, made], made, {last: 1});
    expect(kept.map(({entry}) => entry)).toEqual([made, verified]);
    expect(removed).toEqual([lesser, older]);
  });

  test('is as long as its turn is one that is damaged, and it takes no place from those that are whole', () => {
    const [newest, second, third] = ['2026-03-09', '2026-03-08', '2026-03-07'].map((date) =>
      entryAt(`${date}T02:30:00Z`),
    ) as [CatalogEntry, CatalogEntry, CatalogEntry];
    const damaged = {...newest, damage: damageOf()};
    const {kept, removed} = decide([damaged, second, third, made], made, {last: 2});
    expect(kept.map(({entry, reasons}) => [entry, ...reasons])).toEqual([
      [made, 'just made', 'keep-last'],
      [damaged, 'keep-last'],
      [second, 'keep-last'],
    ]);
    expect(removed).toEqual([third]);
  });

  test('is a damaged one that was proven, until a newer one is verified', () => {
    const proof = proofOf(['started', 'recovered']);
    const [newer, ended, older] = ['2026-03-09', '2026-03-08', '2026-03-07'].map((date) =>
      entryAt(`${date}T02:30:00Z`),
    ) as [CatalogEntry, CatalogEntry, CatalogEntry];
    const damaged = {...ended, damage: damageOf({endedProof: proof})};
    const proven = {...older, proof};
    const {kept} = decide([newer, damaged, proven, made], made, {last: 1});
    expect(kept.map(({entry, reasons}) => [entry, ...reasons]).slice(1)).toEqual([
      [damaged, 'verified, until damage was found'],
      [proven, 'newest verified'],
    ]);
    expect(decide([{...newer, proof}, damaged, proven, made], made, {last: 1}).removed).toEqual([
      damaged,
      proven,
    ]);
    const child = {...newer, parent: ended.name, proof};
    const chain = decide([child, {...ended, damage: damageOf()}, proven, made], made, {last: 1});
    expect(chain.kept.map(({reasons}) => reasons.join())).toEqual([
      'just made,keep-last',
      'verified, until damage was found',
      `needed by ${child.name}`,
      'newest verified',
    ]);
    const {removed} = decide([newer, {...damaged, damage: damageOf()}, made], made, {last: 1});
    expect(removed).toEqual([newer, {...damaged, damage: damageOf()}]);
  });

  test('is one that is whole beside those that build on a damaged one', () => {
    const full = entryAt('2026-03-08T00:00:00Z', {name: 'nightly-full', damage: damageOf()});
    const child = entryAt('2026-03-09T00:00:00Z', {name: 'nightly-child', parent: 'nightly-full'});
    const orphan = entryAt('2026-03-07T00:00:00Z', {name: 'nightly-orphan', parent: 'nightly-gone'});
    const last = entryAt('2026-03-01T00:00:00Z', {name: 'nightly-last'});
    const {kept} = decide([full, child, orphan, last, made], made, {last: 2});
    expect(kept.map(({entry, reasons}) => [entry.name, ...reasons])).toEqual([
      [made.name, 'just made', 'keep-last'],
      ['nightly-child', 'keep-last'],
      ['nightly-full', 'needed by nightly-child'],
      ['nightly-last', 'keep-last'],
    ]);
  });

  test('is a backup from the future, which takes no place', () => {
    const future = entryAt('2099-01-01T00:00:00Z');
    const decided = decide([future, ...catalog], made, {last: 2});
    expect(daysKept(decided)).toEqual(['2099-01-01', '2026-03-10', '2026-03-09']);
    expect(decided.kept[0]?.reasons).toEqual(['newer than the one just made']);
  });

  test('is what another needs, also one of another kind', () => {
    const full = entryAt('2026-01-01T00:00:00Z', {name: 'nightly-full'});
    const middle = entryAt('2026-01-02T00:00:00Z', {name: 'nightly-middle', parent: 'nightly-full'});
    const other = entryAt('2026-01-03T00:00:00Z', {name: 'before-migration', parent: 'nightly-middle'});
    const decided = decide([full, middle, other, made], made, {last: 1});
    expect(decided.removed).toEqual([]);
    expect(decided.kept.map(({reasons}) => reasons)).toEqual([
      ['just made', 'keep-last'],
      ['needed by before-migration'],
      ['needed by nightly-middle'],
    ]);
  });

  test('is decided also where parents lead in a circle', () => {
    const one = entryAt('2026-01-01T00:00:00Z', {name: 'nightly-1', parent: 'nightly-2'});
    const two = entryAt('2026-01-02T00:00:00Z', {name: 'nightly-2', parent: 'nightly-1'});
    expect(new Set(decide([one, two, made], made, {last: 1}).removed)).toEqual(new Set([one, two]));
  });
});

/** A catalog of a year: full backups and chains of two clusters, some proven or damaged, the last one just made. */
const simulatedYear = fc
  .array(
    fc.record({
      hour: fc.integer({min: 0, max: 365 * 24}),
      isOurs: fc.boolean(),
      isNightly: fc.integer({min: 0, max: 9}).map((chance) => chance > 0),
      isIncremental: fc.integer({min: 0, max: 6}).map((chance) => chance > 0),
      isProven: fc.integer({min: 0, max: 60}).map((chance) => chance === 0),
      isDamaged: fc.integer({min: 0, max: 30}).map((chance) => chance === 0),
    }),
    {minLength: 1000, maxLength: 1000},
  )
  .map((plans) => {
    const newest = new Map<string, string>();
    return plans
      .toSorted((a, b) => a.hour - b.hour)
      .map(({hour, isOurs, isNightly, isIncremental, isProven, isDamaged}, index) => {
        const systemIdentifier = isOurs || index === 999 ? 'ours' : 'another';
        const parent = isIncremental ? newest.get(systemIdentifier) : undefined;
        const name = `${isNightly || index === 999 ? 'nightly' : 'weekly'}-${index}`;
        newest.set(systemIdentifier, name);
        return entryAt(year + hour * 3_600_000 + index, {
          name,
          systemIdentifier,
          ...(parent !== undefined && {parent}),
          ...(isDamaged
            ? {
                damage: damageOf({
                  foundAt: new Date(year + index * 1000).toISOString(),
                  ...(hour % 2 === 0 && {endedProof: proofOf(['started', 'recovered'])}),
                }),
              }
            : isProven && {
                proof: proofOf(['started', 'recovered'], {
                  provenAt: new Date(year + index * 500).toISOString(),
                }),
              }),
        });
      });
  });

const count = fc.option(fc.integer({min: 1, max: 60}), {nil: 0});
const rules = fc.record({last: count, daily: count, weekly: count, monthly: count});

function byRules(ours: readonly CatalogEntry[], keep: KeepRules): readonly CatalogEntry[] {
  const periods = (periodOf: (time: Date) => number) =>
    ours.map((entry) => periodOf(new Date(entry.finishedAt)));
  const byPeriod = [
    {of: periods((time) => Math.floor(time.getTime() / day)), limit: keep.daily ?? 0},
    // 1970-01-01 was a Thursday.
    {of: periods((time) => Math.floor((time.getTime() / day + 3) / 7)), limit: keep.weekly ?? 0},
    {of: periods((time) => time.getUTCFullYear() * 12 + time.getUTCMonth()), limit: keep.monthly ?? 0},
  ];
  return ours.filter(
    (_, index) =>
      index < (keep.last ?? 0) ||
      byPeriod.some(({of, limit}) => {
        const newer = new Set(of.slice(0, index));
        return newer.size < limit && !newer.has(of[index] ?? 0);
      }),
  );
}

/** Proven, and nothing that it builds on was found damaged since. */
function isSound(entry: CatalogEntry, catalog: readonly CatalogEntry[]): boolean {
  const provenAt = entry.proof?.provenAt ?? '';
  const ancestors = ancestorsOf(entry, catalog);
  return isVerified(entry.proof) && ancestors.every(({damage}) => (damage?.foundAt ?? '') < provenAt);
}

function ancestorsOf({parent}: CatalogEntry, catalog: readonly CatalogEntry[]): readonly CatalogEntry[] {
  const found = catalog.find(({name}) => name === parent);
  return found ? [found, ...ancestorsOf(found, catalog)] : [];
}

/** What docs/retention.md tells, in the plainest way: is there a reason to keep it? The catalog is in the order of time. */
function modelKeeps(catalog: readonly CatalogEntry[], made: CatalogEntry, keep: KeepRules): Set<string> {
  const ours = catalog.filter((entry) => entry.systemIdentifier === 'ours' && nightly(entry.name)).reverse();
  const whole = ours.filter((entry) =>
    [entry, ...ancestorsOf(entry, catalog)].every(({damage}) => damage === undefined),
  );
  const sound = ours.find((entry) => isSound(entry, catalog));
  const ended = ours.find((entry) => entry === sound || isVerified(entry.proof ?? entry.damage?.endedProof));
  const direct = [
    ...[made, sound, ended].filter((entry) => entry !== undefined),
    ...[...byRules(ours, keep), ...byRules(whole, keep)],
  ];
  const others = catalog.filter((entry) => !ours.includes(entry));
  const kept = new Set([...direct, ...others].map(({name}) => name));
  for (const {name, parent} of catalog.toReversed())
    if (parent !== undefined && kept.has(name)) kept.add(parent);
  return kept;
}

test('over a year of 1,000 backups with chains, exactly what the model keeps is kept, whatever the order', () => {
  fc.assert(
    fc.property(simulatedYear, rules, fc.integer(), (catalog, keep, seed) => {
      const made = catalog.at(-1);
      if (made === undefined) throw new Error('The catalog is empty.');
      const shuffled = catalog.toSorted((a, b) => ((a.name.length * seed) ^ b.name.length) - 3);
      const {kept, removed, others} = decide(shuffled, made, keep);
      const model = modelKeeps(catalog, made, keep);
      expect(new Set(removed.map(({name}) => name))).toEqual(
        new Set(catalog.map(({name}) => name).filter((name) => !model.has(name))),
      );
      expect(kept.length + removed.length + others.length).toBe(catalog.length);
      expect(kept.filter(({reasons}) => reasons.length === 0)).toEqual([]);
    }),
    {numRuns: 15},
  );
});

test('over a year of 1,000 backups with chains, what is left restores wherever the removal stops', () => {
  fc.assert(
    fc.property(simulatedYear, rules, (catalog, keep) => {
      const made = catalog.at(-1);
      if (made === undefined) throw new Error('The catalog is empty.');
      const left = new Map(catalog.map((entry) => [entry.name, entry]));
      const children = Map.groupBy(catalog, ({parent}) => parent);
      for (const {name} of decide(catalog, made, keep).removed) {
        left.delete(name);
        const orphans = (children.get(name) ?? []).filter((child) => left.has(child.name));
        expect(orphans).toEqual([]);
      }
    }),
    {numRuns: 15},
  );
});

test('a second prune right after the first removes nothing', () => {
  fc.assert(
    fc.property(simulatedYear, rules, (catalog, keep) => {
      const made = catalog.at(-1);
      if (made === undefined) throw new Error('The catalog is empty.');
      const gone = new Set(decide(catalog, made, keep).removed);
      const rest = catalog.filter((entry) => !gone.has(entry));
      expect(decide(rest, made, keep).removed).toEqual([]);
    }),
    {numRuns: 10},
  );
});

describe('a name that could come of a pattern', () => {
  const codes = 'aAbBCdDeFHIjklLmMpPSsTuUvwWXyYZzco'.split('');
  const piece = fc.oneof(
    fc.constantFrom(...codes).map((code) => `%${code}`),
    fc.constantFrom(...'dmHMSj').map((code) => `%-${code}`),
    fc.constantFrom('nightly', '-', '_', '.', 'a+b', '(x)', '%%'),
  );

  test('is every one that did', () => {
    fc.assert(
      fc.property(
        fc.array(piece, {minLength: 1, maxLength: 6}),
        fc.date({min: new Date('2001-10-01'), max: new Date('2099-12-31'), noInvalidDate: true}),
        (pieces, time) => {
          const pattern = pieces.join('');
          expect(couldBe(nameAt(pattern, time), pattern)).toBe(true);
        },
      ),
    );
  });

  test.for([
    ['basebackup-%Y%m%d-%H%M%S', 'basebackup-20261122-021700', true],
    ['basebackup-%Y%m%d-%H%M%S', 'basebackup-test-20261122-021700', false],
    ['basebackup-%Y%m%d-%H%M%S', 'my-basebackup-20261122-021700', false],
    ['shop-%F', 'shop-2026-11-22', true],
    ['shop-%F', 'shop-2026-11-22-extra', false],
    ['shop-%A', 'shop-Sunday', true],
    ['shop-%A', 'shop-7', false],
    ['nightly', 'nightly', true],
    ['nightly', 'nightly2', false],
    ['100%%', '100%', true],
  ] as const)('%s: %s', ([pattern, name, expected]) => {
    expect(couldBe(name, pattern)).toBe(expected);
  });

  test.for([
    ['nightly', false],
    ['100%%', false],
    ['nightly-%Y', true],
    ['%%%Y', true],
  ] as const)('has codes: %s', ([pattern, expected]) => {
    expect(hasCodes(pattern)).toBe(expected);
  });

  test.for(['latest', 'latest-verified', 'nightly.proof'])('%s is no backup’s name', (name) => {
    expect(problemOfName(name)).toBeDefined();
  });
});

describe('a proof', () => {
  test('reads as it was written', () => {
    const proof = proofOf(['transferred', 'started', 'recovered'], {
      runUrl: 'https://github.com/o/r/actions',
    });
    expect(parseProof(formatProof(proof))).toEqual(proof);
  });

  test.for(['', '{', 'null', '[]', '{"schemaVersion":1}'])('is not %s', (text) => {
    expect(parseProof(text)).toBeUndefined();
  });

  test.for([
    {schemaVersion: 2},
    {metadataSha256: 'A'.repeat(64)},
    {reached: ['recovered', 'believed']},
    {reached: 'recovered'},
    {proof: 'believed'},
    {provenAt: 'yesterday'},
  ])('with %o proves nothing', (wrong) => {
    expect(parseProof(JSON.stringify({...proofOf(['recovered']), ...wrong}))).toBeUndefined();
  });

  test('is verified by recovery that came to its end, and not by a higher rung without it', () => {
    expect(isVerified(proofOf(['started', 'consistent', 'recovered']))).toBe(true);
    expect(isVerified(proofOf(['started', 'consistent', 'read']))).toBe(false);
    expect(isVerified(proofOf(['transferred', 'manifest-verified']))).toBe(false);
    expect(isVerified(undefined)).toBe(false);
  });

  test('of another backup of that name is passed over, and of its own the best is taken', () => {
    const other = proofOf(['recovered', 'checked'], {metadataSha256: 'b'.repeat(64)});
    const weak = proofOf(['manifest-verified'], {provenAt: '2026-01-09T00:00:00.000Z'});
    const paused = proofOf(['started', 'consistent', 'read']);
    const strong = proofOf(['started', 'recovered']);
    const again = proofOf(['started', 'recovered'], {provenAt: '2026-01-03T00:00:00.000Z'});
    expect(judge([other, undefined], 'a'.repeat(64))).toEqual({});
    expect(judge([other, weak, strong, paused], 'a'.repeat(64))).toEqual({proof: strong});
    expect(judge([weak, strong, again], 'a'.repeat(64))).toEqual({proof: again});
    expect(successor(weak, strong)).toBeUndefined();
    expect(successor(again, strong)).toBe(again);
    expect(successor(weak, other)).toBe(weak);
    expect(successor(weak, undefined)).toBe(weak);
  });

  test('holds until damage is found, and damage until the backup is proven again', () => {
    const sha256 = 'a'.repeat(64);
    const before = proofOf(['started', 'recovered']);
    const damage = damageOf();
    const after = proofOf(['manifest-verified'], {provenAt: '2026-01-03T00:00:00.000Z'});
    const earlier = damageOf({foundAt: '2026-01-01T12:00:00.000Z'});
    expect(parseProof(formatProof(damage))).toEqual(damage);
    const ending = {...damage, endedProof: before};
    expect(judge([before, damage, earlier], sha256)).toEqual({damage: ending});
    expect(judge([ending], sha256)).toEqual({damage: ending});
    expect(judge([damage], sha256)).toEqual({damage});
    // The files are as they were, and so the better proof holds again.
    const again = {...before, confirmedAt: after.provenAt};
    expect(judge([before, damage, after], sha256)).toEqual({proof: again});
    expect(judge([ending, after], sha256)).toEqual({proof: again});
    expect(judge([damage, again], sha256)).toEqual({proof: again});
    expect(judge([damage, after], sha256)).toEqual({proof: after});
    expect(judge([before, earlier], sha256)).toEqual({proof: before});
    expect(judge([before, damageOf({metadataSha256: 'b'.repeat(64)})], sha256)).toEqual({proof: before});
    expect(successor(damage, before)).toEqual(ending);
    expect(successor(damage, ending)).toEqual(ending);
    expect(successor(damage, proofOf(['recovered'], {metadataSha256: 'b'.repeat(64)}))).toEqual(damage);
    expect(successor(after, ending)).toEqual(again);
    expect(successor(after, damage)).toBe(after);
    const best = proofOf(['recovered', 'read']);
    expect(successor(best, ending)).toBe(best);
    expect(parseProof(formatProof(again))).toEqual(again);
    expect(parseProof(formatProof({...again, confirmedAt: 'yesterday'}))).toBeUndefined();
    expect(parseProof(formatProof(ending))).toEqual(ending);
  });

  test.for([{damage: 1}, {foundAt: 'yesterday'}, {schemaVersion: 2}, {endedProof: {}}])(
    'nor does %o damage',
    (wrong) => {
      expect(parseProof(JSON.stringify({...damageOf(), ...wrong}))).toBeUndefined();
    },
  );

  test('of an incremental backup ends with damage of what it builds on, and without that', () => {
    const proof = proofOf(['started', 'recovered']);
    const full = entryAt('2026-01-01T00:00:00Z', {name: 'full'});
    const middle = entryAt('2026-01-01T01:00:00Z', {name: 'middle', parent: 'full'});
    const last = entryAt('2026-01-01T02:00:00Z', {name: 'last', parent: 'middle', proof});
    expect(verifiedOf([full, middle, last])).toEqual([last]);
    expect(verifiedOf([{...full, damage: damageOf()}, middle, last])).toEqual([]);
    expect(
      verifiedOf([{...full, damage: damageOf({foundAt: '2026-01-01T12:00:00Z'})}, middle, last]),
    ).toEqual([last]);
    expect(verifiedOf([full, last])).toEqual([]);
    const again = {...last, proof: {...proof, confirmedAt: '2026-01-03T00:00:00.000Z'}};
    expect(verifiedOf([{...full, damage: damageOf()}, middle, again])).toEqual([again]);
  });
});
