import type {Block, Content, Piece, Shares, Table, Text, Throughput, Timeline, Trend} from './content.js';
import {style} from './style.js';
import {percent, seconds, size} from './units.js';

const mostRows = 2_000;

/** A report as a page that needs nothing but itself, on a phone, on paper, by day and by night. */
export function htmlOf({mark, title, blocks}: Content): string {
  const heading = `${mark === undefined ? '' : `${mark} `}${inline(title)}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${heading.replaceAll(/<[^>]*>/g, '')}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${heading}</h1>
${blocks.map(blockOf).join('\n')}
</main>
</body>
</html>
`;
}

function blockOf(block: Block): string {
  switch (block.kind) {
    case 'paragraph':
      return `<p>${inline(block.text)}</p>`;
    case 'quote':
      return `<blockquote>${escaped(block.text)}</blockquote>`;
    case 'code':
      return `<pre>${escaped(block.text)}</pre>`;
    case 'table':
      return tableOf(block);
    case 'timeline':
      return timelineOf(block);
    case 'throughput':
      return throughputOf(block);
    case 'shares':
      return sharesOf(block);
    case 'trend':
      return trendOf(block);
  }
}

function tableOf({head, rows, folded}: Table): string {
  const th = head.map((cell) => `<th>${escaped(cell)}</th>`).join('');
  // On a phone the first table has its heads beside the cells.
  const td = (cell: Text, index: number) =>
    `<td data-head="${escaped(head[index] ?? '')}">${inline(cell)}</td>`;
  const hasHead = head.some((cell) => cell !== '');
  const body = rows.slice(0, mostRows).map((row) => `<tr>${row.map(td).join('')}</tr>`);
  const cut = rows.length > mostRows ? `<p>${rows.length - mostRows} more rows are left out.</p>` : '';
  const table = `<div class="wide"><table>${hasHead ? `<thead><tr>${th}</tr></thead>` : ''}<tbody>${body.join('\n')}</tbody></table></div>${cut}`;
  return folded === undefined ? table : `<details><summary>${escaped(folded)}</summary>${table}</details>`;
}

/** One bar a row; `from` and `part` are parts of the whole width. */
function bars(
  rows: readonly {
    readonly label: string;
    readonly value: string;
    readonly from?: number;
    readonly part: number;
    readonly bad?: boolean;
  }[],
): string {
  const width = (part: number) => `${(100 * Math.min(1, Math.max(0, part))).toFixed(2)}%`;
  const lines = rows.map(
    ({label, value, from = 0, part, bad}) =>
      `<li><span class="label">${escaped(label)}</span><span class="track"><span class="bar${bad ? ' bad' : ''}" style="margin-left:${width(from)};width:${width(Math.min(part, 1 - from))}"></span></span><span class="value">${escaped(value)}</span></li>`,
  );
  return `<ul class="bars">${lines.join('\n')}</ul>`;
}

function timelineOf({phases}: Timeline): string {
  const begin = Math.min(...phases.map(({startedAt}) => startedAt));
  const end = Math.max(...phases.map(({startedAt, seconds}) => startedAt + seconds * 1000));
  const whole = Math.max(1, end - begin);
  const rows = phases.map((phase) => ({
    label: phase.isStage ? `· ${phase.name}` : phase.name,
    value: seconds(phase.seconds),
    from: (phase.startedAt - begin) / whole,
    part: (phase.seconds * 1000) / whole,
    bad: phase.failed,
  }));
  return `<h2>Timeline</h2><p>From ${new Date(begin).toISOString()}, ${seconds(whole / 1000)}.</p>${bars(rows)}`;
}

function throughputOf({seconds: end, bytesPerSecond}: Throughput): string {
  const most = Math.max(1, ...bytesPerSecond);
  const [width, height] = [600, 120];
  const points = bytesPerSecond.map((rate, index) => {
    const x = (index / Math.max(1, bytesPerSecond.length - 1)) * width;
    return `${x.toFixed(1)},${(height - (rate / most) * height).toFixed(1)}`;
  });
  return `<h2>Throughput</h2><figure><svg viewBox="0 -2 ${width} ${height + 4}" role="img" aria-label="Throughput over time"><polygon points="0,${height} ${points.join(' ')} ${width},${height}"/><polyline points="${points.join(' ')}"/></svg><figcaption>0 to ${(most / 1e6).toFixed(1)} MB/s, over ${seconds(end)}</figcaption></figure>`;
}

function sharesOf({title, items}: Shares): string {
  const total = items.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
  const most = Math.max(1, ...items.map(({sizeBytes}) => sizeBytes));
  const rows = items.slice(0, mostRows).map(({label, sizeBytes}) => ({
    label,
    value: `${size(sizeBytes)}, ${percent(sizeBytes, total)}`,
    part: sizeBytes / most,
  }));
  return `<h2>${escaped(title)}</h2>${bars(rows)}`;
}

function trendOf({runs}: Trend): string {
  const most = Math.max(1, ...runs.map(({sizeBytes}) => sizeBytes));
  const told = (length: number | undefined) => (length === undefined ? '' : seconds(length));
  const sizes = runs.map(({name, sizeBytes}) => ({
    label: name,
    value: size(sizeBytes),
    part: sizeBytes / most,
  }));
  const rows = runs
    .toReversed()
    .map((run) => [
      {code: run.name},
      run.finishedAt,
      ...[told(run.backupSeconds), told(run.restoreSeconds), run.proof ?? ''],
    ]);
  const head = ['Backup', 'Finished', 'Backup took', 'Restore took', 'Proven'];
  return `<h2>The last backups</h2>${bars(sizes)}${tableOf({kind: 'table', head, rows})}`;
}

function inline(text: Text): string {
  if (typeof text === 'object' && 'lines' in text) return text.lines.map(pieceOf).join('<br>');
  return Array.isArray(text) ? text.map(pieceOf).join('') : pieceOf(text as Piece);
}

function pieceOf(piece: Piece): string {
  if (typeof piece === 'string') return escaped(piece);
  if ('code' in piece) return `<code>${escaped(piece.code)}</code>`;
  if ('strong' in piece) return `<strong>${escaped(piece.strong)}</strong>`;
  // Nothing but a page of the web is linked.
  return /^https?:\/\//.test(piece.url)
    ? `<a href="${escaped(piece.url)}">${escaped(piece.link)}</a>`
    : escaped(piece.link);
}

/** Names come from users and servers: nothing in them may become HTML. */
function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
