import {readFileSync} from 'node:fs';

const bold = (text: string) => `\x1b[1m${text}\x1b[0m`;

/** A job summary's Markdown as a terminal can show it: tables with aligned columns, headings in bold, no marks. */
export function showMarkdown(markdown: string): string {
  const shown: string[] = [];
  let table: string[][] = [];
  // What pictures show is told in words, too.
  const words = markdown.replaceAll(/^```mermaid\n[\s\S]*?\n```$/gm, '');
  for (const line of [...words.split('\n'), '']) {
    if (line.startsWith('|')) {
      table.push(cellsOf(line));
      continue;
    }
    shown.push(...align(table));
    table = [];
    const heading = /^#+ (.*)$/.exec(line)?.[1];
    shown.push(heading === undefined ? plain(line) : bold(plain(heading)));
  }
  return shown
    .join('\n')
    .replaceAll(/\n{3,}/g, '\n\n')
    .trim();
}

function cellsOf(line: string): string[] {
  const cells = line.trim().split(/(?<!\\)\|/);
  return cells.slice(1, -1).map((cell) => plain(cell).trim());
}

function align(table: readonly (readonly string[])[]): string[] {
  const rows = table.filter((cells) => !cells.every((cell) => /^:?-+:?$/.test(cell)));
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  return rows.map((cells) =>
    `  ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
  );
}

function plain(text: string): string {
  return text
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/<br ?\/?>/g, '; ')
    .replaceAll(/<[^>]+>/g, '')
    .replaceAll(/\*\*|`/g, '')
    .replaceAll(/&#(\d+);/g, (_, codePoint: string) => String.fromCodePoint(Number(codePoint)))
    .replaceAll(/\\([|\\`*_])/g, '$1');
}

if (import.meta.main) console.log(showMarkdown(readFileSync(process.argv[2] ?? '/dev/stdin', 'utf8')));
