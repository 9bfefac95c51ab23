import {messageOf, UserError} from '../src/errors.js';
import {explainDisk, knownDiskCodes} from '../src/host/disk-failure.js';
import {aptFailure, knownAptMessages} from '../src/postgres/apt-failures.js';
import {explain, knownMessages} from '../src/postgres/failures.js';
import {cureOf, knownLogLines} from '../src/restore/start-cures.js';
import {cureOfUpload, knownUploadFailures} from '../src/store/artifact-attempt.js';
import {explainS3, knownCodes} from '../src/store/s3-refusal.js';

/** A place in the code that knows cures for what others say. */
export interface Source {
  /** The cure for a message; undefined: nobody knows one. */
  cureOf(message: string): string | undefined;
  /** Every message that there is a cure for. */
  readonly known: readonly RegExp[];
}

/** What the page's examples are about. */
const connection = {
  parameters: {host: 'db.example.com', user: 'backup'},
  environment: {},
  password: 'secret',
};
const example = 'postgresql-17';
const bucket = {
  what: 'It could not be stored',
  action: 's3:PutObject',
  location: {bucket: 'example-backups', prefix: 'shop/'},
} as const;

/** The sources by the names that docs/troubleshooting.md gives to its tables. */
export const sources: Readonly<Record<string, Source>> = {
  connection: {
    known: knownMessages,
    cureOf: (message) =>
      find(knownMessages, message) && explain('It failed', new Error(message), connection).cure,
  },
  start: {known: knownLogLines, cureOf: (message) => cureOf([message], 17)},
  apt: {
    known: knownAptMessages,
    // Behind it, each has what to type by hand.
    cureOf: (message) => find(knownAptMessages, message) && aptFailure(example, message).cure.split('\n')[0],
  },
  s3: {
    known: knownCodes,
    cureOf: (message) => find(knownCodes, message) && explainS3({Code: message}, bucket).cure,
  },
  disk: {known: knownDiskCodes.map((code) => new RegExp(`^${code}$`)), cureOf: cureOfDisk},
  artifact: {
    known: knownUploadFailures,
    cureOf: (message) => find(knownUploadFailures, message) && cureOfUpload(new Error(message)),
  },
};

const find = (known: readonly RegExp[], message: string) =>
  known.some((pattern) => pattern.test(message)) || undefined;

function cureOfDisk(code: string): string | undefined {
  const explained = explainDisk(Object.assign(new Error(messageOf(code)), {code}));
  return explained instanceof UserError ? explained.cure : undefined;
}

/** A row of one of the page's tables. */
export interface CureRow {
  readonly source: string;
  readonly messages: readonly string[];
}

const table = /<!-- cures: (\w+) -->\n\n(\|.*\n\|.*\n)((?:\|.*\n)+)/g;

/** The rows of the tables whose cures come from the code. */
export function rowsOf(page: string): readonly CureRow[] {
  return [...page.matchAll(table)].flatMap(([, source = '', , rows = '']) =>
    rows
      .trimEnd()
      .split('\n')
      .map((row) => ({source, messages: messagesOf(row)})),
  );
}

/** docs/troubleshooting.md with the last column of those tables brought up to date. Throws where nobody knows a cure. */
export function withCures(page: string): string {
  return page.replaceAll(table, (_, source: string, head: string, rows: string) => {
    const updated = rows
      .trimEnd()
      .split('\n')
      .map((row) => rowWithCure(source, row));
    return `<!-- cures: ${source} -->\n\n${head}${updated.join('\n')}\n`;
  });
}

function rowWithCure(source: string, row: string): string {
  const cures = new Set(messagesOf(row).map((message) => sources[source]?.cureOf(message)));
  const [cure, ...others] = cures;
  if (cure === undefined || others.length > 0)
    throw new Error(`docs/troubleshooting.md: these messages do not have one cure: ${row}`);
  const [, message, cause] = cellsOf(row);
  return `|${message}|${cause}| ${asCell(cure)} |`;
}

const cellsOf = (row: string) => row.split(/(?<!\\)\|/);

function messagesOf(row: string): readonly string[] {
  const [, cell = ''] = cellsOf(row);
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, message = '']) => message.replaceAll('\\|', '|'));
}

/** What Markdown would take for its own is escaped; a `|` ends a cell. */
function asCell(text: string): string {
  const escaped = text
    .replaceAll(/[|*\\]/g, '\\$&')
    .replaceAll('<', '&lt;')
    .replaceAll('~', '\\~');
  return escaped.replaceAll('\n', '<br>');
}
