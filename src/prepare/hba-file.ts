import {messageOf, UserError} from '../errors.js';
import {CommandError, type Host, shell} from '../host/host.js';
import {warning} from '../log.js';
import type {Administrator} from './administrator.js';

/** Stands above the lines that `withLines` adds. */
export const hbaComment = '# Added by pg-basebackup-action (mode: prepare):';

/**
 * The text of a pg_hba.conf with lines in front of its first rule: the first rule that matches decides, so that
 * further down an older one could keep the role out. Lines that are there already are not added again.
 */
export function withLines(text: string, lines: readonly string[]): string {
  const all = text.split(/(?<=\n)/);
  let at = all.findIndex((line) => !/^\s*(#|$)/.test(line));
  if (at === -1) at = all.length;
  const leading = all.slice(at).findIndex((line) => !lines.includes(line.trim()));
  const present = all.slice(at, leading === -1 ? undefined : at + leading).map((line) => line.trim());
  const missing = lines.filter((line) => !present.includes(line));
  if (missing.length === 0) return text;
  // From 14 on, a backslash at the end of a comment makes the next line a part of it.
  while (at > 0 && /\\\r?\n?$/.test(all[at - 1] ?? '')) at -= 1;
  const before = all.slice(0, at).join('');
  const ending = text.includes('\r\n') ? '\r\n' : '\n';
  const separator = before === '' || before.endsWith('\n') ? '' : ending;
  const comment = all[at - 1]?.trim() === hbaComment ? [] : [hbaComment];
  const added = [...comment, ...missing].map((line) => `${line}${ending}`).join('');
  return `${before}${separator}${added}${all.slice(at).join('')}`;
}

/** What to do with lines that cannot be added from here. */
export function addByHand(path: string | undefined, lines: readonly string[]): string {
  return `Add to the server's ${path ?? 'pg_hba.conf'}, as its first lines:\n${lines.join('\n')}\nthen run: SELECT pg_reload_conf();`;
}

/**
 * Adds lines to the server's pg_hba.conf and has the server load it. A file that the server finds an error in is put
 * back as it was: such a file is not loaded at all, and at its next start the server would refuse it.
 */
export async function addToHbaFile(
  administrator: Administrator & {readonly host: Host},
  path: string,
  lines: readonly string[],
): Promise<void> {
  const {host} = administrator;
  const cure = addByHand(path, lines);
  const before = await readHbaFile(host, path, cure);
  const after = withLines(before, lines);
  try {
    if (after !== before) await write(host, path, after, cure);
    await refuseErrors(administrator, 'The server finds errors in pg_hba.conf with the new lines', cure);
    await administrator.query('select pg_reload_conf()');
  } catch (error) {
    await putBack(host, path, before);
    throw error;
  }
}

async function putBack(host: Host, path: string, text: string): Promise<void> {
  try {
    await host.run(writing(path), {stdin: text, cleanup: true});
  } catch (error) {
    // A file that could not be written is still as it was.
    if ((await host.readText(path).catch(() => undefined)) === text) return;
    warning(`${path} could not be put back as it was: ${messageOf(error)}`);
  }
}

/** Throws a UserError when the server finds errors in pg_hba.conf as it is on disk now. */
export async function refuseErrors(administrator: Administrator, what: string, cure: string): Promise<void> {
  const rows = await administrator.query(
    'select line_number, error from pg_hba_file_rules where error is not null',
  );
  if (rows.length === 0) return;
  const errors = rows.map(({line_number: line, error}) => `line ${line}: ${error}`);
  throw new UserError(`${what}: ${errors.join('; ')}.`, cure);
}

async function readHbaFile(host: Host, path: string, cure: string): Promise<string> {
  const text = await host.readText(path);
  if (text === undefined) throw new UserError(`${path} is not there on ${host.name}.`, cure);
  // What is read as another character would be written back as that.
  if (text.includes('\ufffd')) throw new UserError(`${path} is not in UTF-8, and would be damaged.`, cure);
  return text;
}

async function write(host: Host, path: string, text: string, cure: string): Promise<void> {
  try {
    await host.run(writing(path), {stdin: text});
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new UserError(`${path} could not be written: ${error.message}`, cure, {cause: error});
  }
}

/**
 * Into the file that is there, which keeps its owner and mode, and which may be a mount or behind a link. It is
 * emptied only when all of the text has found room beside it.
 */
const writing = (path: string) => shell(writeWhole, [path]);

const writeWhole = `new=$(mktemp "$(dirname "$1")/pg_hba.conf.XXXXXX" 2>/dev/null || mktemp) || exit 1
trap 'rm -f "$new"' EXIT
cat > "$new" && cat "$new" > "$1"`;
