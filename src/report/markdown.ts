import type {Block, Content, Piece, Shares, Table, Text, Timeline, Trend} from './content.js';
import {gantt, pies, sparkline, throughputChart, trendCharts} from './mermaid.js';
import {clipped, percent, seconds, size} from './units.js';

/** GitHub drops a whole summary over 1 MiB (GitHub Docs, "Workflow commands", "Step isolation and limits"). */
const mostBytes = 1_000_000;
/** Of a text that is only in a table. */
const mostCellCharacters = 2_000;
const mostQuoteCharacters = 40_000;
const mostCodeCharacters = 200_000;
const mostRows = 200;

/** A job summary as GitHub's Markdown, never more than GitHub takes. */
export function markdownOf({mark, title, blocks}: Content): string {
  const lines = [`### ${mark === undefined ? '' : `${mark} `}${inline(title)}`, ''];
  let bytes = bytesOf(lines);
  for (const block of blocks) {
    let next = linesOf(block, mostRows);
    if (bytes + bytesOf(next) > mostBytes) next = block.kind === 'table' ? linesOf(block, 20) : [];
    if (next.length === 0 || bytes + bytesOf(next) > mostBytes)
      next = ['', '**A part is left out here: GitHub takes no longer summary.**', ''];
    lines.push(...next);
    bytes += bytesOf(next);
  }
  return `${lines.join('\n')}\n`;
}

function bytesOf(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
}

function linesOf(block: Block, most: number): readonly string[] {
  switch (block.kind) {
    case 'paragraph':
      return [inline(block.text), ''];
    case 'quote':
      return [`> [!${block.mark}]`, ...quoted(clipped(block.text, mostQuoteCharacters)), ''];
    case 'code':
      return [
        '```text',
        ...clipped(block.text, mostCodeCharacters).replaceAll('```', "'''").split('\n'),
        '```',
        '',
      ];
    case 'table':
      return tableLines(block, most);
    case 'timeline':
      return [...gantt(block), inWords(block), ''];
    case 'throughput':
      return [...throughputChart(block), sparkline(block), ''];
    case 'shares':
      return [...pies(block), ...tableLines(shareTable(block), most)];
    case 'trend':
      return [...trendCharts(block), ...tableLines(trendTable(block), most)];
  }
}

function inWords({phases}: Timeline): string {
  const whole = phases.filter(({isStage}) => !isStage);
  return whole.map(({name, seconds: length}) => `${plain(name)} ${seconds(length)}`).join(' → ');
}

function shareTable({title, items}: Shares): Table {
  const total = items.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0);
  const rows = items.map(({label, sizeBytes}) => [{code: label}, size(sizeBytes), percent(sizeBytes, total)]);
  return {kind: 'table', head: [title, 'Size', 'Share'], rows, folded: `${title} (${rows.length})`};
}

function trendTable({runs}: Trend): Table {
  const told = (length: number | undefined) => (length === undefined ? '' : seconds(length));
  const rows = runs.toReversed().map((run) => [
    {code: run.name},
    // To the second, and with a space at which a narrow table can break it.
    run.finishedAt.replace(/^(\S+)T(\S+?)(?:\.\d+)?Z$/, '$1 $2 UTC'),
    size(run.sizeBytes),
    ...[told(run.backupSeconds), told(run.restoreSeconds), run.proof ?? ''],
  ]);
  const head = ['Last backups', 'Finished', 'Size', 'Backup took', 'Restore took', 'Proven'];
  return {kind: 'table', head, rows};
}

/** With an empty line before and after it. */
function tableLines({head, rows, folded}: Table, most: number): readonly string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const shown = rows.slice(0, most).map((cells) => line(cells.map((cell) => inline(cell))));
  const cut = rows.length > shown.length ? [`${rows.length - shown.length} more rows are left out.`, ''] : [];
  const lines = ['', line(head), line(head.map(() => '---')), ...shown, '', ...cut];
  return folded === undefined
    ? lines
    : [`<details><summary>${plain(folded)}</summary>`, ...lines, '</details>', ''];
}

function quoted(text: string): readonly string[] {
  return text.split('\n').map((line) => `> ${plain(line)}`);
}

function inline(text: Text): string {
  if (typeof text === 'object' && 'lines' in text) return text.lines.map(pieceOf).join('<br>');
  return Array.isArray(text) ? text.map(pieceOf).join('') : pieceOf(text as Piece);
}

function pieceOf(piece: Piece): string {
  if (typeof piece === 'string') return plain(clipped(piece, mostCellCharacters));
  if ('code' in piece) return code(clipped(piece.code, mostCellCharacters));
  return 'strong' in piece ? `**${plain(piece.strong)}**` : `[${plain(piece.link)}](${encodeURI(piece.url)})`;
}

/** Names come from users and servers: nothing in them may become Markdown or HTML. */
function plain(text: string): string {
  return text
    .replaceAll(/[\\`*_{}[\]<>|#&!~]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replaceAll(/[\r\n]+/g, ' ');
}

/** A code span; text that would end one is written as HTML. */
function code(text: string): string {
  return /^[\w./:@+= -]+$/.test(text) ? `\`${text}\`` : `<code>${plain(text)}</code>`;
}
