import type {Shares, Throughput, Timeline, Trend, TrendRun} from './content.js';
import {seconds, size, unitFor} from './units.js';

const mostSlices = 7;

/** A picture as GitHub draws it. */
function picture(lines: readonly string[]): readonly string[] {
  return ['', '```mermaid', ...lines, '```', ''];
}

/** The colour that Mermaid gives the first line is hardly seen on white; this one is seen on black, too. */
const chart = [
  '%%{init: {"xyChart": {"height": 280}, "themeVariables": {"xyChart": {"plotColorPalette": "#2f81f7"}}}}%%',
  'xychart-beta',
];

/** Mermaid's own are mostly pale, and much alike; these differ, on white and on black: `mostSlices`, and the others. */
const colours = ['#2f81f7', '#f0883e', '#3fb950', '#db61a2', '#e3b341', '#a371f7', '#39c5cf', '#8b949e'];
const pie = `%%{init: {"themeVariables": {${colours.map((colour, index) => `"pie${index + 1}": "${colour}"`).join(', ')}}}}%%`;

/** Names come from users and servers: whatever is no letter or digit is written by its number (Mermaid, "Entity codes"). */
function label(text: string): string {
  const most = 40;
  const characters = [...text];
  const isPath = text.startsWith('/');
  const cut = isPath ? `…${characters.slice(-most).join('')}` : `${characters.slice(0, most).join('')}…`;
  const short = characters.length > most ? cut : text;
  return [...short]
    .map((character) =>
      /[\p{L}\p{N} ._\u2026/-]/u.test(character) ? character : `#${character.codePointAt(0)};`,
    )
    .join('');
}

/** The phases over the time of day where the reader is. */
export function gantt({phases}: Timeline): readonly string[] {
  const tasks = phases.map((phase) => {
    const end = phase.startedAt + Math.max(1, Math.round(phase.seconds * 1000));
    return `  ${label(phase.name)} ${seconds(phase.seconds)} :${phase.failed ? 'crit' : phase.isStage ? 'done' : 'active'}, ${phase.startedAt}, ${end}`;
  });
  const begin = Math.min(...phases.map(({startedAt}) => startedAt));
  const end = Math.max(...phases.map((phase) => phase.startedAt + phase.seconds * 1000));
  const axis = ['  dateFormat x', '  axisFormat %H:%M:%S', `  tickInterval ${ticks((end - begin) / 1000)}`];
  return picture(['gantt', ...axis, ...tasks]);
}

const steps = [1, 2, 5, 10, 15, 30].flatMap((length) => [
  {seconds: length, name: `${length}second`},
  {seconds: length * 60, name: `${length}minute`},
]);
const hours = [1, 2, 3, 6, 12].map((length) => ({seconds: length * 3600, name: `${length}hour`}));

/** Left to itself, Mermaid writes ten times the same second below a short step, and times over each other below others. */
function ticks(span: number): string {
  const most = 9;
  const fitting = [...steps, ...hours].toSorted((a, b) => a.seconds - b.seconds);
  return fitting.find(({seconds: length}) => span / length <= most)?.name ?? '24hour';
}

/** Megabytes a second over the time since the data began to arrive. */
export function throughputChart({seconds: end, bytesPerSecond}: Throughput): readonly string[] {
  const rates = bytesPerSecond.map((rate) => (rate / 1e6).toFixed(2));
  return picture([
    ...chart,
    '  title "Throughput"',
    `  x-axis "Seconds since the first byte" 0 --> ${Math.ceil(end)}`,
    `  y-axis "MB/s" 0 --> ${Math.max(1, Math.ceil((Math.max(...bytesPerSecond) * 1.1) / 1e6))}`,
    `  line [${rates.join(', ')}]`,
  ]);
}

/** The same in a line of text. */
export function sparkline({bytesPerSecond}: Throughput): string {
  const bars = [...'▁▂▃▄▅▆▇█'];
  const most = Math.max(1, ...bytesPerSecond);
  const shown = bytesPerSecond.map((rate) => bars[Math.round((rate / most) * (bars.length - 1))] ?? '');
  const megabytes = (rate: number) => (rate / 1e6).toFixed(rate < 1e7 ? 1 : 0);
  const mean = bytesPerSecond.reduce((sum, rate) => sum + rate, 0) / bytesPerSecond.length;
  return `${shown.join('')} ${megabytes(Math.min(...bytesPerSecond))} to ${megabytes(most)} MB/s, ${megabytes(mean)} on average`;
}

/** Percent; the number on a smaller slice is not to be read. */
const smallestSlice = 3;

/** The largest by name, the rest together. */
export function pies({title, items}: Shares): readonly string[] {
  const total = items.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
  const isLarge = ({sizeBytes}: Shares['items'][number]) => sizeBytes * 100 >= total * smallestSlice;
  const large = items.filter(isLarge).slice(0, mostSlices);
  const rest = items.filter((item) => !large.includes(item) && item.sizeBytes > 0);
  const restBytes = rest.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
  const others = {label: `${rest.length} others`, sizeBytes: restBytes};
  const shown = [...large, ...(rest.length > 1 ? [others] : rest)];
  if (shown.length < 2) return [];
  return picture([
    pie,
    `pie title ${title}`,
    ...shown.map((slice) => `  "${label(slice.label)}, ${size(slice.sizeBytes)}" : ${slice.sizeBytes}`),
  ]);
}

/** Size and times of the last backups; a picture of what is known of enough of them. */
export function trendCharts({runs}: Trend): readonly string[] {
  const unit = unitFor(Math.max(0, ...runs.map(({sizeBytes}) => sizeBytes)));
  return [
    ...bars(runs, {
      title: 'Size of the last backups',
      unit: unit.name,
      measure: ({sizeBytes}) => sizeBytes / unit.bytes,
    }),
    ...bars(runs, {
      title: 'How long they took',
      unit: 'Seconds',
      measure: ({backupSeconds}) => backupSeconds,
    }),
    ...bars(runs, {
      title: 'How long their restores took',
      unit: 'Seconds',
      measure: ({restoreSeconds}) => restoreSeconds,
    }),
  ];
}

interface Bars {
  readonly title: string;
  readonly unit: string;
  /** Undefined: it is not known of this one. */
  readonly measure: (run: TrendRun) => number | undefined;
}

function bars(runs: readonly TrendRun[], {title, unit, measure}: Bars): readonly string[] {
  const known = runs.flatMap(({finishedAt, ...run}) => {
    const value = measure({finishedAt, ...run});
    return value === undefined ? [] : [{day: new Date(finishedAt).toISOString().slice(5, 10), value}];
  });
  // Two are told by the table.
  if (known.length < 3) return [];
  const most = Math.max(...known.map(({value}) => value)) * 1.1;
  return picture([
    ...chart,
    `  title "${title}"`,
    `  x-axis ${axisOf(known.map(({day}) => day))}`,
    `  y-axis "${unit}" 0 --> ${round(roomy(most || 1))}`,
    `  bar [${known.map(({value}) => round(value)).join(', ')}]`,
  ]);
}

/** The days, where each has one backup: bars of one label would be drawn as one. */
function axisOf(days: readonly string[]): string {
  const isDaily = new Set(days).size === days.length;
  const labels = days.map((day, index) => `"${isDaily ? day : index + 1}"`);
  return `${isDaily ? '' : '"Oldest first" '}[${labels.join(', ')}]`;
}

/**
 * The end of an axis that is at least so long. Mermaid (d3) cuts an axis into steps of 1, 2 or 5, up to 16 of them: more
 * than have room beside a picture of this height. Ends at which it takes the next longer step have 10 at most.
 */
function roomy(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 10));
  const length = most / 10 / power;
  const longer = [
    [1, 1.42],
    [2, 3.17],
    [5, 7.08],
  ].find(([from = 0, to = 0]) => length > from && length < to);
  return (longer?.[1] ?? length) * power * 10;
}

/** Without an exponent, which a diagram does not take. */
function round(value: number): number {
  return Number(value.toPrecision(4));
}
