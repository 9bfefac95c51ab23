import type {Block, Content} from '../../src/report/content.js';

/** A name that would be a picture's, a table's, and a page's own text; an ordinary one where readers see it. */
export const oddName = process.env.PICTURES === undefined ? 'a"b]#<i>|; `c`: ütf' : 'archive_2025';

const begin = Date.parse('2026-11-22T02:17:00Z');

const phase = (name: string, from: number, seconds: number) => ({
  ...{name, startedAt: begin + from * 1000, seconds},
  failed: false,
});

const run = (day: number, gigabytes: number) => ({
  name: `nightly-202611${day}`,
  finishedAt: `2026-11-${day}T02:19:12Z`,
  sizeBytes: gigabytes * 1e9,
  backupSeconds: 80 + day * 2 + (day % 3) * 9,
  restoreSeconds: day === 22 ? undefined : 50 + day + (day % 2) * 6,
  proof: day === 22 ? 'not yet' : 'recovered',
});

/** Every kind of part that a report has, as a nightly backup of a shop would fill it. */
export const pictures: readonly Block[] = [
  {
    kind: 'timeline',
    phases: [
      phase('Preflight', 0, 1.2),
      phase('pg_basebackup', 1.2, 118),
      {...phase('Checkpoint', 1.3, 6), isStage: true},
      {...phase('Copy', 7.3, 104), isStage: true},
      {...phase('End of the WAL', 111.3, 4), isStage: true},
      {...phase('Sync', 115.3, 3.9), isStage: true},
      phase('Read back', 119.2, 9),
      phase('Store', 128.2, 4),
    ],
  },
  {
    kind: 'throughput',
    seconds: 104,
    bytesPerSecond: [62, 118, 131, 127, 133, 129, 61, 58, 112, 130, 128, 132, 127, 131, 96, 74].map(
      (rate) => rate * 1e6,
    ),
  },
  {
    kind: 'shares',
    title: 'Databases',
    items: ['shop', 'analytics', oddName, 'billing', 'staff', 'postgres', 'b1', 'b2', 'b3', 'template1'].map(
      (label, index) => ({label, sizeBytes: Math.round(9e9 / (index + 1) ** 2)}),
    ),
  },
  {
    kind: 'shares',
    title: 'Tablespaces',
    items: [
      {label: 'pg_default', sizeBytes: 9e9},
      {label: '/srv/postgresql/tablespaces/of/the/warehouse/fast disk', sizeBytes: 4e9},
      {label: 'pg_global', sizeBytes: 6e5},
    ],
  },
  {
    kind: 'trend',
    runs: [run(18, 4.1), run(19, 4.2), run(20, 4.2), run(21, 4.5), run(22, 4.6)],
  },
];

/** The same with a verdict ahead and a table behind. */
export const nightly: Content = {
  mark: '✅',
  title: ['Backup ', {code: 'nightly-20261122'}, ' is stored'],
  blocks: [
    {
      kind: 'table',
      head: ['Safe?', 'Proven', 'Age', 'A restore takes'],
      rows: [
        [
          '🟡 Stored whole',
          'nothing yet: only mode: restore proves it',
          'new',
          ['about 77.0 s, as of ', {code: 'nightly-20261121'}],
        ],
      ],
    },
    {kind: 'paragraph', text: '13.6 GB backed up as 4.60 GB in 2 min 11 s (104 MB/s).'},
    {kind: 'quote', mark: 'WARNING', text: `skipping special file "./${oddName}"`},
    ...pictures,
    {
      kind: 'table',
      folded: 'Files (1)',
      head: ['File', 'Size', 'SHA-256'],
      rows: [[{code: 'base.tar.zst'}, '4.60 GB', {code: 'a1'.repeat(32)}]],
    },
  ],
};
