import type {Dirent} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {relocatedWal} from '../backup-set/plain-links.js';
import {shownName} from '../backup-set/tar.js';
import {type Examination, openFile} from './examination.js';

/** A data directory that is walked through. */
type Walk = Examination & {readonly directory: string};

/** Reads each file of a backup in plain format once, and returns the tablespaces that are there. */
export async function verifyDataDirectory(
  directory: string,
  examination: Examination,
): Promise<readonly string[]> {
  const {inventory, problems} = examination;
  const tablespaces = await tablespacesOf(directory);
  await verifyBelow('', {...examination, directory});
  for (const path of inventory.missing()) problems.add(shownName(path), 'it is missing');
  return tablespaces;
}

async function tablespacesOf(directory: string): Promise<readonly string[]> {
  const names = await readdir(`${directory}/pg_tblspc`).catch(() => []);
  return names.filter((name) => /^\d+$/.test(name));
}

/** `path` has a character for each byte of a name, which need not be UTF-8. */
async function verifyBelow(path: string, walk: Walk): Promise<void> {
  const entries = await readdir(bytesOf(walk.directory, path), {
    withFileTypes: true,
    encoding: 'latin1',
  });
  // Segments of WAL in their order: a record may begin in one and end in the next.
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1)))
    await verifyEntry(path === '' ? entry.name : `${path}/${entry.name}`, entry, walk);
}

async function verifyEntry(path: string, entry: Dirent, walk: Walk): Promise<void> {
  const {directory, problems} = walk;
  if (entry.isDirectory()) return verifyBelow(path, walk);
  if (entry.isFile()) return verifyFile(path, walk);
  if (entry.isSymbolicLink() && path === 'pg_wal') {
    const wal = await problems.collect(() => relocatedWal(directory));
    return wal === undefined ? undefined : verifyBelow(path, walk);
  }
  if (!entry.isSymbolicLink() || !/^pg_tblspc\/\d+$/.test(path))
    return problems.add(shownName(path), 'a link or a special file, which no base backup holds');
  const target = await stat(bytesOf(directory, path)).catch(() => undefined);
  if (target?.isDirectory()) return verifyBelow(path, walk);
  return problems.add(shownName(path), 'it links to a directory that is not there');
}

async function verifyFile(path: string, walk: Walk): Promise<void> {
  const {directory, stored} = walk;
  const bytes = bytesOf(directory, path);
  const {size} = await stat(bytes);
  const sink = openFile(walk, path, size);
  if (!sink && !stored.isRecorded(nameOf(path))) return;
  for await (const piece of stored.readPath(nameOf(path), bytes)) sink?.write(piece);
  sink?.end();
}

/** A name as the metadata have it. */
const nameOf = (path: string) => Buffer.from(path, 'latin1').toString('utf8');

function bytesOf(directory: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, 'latin1')]);
}
