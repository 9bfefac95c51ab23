import {posix} from 'node:path';
import {UserError} from '../../errors.js';
import type {Host} from '../../host/host.js';
import {smallFileBytes} from './examine.js';

/** A line of `postgresql.conf` that has other files read. */
export interface Include {
  readonly line: number;
  readonly directive: 'include' | 'include_if_exists' | 'include_dir';
  /** As written, without the quotes. */
  readonly path: string;
}

/** The includes of a `postgresql.conf` (guc-file.l, PostgreSQL 13 to 18: names in any case, `=` optional). */
export function includesOf(text: string): readonly Include[] {
  const found: Include[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const match = /^\s*(include(?:_if_exists|_dir)?)(?![\w$.])\s*=?\s*([\s\S]*)$/i.exec(line);
    if (!match?.[1] || match[2] === undefined) continue;
    const value = match[2];
    const path =
      /^'((?:[^']|'')*)'/.exec(value)?.[1]?.replaceAll("''", "'") ?? /^[^\s#']*/.exec(value)?.[0] ?? '';
    found.push({line: index + 1, directive: match[1].toLowerCase() as Include['directive'], path});
  }
  return found;
}

/**
 * The lines of a `pg_hba.conf` or `pg_ident.conf` that may have other files read: `include…` (16 and newer), and
 * names after `@` (hba.c). Quotes and continued lines (14 and newer) hide nothing; a line too many does no harm.
 */
export function referencesOf(text: string): readonly number[] {
  const joined = text.replaceAll(/\\\r?\n/g, '');
  const refers = (line: string) =>
    /^\s*include|(^|[\s,])@[^\s,]/i.test(withoutComment(line).replaceAll('"', ''));
  const lines = text.split('\n').flatMap((line, index) => (refers(line) ? [index + 1] : []));
  return lines.length > 0 || !joined.split('\n').some(refers) ? lines : [1];
}

/** A comment goes from a `#` outside of quotes to the end of the line (hba.c, next_token). */
const withoutComment = (line: string) => line.replace(/^((?:[^"#]|"[^"]*")*)#.*$/, '$1');

/**
 * Looks whether a backup's own configuration would have the server read files outside of it: an error in such a file
 * shows its lines in the log. Of interest where that configuration counts, which is without isolation only. Returns
 * the refusal, or undefined.
 */
export async function findForeignFile(host: Host, dataDirectory: string): Promise<UserError | undefined> {
  try {
    await refuseForeignFiles(host, dataDirectory);
    return undefined;
  } catch (error) {
    if (error instanceof ForeignFileError) return error;
    throw error;
  }
}

class ForeignFileError extends UserError {}

async function refuseForeignFiles(host: Host, dataDirectory: string): Promise<void> {
  const read = async (name: string) =>
    (await host.readText(posix.join(dataDirectory, name), smallFileBytes)) ?? '';
  const [first] = includesOf(await read('postgresql.auto.conf'));
  // ALTER SYSTEM writes settings and nothing else into it.
  if (first) throw leadsOut('postgresql.auto.conf', first.line, first.path);
  for (const name of ['pg_hba.conf', 'pg_ident.conf']) {
    const [line] = referencesOf(await read(name));
    if (line !== undefined) throw leadsOut(name, line, 'another file');
  }
  const seen = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const {line, directive, path} of includesOf(await read(name))) {
      if (!isInside(path)) throw leadsOut(name, line, path);
      const included = posix.join(posix.dirname(name), path);
      if (directive !== 'include_dir') await visit(included);
      else
        for (const file of await host.list(posix.join(dataDirectory, included)))
          if (file.endsWith('.conf')) await visit(posix.join(included, file));
    }
  };
  await visit('postgresql.conf');
}

/** Escapes are not worth reading: nobody needs one in the name of a file beside this one. */
const isInside = (path: string) =>
  path !== '' && !path.startsWith('/') && !path.includes('\\') && !path.split('/').includes('..');

function leadsOut(name: string, line: number, path: string): UserError {
  return new ForeignFileError(
    `${name} of the backup includes ${JSON.stringify(path)} in line ${line}, which is outside of the data directory: without isolation the server would read it.`,
    'Nothing was started. Restore with isolate: true, and give the settings that you need as postgresql-conf.',
  );
}
