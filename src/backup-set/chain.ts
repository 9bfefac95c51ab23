import {lsnPosition, type Manifest} from './manifest.js';
import {manifestName, manifestNameIn} from './manifest-text.js';
import type {Metadata} from './metadata.js';
import {shownName} from './tar.js';

/**
 * Why a backup is not the one that an incremental one was made against, by the metadata of both; undefined: it is.
 * PostgreSQL's own pg_combinebackup compares the same of the files (check_backup_label_files, check_control_files).
 */
export function problemOfLink(child: Metadata, parent: Metadata): string | undefined {
  const {parent: link} = child;
  if (link === undefined) return undefined;
  if (parent.systemIdentifier !== child.systemIdentifier)
    return `it is of another system: its system identifier is ${parent.systemIdentifier}, and ${child.systemIdentifier} is wanted`;
  const wanted = manifestNameIn(parent.files.map(({name}) => name));
  const manifest = parent.files.find(({name}) => name === wanted);
  if (manifest === undefined) return `it has no ${manifestName} of its own, by which it would be known again`;
  if (manifest.sha256 !== link.manifestSha256)
    return `another backup has taken its name: the SHA-256 of its ${manifestName} is ${manifest.sha256}, and ${link.manifestSha256} is wanted`;
  if (lsnPosition(parent.startLsn) !== lsnPosition(link.startLsn))
    return `it starts at ${parent.startLsn}, and ${link.startLsn} is wanted`;
  if (lsnPosition(parent.startLsn) >= lsnPosition(child.startLsn))
    return `it starts at ${parent.startLsn}, which is not before ${child.startLsn}`;
  return undefined;
}

/** The name of a file that holds the changed blocks of another (PostgreSQL, basebackup_incremental.h). */
const incremental = /^((?:.*\/)?)INCREMENTAL\.([^/]+)$/;

/**
 * The files of an incremental backup, by its manifest, whose other blocks its parent does not have, neither whole nor as
 * changes: `it has the changed blocks of base/5/1259 alone`.
 */
export function filesWithoutBase(child: Manifest, parent: Manifest): readonly string[] {
  return [...child.files.keys()].flatMap((path) => {
    const match = incremental.exec(path);
    if (!match) return [];
    const [, directory = '', name = ''] = match;
    const isThere = parent.files.has(`${directory}${name}`) || parent.files.has(path);
    return isThere ? [] : [shownName(path)];
  });
}

/** When a full backup is due: after so many backups, or when the last one is so old. */
export type FullEvery = {readonly backups: number} | {readonly seconds: number};

/**
 * Why a full backup is due after a chain of backups, the full one first; undefined: it is not. A schedule is never on
 * the minute, so that a twentieth of the time may be lacking: else every week would become every eight days.
 */
export function whyFullIsDue(
  chain: readonly Pick<Metadata, 'startedAt'>[],
  every: FullEvery,
  now: Date,
): string | undefined {
  if ('backups' in every)
    return chain.length < every.backups ? undefined : `the chain has ${chain.length} backups already`;
  const ageSeconds = (now.getTime() - Date.parse(chain[0]?.startedAt ?? '')) / 1000;
  if (ageSeconds < every.seconds * 0.95) return undefined;
  return `the full backup at the beginning of the chain is of ${chain[0]?.startedAt}`;
}
