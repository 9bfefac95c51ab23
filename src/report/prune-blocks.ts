import type {Pruned} from '../backup/prune.js';
import type {CatalogEntry} from '../backup-set/catalog.js';
import {type Block, type Text, tableOf} from './content.js';
import {size} from './units.js';

/** What became of older backups, and why; nothing where it was not asked for. */
export function pruneBlocks(pruned: Pruned | undefined, goneWord: string): readonly Block[] {
  if (pruned === undefined) return [];
  const {kept, removed, left, others} = pruned;
  const rows = [
    ...kept.map(({entry, reasons}) => rowOf(entry, reasons.join(', '))),
    ...removed.map((entry) =>
      rowOf(entry, {strong: left.includes(entry) ? 'left: see the warning' : goneWord}),
    ),
  ];
  const title = `Older backups: ${kept.length} stay, ${removed.length} ${goneWord}; ${others.length} of other names or systems`;
  return [
    ...(left.length > 0 ? [warnOf(left)] : []),
    ...tableOf(['Backup', 'Finished', 'Size', 'Stays because of'], rows, title),
  ];
}

function warnOf(left: readonly CatalogEntry[]): Block {
  const names = left.map(({name}) => name).join(', ');
  return {
    kind: 'quote',
    mark: 'WARNING',
    text: `${left.length} backups that should have gone are left: ${names}`,
  };
}

function rowOf({name, finishedAt, sizeBytes}: CatalogEntry, why: Text): readonly Text[] {
  return [{code: name}, finishedAt, size(sizeBytes), why];
}
