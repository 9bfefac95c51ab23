import type {Cluster} from '../test/support/cluster.js';

/** As in a cluster of many tables, what compresses well and what does not are sent by turns. */
const slices = 10;

/**
 * Fills a cluster with about so many MB: half pgbench's tables, which are mostly blanks, half rows with words, numbers
 * and random tokens, each in ten parts. Both are in the database `bank`, which it makes.
 */
export async function fillMixed(cluster: Cluster, megabytes: number): Promise<void> {
  // A scale of 1 is 100,000 accounts: 15 MB with the index. A row of the other table has about 210 bytes.
  await cluster.pgbench('bank', Math.max(1, Math.round(megabytes / 2 / 15)), [`--partitions=${slices}`]);
  const rows = Math.round((megabytes * 1e6) / 2 / 210 / slices);
  for (let slice = 1; slice <= slices; slice += 1)
    await cluster.sql(
      `create table orders_${slice} as
       select n as id, md5(random()::text) as token, (random() * 1e6)::int as customer,
         'Order of ' || (random() * 9)::int || ' items for delivery to the customer at the address number '
           || (random() * 1e5)::int || repeat(' and so on', (random() * 9)::int) as note
       from generate_series(1, ${rows}) n`,
      'bank',
    );
}
