import type {Phase} from '../journal.js';

/** A piece of a line. Strings come from users and servers, and are never markup. */
export type Piece =
  | string
  | {readonly code: string}
  | {readonly strong: string}
  | {readonly link: string; readonly url: string};

/** What stands in a cell or a paragraph: pieces of one line, or several lines. */
export type Text = Piece | readonly Piece[] | {readonly lines: readonly Piece[]};

/** Rows under a head. */
export interface Table {
  readonly kind: 'table';
  readonly head: readonly string[];
  readonly rows: readonly (readonly Text[])[];
  /** With a title it is there for whoever opens it. */
  readonly folded?: string;
}

/** When the phases of the step began and ended. */
export interface Timeline {
  readonly kind: 'timeline';
  readonly phases: readonly Phase[];
}

/** How fast data arrived, in stretches of equal length. */
export interface Throughput {
  readonly kind: 'throughput';
  readonly seconds: number;
  readonly bytesPerSecond: readonly number[];
}

/** How something is divided, largest first. */
export interface Shares {
  readonly kind: 'shares';
  /** `Databases` */
  readonly title: string;
  readonly items: readonly {readonly label: string; readonly sizeBytes: number}[];
}

/** A backup of the trend. */
export interface TrendRun {
  readonly name: string;
  /** ISO 8601 in UTC. */
  readonly finishedAt: string;
  readonly sizeBytes: number;
  readonly backupSeconds?: number | undefined;
  readonly restoreSeconds?: number | undefined;
  /** How far it is proven, or that it is damaged. */
  readonly proof?: string | undefined;
}

/** The last backups, oldest first. */
export interface Trend {
  readonly kind: 'trend';
  readonly runs: readonly TrendRun[];
}

/** A part of a report, whatever it is written as. */
export type Block =
  | {readonly kind: 'paragraph'; readonly text: Text}
  | {readonly kind: 'quote'; readonly mark: 'WARNING' | 'CAUTION'; readonly text: string}
  /** Text to copy. */
  | {readonly kind: 'code'; readonly text: string}
  | Table
  | Timeline
  | Throughput
  | Shares
  | Trend;

/** What a step tells people, its verdict first; as Markdown it is the job summary, as HTML a page of its own. */
export interface Content {
  /** Undefined: neither good nor bad, such as a plan. */
  readonly mark: '✅' | '❌' | undefined;
  readonly title: Text;
  readonly blocks: readonly Block[];
}

/** A table; nothing without rows. */
export function tableOf(
  head: readonly string[],
  rows: readonly (readonly Text[])[],
  folded?: string,
): readonly Table[] {
  return rows.length === 0 ? [] : [{kind: 'table', head, rows, ...(folded !== undefined && {folded})}];
}

/** A table of names and values. */
export function factsOf(rows: readonly (readonly [string, Text])[]): readonly Table[] {
  return tableOf(['', ''], rows);
}

/** A paragraph. */
export function paragraph(...text: readonly Piece[]): Block {
  return {kind: 'paragraph', text};
}
