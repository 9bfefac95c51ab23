import type {Archive, BackupFiles} from '../backup-set/archive.js';
import {manifestName, refuseLargeManifest} from '../backup-set/manifest-text.js';
import {type ContentSink, shownName, type TarMember} from '../backup-set/tar.js';
import {type ArchiveRole, unpackLimit} from '../backup-set/unpack-limit.js';
import type {Host} from '../host/host.js';
import {info} from '../log.js';
import {readArchive} from './archive-reader.js';
import {type Examination, openFile} from './examination.js';
import {isIgnored} from './inventory.js';

/** A backup in tar format. */
export type Archives = BackupFiles & {readonly kind: 'tar'};

/** Reads each archive of a backup once, and compares every member. */
export async function verifyArchives(files: Archives, examination: Examination): Promise<void> {
  const {problems, inventory} = examination;
  await refuseOthers(files, examination);
  const broken: string[] = [];
  for (const archive of [files.base, ...files.tablespaces, ...(files.wal ? [files.wal] : [])]) {
    const before = problems.count;
    const begin = performance.now();
    const isRead = await problems.collect(async () => {
      await readOne(archive, {files, examination});
      return true;
    });
    if (!isRead) broken.push(archive.name);
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    const found = problems.count - before;
    info(`${archive.name}: read in ${seconds} s, ${found === 0 ? 'no problem' : `problems: ${found}`}`);
  }
  noteMissing(inventory.missing(), {files, broken, examination});
}

async function readOne(
  archive: Archive,
  {files, examination}: {files: Archives; examination: Examination},
): Promise<void> {
  const {runner, stored, manifest} = examination;
  const oid = files.tablespaces.find(({name}) => name === archive.name)?.oid;
  const isWal = archive.name === files.wal?.name;
  const role: ArchiveRole = oid === undefined ? (isWal ? 'wal' : 'base') : {oid};
  const prefix = prefixOf(role);
  await readArchive(archive, {
    runner,
    bytes: stored.open(archive.name),
    mostBytes: unpackLimit(manifest, files, role),
    visit: (member) => visit(member, {examination, archive, prefix}),
  });
}

/** Where the members of an archive lie in the data directory. */
function prefixOf(role: ArchiveRole): string {
  if (role === 'base') return '';
  return role === 'wal' ? 'pg_wal/' : `pg_tblspc/${role.oid}/`;
}

/** The name of the archive that a file of the cluster is in. */
function archiveOf(path: string, files: Archives): string {
  const oid = /^pg_tblspc\/(\d+)\//.exec(path)?.[1];
  if (oid === undefined) return files.base.name;
  return files.tablespaces.find((tablespace) => tablespace.oid === oid)?.name ?? `${oid}.tar`;
}

interface Visit {
  readonly examination: Examination;
  readonly archive: Archive;
  readonly prefix: string;
}

function visit(member: TarMember, {examination, archive, prefix}: Visit): ContentSink | undefined {
  const {problems} = examination;
  const name = member.name.replace(/^\.\//, '').replace(/\/$/, '');
  if (name === '.' || (name === '' && member.kind === 'directory')) return undefined;
  const shown = shownName(`${prefix}${name}`);
  if (name.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    problems.add(shownName(member.name), `a name that leads out of the data directory, in ${archive.name}`);
    return undefined;
  }
  if (member.kind === 'file') return openFile(examination, `${prefix}${name}`, member.sizeBytes);
  // base.tar has a link to each tablespace, which no restore follows.
  const isTablespace = member.kind === 'symbolic-link' && prefix === '' && /^pg_tblspc\/\d+$/.test(name);
  if (member.kind !== 'directory' && !isTablespace)
    problems.add(shown, `a link or a special file in ${archive.name}, which no base backup holds`);
  return undefined;
}

/** PostgreSQL's own pg_verifybackup refuses them too: a restore would not know what they are for. */
async function refuseOthers(files: Archives, {source, problems}: Examination): Promise<void> {
  const known = [files.base, ...files.tablespaces, ...(files.wal ? [files.wal] : [])].map(({name}) => name);
  if (files.manifest !== undefined) known.push(files.manifest);
  for (const name of [...(await source.list())].sort())
    if (!known.includes(name) && !isIgnored(name))
      problems.add(name, 'it is there, but no backup in tar format holds it');
}

interface Reading {
  readonly files: Archives;
  /** Archives that were not read to their end. */
  readonly broken: readonly string[];
  readonly examination: Examination;
}

/** Notes files that were not found: one by one, or together where their archive is missing or was cut. */
function noteMissing(missing: readonly string[], {files, broken, examination}: Reading): void {
  const {problems} = examination;
  const together = new Map<string, number>();
  for (const path of missing) {
    const archive = archiveOf(path, files);
    const isThere = [files.base, ...files.tablespaces].some(({name}) => name === archive);
    if (isThere && !broken.includes(archive)) problems.add(shownName(path), `it is missing in ${archive}`);
    else together.set(archive, (together.get(archive) ?? 0) + 1);
  }
  for (const [archive, count] of together)
    problems.add(
      archive,
      broken.includes(archive)
        ? `${count} files of the manifest were not found before the reading stopped`
        : `it is missing, and with it ${count} files`,
    );
}

/** A manifest that was found where it was looked for, which ends the reading. */
class Found extends Error {
  readonly text: string;

  constructor(text: string) {
    super('The manifest was found.');
    this.text = text;
  }
}

/** What looking for a manifest works with. */
export interface ManifestSearch {
  readonly runner: Host;
  /** Reads a file of the backup, decrypted, without counting it as read. */
  readonly peek: (name: string) => AsyncIterable<Buffer>;
}

/**
 * Reads the manifest inside of base.tar, as `pg_basebackup --pgdata=-` puts it there: an extra reading, up to where it
 * is. Returns undefined when there is none.
 */
export async function manifestInside(
  {base}: Archives,
  {runner, peek}: ManifestSearch,
): Promise<string | undefined> {
  const visitMember = ({name, kind, sizeBytes}: TarMember): ContentSink | undefined => {
    if (kind !== 'file' || name.replace(/^\.\//, '') !== manifestName) return undefined;
    refuseLargeManifest(sizeBytes);
    const pieces: Buffer[] = [];
    return {
      write: (bytes) => pieces.push(Buffer.from(bytes)),
      end: () => {
        throw new Found(Buffer.concat(pieces).toString('utf8'));
      },
    };
  };
  const bytes = peek(base.name);
  try {
    await readArchive(base, {runner, bytes, mostBytes: Number.MAX_SAFE_INTEGER, visit: visitMember});
  } catch (error) {
    if (error instanceof Found) return error.text;
    throw error;
  }
  return undefined;
}
