import {problemOfLink} from '../backup-set/chain.js';
import type {Metadata} from '../backup-set/metadata.js';
import {checkSize} from '../backup-set/source.js';
import {messageOf, UserError} from '../errors.js';
import {suspecting} from './damage.js';
import type {FoundBackup, Store} from './store.js';

/** A backup that another one builds on. */
export type ChainMember = FoundBackup & {readonly metadata: Metadata};

/**
 * Finds all that an incremental backup needs to be restored, the full one first; nothing for a full one. The links
 * between them are compared by the metadata alone, and nothing is fetched. Throws a UserError that names the link that
 * is missing, or that is not the backup that it was.
 */
export async function followChain(
  found: Pick<FoundBackup, 'metadata'>,
  store: Pick<Store, 'findParent'>,
): Promise<readonly ChainMember[]> {
  const members: ChainMember[] = [];
  let child = found;
  // Each starts before the one that needs it, so that there is an end.
  while (child.metadata?.parent) {
    const parent = await findMember(child.metadata, store);
    members.unshift(parent);
    child = parent;
  }
  return members;
}

async function findMember(child: Metadata, store: Pick<Store, 'findParent'>): Promise<ChainMember> {
  const link = child.parent;
  if (link === undefined) throw new Error(`${child.name} is a full backup, and has no parent.`);
  const found = await store.findParent(link).catch((cause: unknown) => {
    if (!(cause instanceof UserError)) throw cause;
    throw broken(child, `${messageOf(cause)} ${cause.cure}`);
  });
  const {metadata} = found;
  if (metadata === undefined) throw broken(child, 'it has no metadata, by which it would be known again');
  const problem = problemOfLink(child, metadata);
  if (problem !== undefined) throw broken(child, problem);
  await checkFiles(found, child);
  return {...found, metadata};
}

/** Other stores compare their lists with the metadata when they find a backup. */
async function checkFiles(found: FoundBackup, child: Metadata): Promise<void> {
  const {source, metadata} = found;
  if (source === undefined) return;
  try {
    await suspecting(found, async () => {
      for (const file of metadata?.files ?? []) await checkSize(source, file);
    });
  } catch (cause) {
    if (!(cause instanceof UserError)) throw cause;
    throw broken(child, cause.message);
  }
}

function broken({name, parent}: Metadata, reason: string): UserError {
  return new UserError(
    `Backup ${name} is incremental, and nothing without ${parent?.name}, which it builds on: ${reason}`,
    'Restore another backup: a full one, or one whose chain is whole. The next backup should be a full one: run the step once without incremental.',
  );
}
