import {mkdirSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {lsnPosition, parseManifest} from '../../src/backup-set/manifest.js';
import {
  type Cluster,
  createCluster,
  describeWithPostgres,
  postgresProgram,
  standbyOf,
} from '../support/cluster.js';
import {run} from '../support/command.js';
import {takeByHand} from '../support/hand-made.js';
import {runAction, succeeded} from '../support/runner.js';
import {backupDirectory} from '../support/steps.js';
import {workspace} from '../support/workspace.js';

describeWithPostgres('WAL that is written while a backup is taken', () => {
  let primary: Cluster;

  beforeAll(async () => {
    primary = await createCluster({initdbArgs: ['--wal-segsize=1'], settings: ['wal_keep_size = 1GB']});
    await primary.sql(
      'create table rows (n int, large text); alter table rows alter large set storage external',
    );
    return () => primary.remove();
  });

  /** Records of up to 300 kB, and so of many pages and segments, until `isOver`. */
  async function write(isOver: () => boolean): Promise<void> {
    while (!isOver())
      await primary.sql(
        `insert into rows select n, repeat(md5(n::text), 300) from generate_series(1, 100) n;
         select pg_logical_emit_message(true, 'large', repeat('x', n * 10000)) from generate_series(1, 30) n;
         select pg_sleep(0.2)`,
      );
  }

  test.for([
    ['primary', '--wal-method=stream'],
    ['primary', '--wal-method=fetch'],
    ['standby', '--wal-method=stream'],
  ] as const)('of a %s is verified as PostgreSQL does it, %s', async ([role, walMethod]) => {
    // A standby's backup ends where pages were written last: with few buffers that goes on all the time.
    const server = role === 'primary' ? primary : await standbyOf(primary, ['shared_buffers = 1MB']);
    const home = workspace();
    const directory = backupDirectory(home);
    mkdirSync(join(directory, '..'));
    let isOver = false;
    const writing = write(() => isOver);
    try {
      await takeByHand(server, directory, ['--format=plain', '--max-rate=12M', walMethod]);
    } finally {
      isOver = true;
      await writing;
    }
    // Throws when PostgreSQL finds a fault.
    await run(postgresProgram('pg_verifybackup'), [directory]);
    const inputs = {mode: 'verify', storage: 'directory', 'backup-name': 'nightly'};
    const {outputs} = succeeded(await runAction(inputs, {workspace: home}));
    expect(outputs.proof).toBe('manifest-verified');
    expect(Number(outputs['wal-segments-verified'])).toBeGreaterThan(4);
    // Where no backup runs on the server that writes: XLP_FIRST_IS_CONTRECORD and XLP_BKP_REMOVABLE.
    if (role === 'standby') expect(neededPagesWith(0x5, directory)).toBeGreaterThan(100);
  });
});

/** Pages with these flags among those that the manifest tells to be needed. */
function neededPagesWith(flags: number, directory: string): number {
  const {startLsn, endLsn} = parseManifest(readFileSync(join(directory, 'backup_manifest'), 'utf8'));
  const wal = join(directory, 'pg_wal');
  let count = 0;
  for (const name of readdirSync(wal).filter((one) => /^[0-9A-F]{24}$/.test(one))) {
    const bytes = readFileSync(join(wal, name));
    for (let at = 0; at < bytes.length; at += 8192) {
      const position = bytes.readBigUInt64LE(at + 8);
      const isNeeded = position >= lsnPosition(startLsn) && position < lsnPosition(endLsn);
      if (isNeeded && (bytes.readUInt16LE(at + 2) & flags) === flags) count += 1;
    }
  }
  return count;
}
