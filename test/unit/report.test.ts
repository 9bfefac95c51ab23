import {describe, expect, test} from 'vitest';
import type {CatalogEntry} from '../../src/backup-set/catalog.js';
import {complaintOf} from '../../src/backup-set/decompress.js';
import {sizesOf} from '../../src/backup-set/sizes.js';
import {UserError} from '../../src/errors.js';
import type {Journal} from '../../src/journal.js';
import {noteProgress, noteWarning, readJournal, timePhase} from '../../src/journal.js';
import type {Content} from '../../src/report/content.js';
import {failureContent} from '../../src/report/failure-content.js';
import {splitFindings} from '../../src/report/finding-table.js';
import {htmlOf} from '../../src/report/html.js';
import {markdownOf} from '../../src/report/markdown.js';
import {throughputOf, timelineOf} from '../../src/report/timeline.js';
import {lastRestore, trendOf} from '../../src/report/trend.js';
import {nightly} from '../support/report-content.js';

const bytesOf = (content: Content) => Buffer.byteLength(markdownOf(content));
const rowsOf = (count: number, cell: string) => Array.from({length: count}, () => [cell]);

const told = ['> [!CAUTION]', '> It broke.', '**What to do**', '```text', 'Mend it.', '```'];

describe('the job summary', () => {
  test('begins with the verdict', () => {
    expect(markdownOf(nightly).split('\n').filter(Boolean).slice(0, 4)).toEqual([
      '### ✅ Backup `nightly-20261122` is stored',
      '| Safe? | Proven | Age | A restore takes |',
      '| --- | --- | --- | --- |',
      '| 🟡 Stored whole | nothing yet: only mode: restore proves it | new | about 77.0 s, as of `nightly-20261121` |',
    ]);
  });

  test('of a step that failed names the backup that it is about, and calls none safe', () => {
    const phase = {startedAt: 0, seconds: 1, failed: true};
    const journal = (...names: readonly string[]): Journal => ({
      phases: names.map((name) => ({...phase, name})),
      samples: [],
      backup: {name: 'nightly', location: 'backups/nightly'},
    });
    const failed = (mode: string, of: Journal) =>
      markdownOf(failureContent(new UserError('It broke.', 'Mend it.'), mode, of))
        .split('\n')
        .filter(Boolean);
    expect(failed('backup', journal())).toEqual(['### ❌ Backup `nightly`: the step failed', ...told]);
    expect(failed('verify', journal('Verify nightly')).slice(0, 4)).toEqual([
      '### ❌ Backup `nightly` is not proven: its verification failed',
      '| Safe? | Proven by this step | Age | From |',
      '| --- | --- | --- | --- |',
      '| 🔴 Not proven as asked | nothing | not known | backups/nightly |',
    ]);
    const [title, , , row] = failed('restore', journal('Preflight'));
    expect(title).toBe('### ❌ Backup `nightly`: the step failed');
    expect(row).toBe('| ⚪ Not examined | nothing | not known | backups/nightly |');
    expect(failed('restore', {phases: [], samples: []})).toEqual(['### ❌ The restore failed', ...told]);
    const damaged = (reason: string) =>
      failed('verify', {...journal('Verify'), damages: [{name: 'full', reason, note: 'It is noted.'}]});
    expect(damaged('It broke.').slice(3, 11)).toEqual([
      '| 🔴 No: damaged | nothing | not known | backups/nightly |',
      ...told.slice(0, 2),
      'It is noted.',
      ...told.slice(2),
    ]);
    expect(damaged('It is cut.')).toContain('`full`: It is cut. It is noted.');
  });

  test('tells in words what the pictures show', () => {
    const words = markdownOf(nightly).replaceAll(/```mermaid\n[\s\S]*?\n```/g, '');
    expect(words).toContain('pg&#95;basebackup 1 min 58 s → Read back 9.0 s → Store 4.0 s');
    expect(words).toMatch(/[▁▂▃▄▅▆▇█]{16} 58 to 133 MB\/s, 109 on average/);
    expect(words).toMatch(/\| `shop` \| 9\.00 GB \| 64\.5 % \|/);
    expect(words).toMatch(/\| `nightly-20261121` \| [^|]+ \| 4\.50 GB \| [^|]+ \| 77\.0 s \| recovered \|/);
  });

  test.for([
    {
      what: 'a table of many rows',
      block: {kind: 'table', head: ['File'], rows: rowsOf(90_000, 'a')},
      tells: /89800 more rows are left out/,
    },
    {
      what: 'rows of long cells',
      block: {kind: 'table', head: ['File'], rows: rowsOf(500, '<'.repeat(9_999))},
      tells: /7999 more characters/,
    },
    {
      what: 'a long message',
      block: {kind: 'quote', mark: 'CAUTION', text: '#'.repeat(5_000_000)},
      tells: /more characters/,
    },
    {what: 'a long cure', block: {kind: 'code', text: 'x'.repeat(5_000_000)}, tells: /more characters/},
  ] as const)('never is longer than GitHub takes, and says what it leaves out: $what', ({block, tells}) => {
    const content = {...nightly, blocks: [block, ...Array(5).fill(block), ...nightly.blocks]};
    expect(bytesOf(content)).toBeLessThan(2 ** 20);
    expect(markdownOf(content)).toMatch(tells);
    expect(markdownOf({...content, blocks: Array(50).fill(block)})).toContain('left out');
    expect(bytesOf({...content, blocks: Array(50).fill(block)})).toBeLessThan(2 ** 20);
  });
});

describe('an axis has no more labels than can be read', () => {
  const shown = (block: Content['blocks'][number]) => markdownOf({...nightly, blocks: [block]});

  test.each([
    [0.4, '1second'],
    [9, '1second'],
    [24, '5second'],
    [132, '15second'],
    [600, '2minute'],
    [7_200, '15minute'],
    [86_400, '3hour'],
  ])('of the clock, over %d seconds', (seconds, interval) => {
    const phase = {name: 'Copy', startedAt: 1_000_000, seconds, failed: false};
    expect(shown({kind: 'timeline', phases: [phase]})).toContain(`tickInterval ${interval}\n`);
  });

  test.each([
    [0.9, 0.99],
    [2.4, 3.17],
    [4.5, 4.95],
    [12, 14.2],
    [27.6, 31.7],
    [50, 70.8],
    [90, 99],
  ])('of bars, up to %d', (seconds, end) => {
    const run = {finishedAt: '2026-11-22T02:19:12.345Z', sizeBytes: 1, backupSeconds: seconds};
    const runs = ['a', 'b', 'c'].map((name) => ({...run, name, restoreSeconds: undefined, proof: undefined}));
    expect(shown({kind: 'trend', runs})).toContain(`  y-axis "Seconds" 0 --> ${end}\n`);
    expect(shown({kind: 'trend', runs})).toContain('| 2026-11-22 02:19:12 UTC |');
  });
});

test('what somebody has to do something about is apart from what is good to know', () => {
  const finding = (level: 'warning' | 'note') => ({level, subject: level, observed: '', cure: ''});
  const {urgent, notes} = splitFindings([finding('note'), finding('warning')]);
  expect(urgent.map(({rows}) => rows.map(([, subject]) => subject))).toEqual([['warning']]);
  expect(notes.map(({rows}) => rows.map(([, subject]) => subject))).toEqual([['note']]);
  expect(splitFindings([])).toEqual({urgent: [], notes: []});
});

test.each([
  [
    '/*stdin*\\ : Decoding error (36) : Data corruption detected ',
    'Decoding error (36): Data corruption detected',
  ],
  ['gzip: stdin: invalid compressed data--crc error', 'gzip: stdin: invalid compressed data--crc error'],
])('%s is told without what says nothing', (said, told) => {
  expect(complaintOf(said)).toBe(told);
});

test('the page asks for nothing, whatever a name is', () => {
  const url = 'javascript:alert(1)';
  const page = htmlOf({
    mark: '❌',
    title: '<script>"',
    blocks: [{kind: 'paragraph', text: {link: 'here', url}}],
  });
  expect(page).not.toMatch(/<script|javascript:|src=|@import/);
  expect(page).toContain("default-src 'none'");
});

describe('the journal', () => {
  test('has each phase with its time, failed or not, and of one within another the outer one', async () => {
    await timePhase('Outer', () => timePhase('Inner', async () => undefined));
    await expect(
      timePhase('Broken', async () => {
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    const {phases} = readJournal();
    expect(phases.map(({name, failed}) => ({name, failed}))).toEqual([
      {name: 'Outer', failed: false},
      {name: 'Broken', failed: true},
    ]);
    expect(markdownOf({...nightly, blocks: timelineOf(readJournal())})).toMatch(/Broken 0\.0 s :crit, \d+/);
  });

  test('keeps a day of progress in few samples, and forgets a try that began anew', () => {
    for (let second = 0; second < 86_400; second++) noteProgress(second, second * 1000);
    const {samples} = readJournal();
    expect(samples.length).toBeLessThanOrEqual(512);
    expect(samples[0]).toEqual({at: 0, doneBytes: 0});
    noteProgress(5, 0);
    expect(readJournal().samples).toEqual([{at: 0, doneBytes: 5}]);
  });

  test('knows a warning again', () => {
    expect([noteWarning('one'), noteWarning('two'), noteWarning('one')]).toEqual([true, true, false]);
  });
});

describe('throughput', () => {
  const journal = (doneBytes: readonly number[]): Journal => ({
    phases: [],
    samples: doneBytes.map((bytes, second) => ({at: second * 1000, doneBytes: bytes})),
  });

  test('is a rate for each stretch, from the first byte on', () => {
    expect(throughputOf(journal([0, 0, 0, 10, 20, 40, 60]))).toEqual([
      {kind: 'throughput', seconds: 4, bytesPerSecond: [10, 10, 20, 20]},
    ]);
  });

  test.for([[[]], [[0, 5, 10]], [[0, 0, 0, 0]]])('is left out where too little is known: %j', ([bytes]) => {
    expect(throughputOf(journal(bytes ?? []))).toEqual([]);
  });

  test('adds up to all that arrived', () => {
    const bytes = Array.from({length: 100}, (_, second) => second ** 2);
    const [found] = throughputOf(journal(bytes));
    const sum = found?.bytesPerSecond.reduce((all, rate) => all + rate, 0) ?? 0;
    expect((sum * (found?.seconds ?? 0)) / (found?.bytesPerSecond.length ?? 1)).toBeCloseTo(99 ** 2);
  });
});

describe('the trend', () => {
  const entry = (day: number, more: Partial<CatalogEntry> = {}): CatalogEntry => ({
    ...{id: String(day), name: `n${day}`, finishedAt: new Date(Date.UTC(2026, 10, day)).toISOString()},
    ...{sizeBytes: day, durationSeconds: 1, systemIdentifier: '7', metadataSha256: '', ...more},
  });
  const newest = {...entry(20), proof: 'not yet'};

  test('has the last ten of the same cluster, oldest first', () => {
    const days = Array.from({length: 25}, (_, index) => entry(25 - index));
    const [trend] = trendOf(newest, [...days, entry(19, {name: 'other', systemIdentifier: '8'})]);
    expect(trend?.runs.map(({name}) => name)).toEqual(
      Array.from({length: 10}, (_, index) => `n${11 + index}`),
    );
  });

  test('is left out of the first backup', () => {
    expect(trendOf(newest, [entry(20), entry(1, {systemIdentifier: '8'})])).toEqual([]);
    expect(trendOf(undefined, [entry(1)])).toEqual([]);
  });

  test('tells how long the newest restore took that is known', () => {
    const proof = {proof: 'recovered', restoreSeconds: 12} as CatalogEntry['proof'];
    const known = entry(3, proof && {proof});
    expect(lastRestore([entry(4), known, entry(1)], '7')).toEqual({name: 'n3', seconds: 12});
    expect(lastRestore([entry(4), known], '8')).toBeUndefined();
  });
});

test('sizes add up by database and by tablespace', () => {
  const sizes = {
    'base/5/1259': 10,
    'base/16400/1259': 20,
    'base/pgsql_tmp': 1,
    'global/1262': 3,
    'pg_tblspc/16500/PG_15_202209061/16400/16501': 40,
    'pg_tblspc/16600/PG_15_202209061/5/16601': 7,
    backup_label: 2,
  };
  const files = new Map(
    Object.entries(sizes).map(([path, sizeBytes]) => [
      path,
      {path, sizeBytes, algorithm: 'NONE', checksum: ''} as const,
    ]),
  );
  expect(sizesOf({files}, new Map([['16400', 'shop']]))).toEqual({
    databases: [
      {oid: '16400', name: 'shop', sizeBytes: 60},
      {oid: '5', name: null, sizeBytes: 17},
    ],
    tablespaces: [
      {oid: '16500', name: null, sizeBytes: 40},
      {oid: '1663', name: 'pg_default', sizeBytes: 33},
      {oid: '16600', name: null, sizeBytes: 7},
      {oid: '1664', name: 'pg_global', sizeBytes: 3},
    ],
  });
});
