import {createHash} from 'node:crypto';
import {readdir, readFile, readlink, rename, rm, stat, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {type Catalog, type CatalogEntry, entryOf, factsOf, type Leftover} from '../backup-set/catalog.js';
import {parseMetadata} from '../backup-set/metadata.js';
import {problemOfName} from '../backup-set/naming.js';
import {type Evidence, formatProof, isDamage, parseProof, successor} from '../backup-set/proof-file.js';
import {allReportNames, type ReportFiles} from '../backup-set/report-file.js';
import {describe, UserError} from '../errors.js';
import {makeDirectories} from '../host/directories.js';
import {warning} from '../log.js';

/** What the metadata file of a backup is called from the moment on from which it is being removed. */
export const removingEnd = '.removing';

/** Lists the complete backups of a directory: those that have their metadata file, and their own directory. */
export async function listDirectory(
  directory: string,
  tell: (message: string) => void = warning,
): Promise<Catalog> {
  const names = new Set(await namesIn(directory));
  const entries: CatalogEntry[] = [];
  const unreadable: string[] = [];
  for (const file of names) {
    const name = file.replace(/\.json$/, '');
    if (name === file || !names.has(name) || problemOfName(name) !== undefined) continue;
    try {
      entries.push(await readEntry(directory, name));
    } catch (error) {
      if (isAbsent(error)) continue;
      tell(describe(error));
      unreadable.push(name);
    }
  }
  return {entries, unreadable, leftovers: leftoversAmong(names)};
}

function leftoversAmong(files: Iterable<string>): readonly Leftover[] {
  return [...files]
    .filter((file) => file.endsWith(removingEnd))
    .map((file) => file.slice(0, -removingEnd.length))
    .filter((name) => problemOfName(name) === undefined)
    .map((name) => ({id: name, name}));
}

async function readEntry(directory: string, name: string): Promise<CatalogEntry> {
  const path = join(directory, `${name}.json`);
  const text = await readFile(path, 'utf8');
  const facts = factsOf(parseMetadata(text, path), createHash('sha256').update(text).digest('hex'));
  return entryOf({id: name, name}, facts, [await readProof(directory, name)]);
}

/** The proof beside a backup; one that cannot be read proves nothing. */
async function readProof(directory: string, name: string): Promise<Evidence | undefined> {
  const text = await readFile(proofPath(directory, name), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : parseProof(text);
}

/** Writes a proof or damage whole or not at all, unless a better proof of the same backup is there. */
export async function saveProofBeside(directory: string, evidence: Evidence): Promise<Evidence | undefined> {
  const {name} = evidence;
  const next = successor(evidence, await readProof(directory, name));
  if (next === undefined) return undefined;
  // A backup that was removed meanwhile is not damaged, and nobody would remove the note.
  if (isDamage(next) && !(await namesIn(directory)).includes(`${name}.json`)) return undefined;
  await replaceFile(proofPath(directory, name), formatProof(next));
  return next;
}

/** Writes a report's files, each whole or not at all. */
export async function saveReportBeside(directory: string, files: ReportFiles): Promise<void> {
  await makeDirectories(directory);
  for (const [name, text] of Object.entries(files)) await replaceFile(join(directory, name), text);
}

async function replaceFile(path: string, text: string): Promise<void> {
  // A run of the same backup that is under way beside this one writes to another file.
  const partial = `${path}.${process.pid}.partial`;
  try {
    await writeFile(partial, text, {mode: 0o600});
    await rename(partial, path);
  } finally {
    await rm(partial, {force: true});
  }
}

/**
 * Removes a backup. Its metadata file gets another name first, by which the rest is known as ours until all is gone.
 * Throws a UserError when something is left.
 */
export async function removeFromDirectory(directory: string, {name}: CatalogEntry): Promise<void> {
  try {
    await rename(join(directory, `${name}.json`), join(directory, name + removingEnd));
  } catch (error) {
    if (isAbsent(error)) return;
    throw cannotRemove(join(directory, `${name}.json`), error);
  }
  await removeRest(directory, name);
}

/** Goes on with a removal that was interrupted. Throws a UserError when something is left. */
export async function removeLeftoverFrom(directory: string, {name}: Leftover): Promise<void> {
  // Somebody has made a backup of the same name since: the mark is all that is left of the old one.
  const isBackupAgain = (await namesIn(directory)).includes(`${name}.json`);
  if (isBackupAgain) await rm(join(directory, name + removingEnd), {force: true});
  else await removeRest(directory, name);
}

async function removeRest(directory: string, name: string): Promise<void> {
  await warnOfTablespaces(directory, name);
  const own = ['', '_tablespaces', '.proof.json'].map((end) => name + end);
  for (const file of [...own, ...allReportNames(name), name + removingEnd]) {
    const path = join(directory, file);
    await rm(path, {recursive: true, force: true, maxRetries: 3}).catch((cause: unknown) => {
      throw cannotRemove(path, cause);
    });
  }
}

/** A plain backup may have tablespaces wherever the user put them; nothing outside of the directory is removed. */
async function warnOfTablespaces(directory: string, name: string): Promise<void> {
  const links = join(directory, name, 'pg_tblspc');
  const own = join(directory, `${name}_tablespaces`);
  for (const link of await namesIn(links)) {
    const target = await readlink(join(links, link)).catch(() => undefined);
    if (target === undefined || dirname(target) === own) continue;
    warning(
      `Backup ${name} is removed, but for its tablespace ${target}, which tablespace-mapping put elsewhere.`,
    );
  }
}

function proofPath(directory: string, name: string): string {
  return join(directory, `${name}.proof.json`);
}

async function namesIn(directory: string): Promise<readonly string[]> {
  const isThere = await stat(directory).then(
    (found) => found.isDirectory(),
    () => false,
  );
  return isThere ? readdir(directory) : [];
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function cannotRemove(path: string, cause: unknown): UserError {
  return new UserError(
    `${path} could not be removed.`,
    'Give the account that runs the step the right to remove it. The next step that prunes goes on with it.',
    {cause},
  );
}
