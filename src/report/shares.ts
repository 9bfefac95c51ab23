import type {Metadata} from '../backup-set/metadata.js';
import type {Share} from '../backup-set/sizes.js';
import type {Shares} from './content.js';

/** Sizes by database and by tablespace; nothing of a backup that is encrypted, whose metadata hide them, too. */
export function sharesOf(metadata: Metadata | undefined): readonly Shares[] {
  if (metadata?.sizes === undefined || metadata.encryption) return [];
  const {databases, tablespaces} = metadata.sizes;
  const path = new Map(metadata.tablespaces.map((tablespace) => [tablespace.oid, tablespace.path]));
  const items = (shares: readonly Share[]) =>
    shares.map(({oid, name, sizeBytes}) => ({label: name ?? path.get(oid) ?? `oid ${oid}`, sizeBytes}));
  return [
    {kind: 'shares', title: 'Databases', items: items(databases)},
    // Every cluster has pg_default and pg_global: they tell nothing by themselves.
    ...(tablespaces.length > 2
      ? [{kind: 'shares', title: 'Tablespaces', items: items(tablespaces)} as const]
      : []),
  ];
}
