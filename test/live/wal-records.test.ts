import {spawnSync} from 'node:child_process';
import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {loadCrc32c} from '../../src/backup-set/checksum.js';
import {lsnPosition, parseManifest, type WalRange} from '../../src/backup-set/manifest.js';
import {Problems} from '../../src/verify/problems.js';
import {WalCheck} from '../../src/verify/wal.js';
import {cluster, describeWithPostgres, postgresProgram} from '../support/cluster.js';
import {takeByHand} from '../support/hand-made.js';
import {workspace} from '../support/workspace.js';

/** Whether pg_waldump can read a range, which is how pg_verifybackup verifies WAL. */
function isReadByPostgres(wal: string, {timeline, startLsn, endLsn}: WalRange): boolean {
  const range = [`--timeline=${timeline}`, `--start=${startLsn}`, `--end=${endLsn}`];
  return spawnSync(postgresProgram('pg_waldump'), ['--quiet', `--path=${wal}`, ...range]).status === 0;
}

/** Where the records of a range begin. */
function recordsOf(wal: string, {timeline, startLsn, endLsn}: WalRange): readonly number[] {
  const range = [`--timeline=${timeline}`, `--start=${startLsn}`, `--end=${endLsn}`];
  const {stdout} = spawnSync(postgresProgram('pg_waldump'), [`--path=${wal}`, ...range], {encoding: 'utf8'});
  return [...stdout.matchAll(/\blsn: ([0-9A-F]+\/[0-9A-F]+),/g)].map(([, lsn = '']) =>
    Number(lsnPosition(lsn)),
  );
}

async function isReadByUs(wal: string, range: WalRange): Promise<boolean> {
  const problems = new Problems();
  const check = new WalCheck([{...range, startChecksum: await loadCrc32c()}], problems);
  for (const name of readdirSync(wal).sort()) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue;
    const bytes = readFileSync(join(wal, name));
    const sink = check.open(name, bytes.length);
    sink?.write(bytes);
    sink?.end();
  }
  check.finish({major: 15});
  return problems.count === 0;
}

describeWithPostgres('a byte of WAL that is turned over', () => {
  test('is found wherever PostgreSQL finds it', async () => {
    // A checkpoint meanwhile must not remove what the backup is about to ask for.
    const source = await cluster({initdbArgs: ['--wal-segsize=1'], settings: ['wal_keep_size = 1GB']});
    const directory = join(workspace().directory, 'backup');
    // Records of every length, some of them over several pages and from one segment into the next.
    await source.sql(
      'create table rows (n int, large text); alter table rows alter large set storage external',
    );
    const writing = source.sql(
      'insert into rows select n, repeat(md5(n::text), n % 900) from generate_series(1, 300) n; checkpoint',
    );
    await takeByHand(source, directory, ['--format=plain', '--max-rate=20M']);
    await writing;
    const wal = join(directory, 'pg_wal');
    const [range] = parseManifest(readFileSync(join(directory, 'backup_manifest'), 'utf8')).walRanges;
    if (!range) throw new Error('The manifest has no range of WAL.');
    const [start, end] = [Number(lsnPosition(range.startLsn)), Number(lsnPosition(range.endLsn))];
    expect(isReadByPostgres(wal, range)).toBe(true);
    expect(await isReadByUs(wal, range)).toBe(true);

    const starts = recordsOf(wal, range);
    expect(starts.length).toBeGreaterThan(0);

    const verdicts: {position: number; postgres: boolean; ours: boolean}[] = [];
    const steps = 150;
    for (let step = 0; step < steps; step += 1) {
      // Another place within its piece each time, so that headers, links and contents are all hit.
      const position = start + Math.floor(((step + ((step * 7919) % 97) / 97) * (end - start)) / steps);
      const path = join(wal, nameOf(range.timeline, position));
      const sound = readFileSync(path);
      const damaged = Buffer.from(sound);
      damaged.writeUInt8(sound.readUInt8(position % (1 << 20)) ^ 0x11, position % (1 << 20));
      writeFileSync(path, damaged);
      verdicts.push({position, postgres: isReadByPostgres(wal, range), ours: await isReadByUs(wal, range)});
      writeFileSync(path, sound);
    }
    // A length that leads beyond the end of the range is the end of it to pg_waldump, which then reports nothing.
    const isLength = (position: number) => starts.some((at) => position >= at && position < at + 4);
    const differing = verdicts.filter(({postgres, ours}) => postgres !== ours);
    expect(differing.filter(({position, ours}) => ours || !isLength(position))).toEqual([]);
    expect(verdicts.filter(({ours}) => !ours).length).toBeGreaterThan(steps / 2);
  });
});

/** The name of a segment of 1 MB. */
function nameOf(timeline: number, position: number): string {
  const half = (value: number) => value.toString(16).toUpperCase().padStart(8, '0');
  return (
    half(timeline) + half(Math.floor(position / 2 ** 32)) + half(Math.floor((position % 2 ** 32) / (1 << 20)))
  );
}
