import {execFileSync} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {appendFileSync, mkdirSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

// Ways to get a compressed archive into a container, measured side by side: npm run bench:container [megabytes] [rounds]
// Needs an engine and the images of the container tests: eval "$(script/engine)" && script/images

const [megabytes = 800, rounds = 3] = process.argv.slice(2).map(Number);
const image = 'pg-basebackup-action-test:17-trixie';
const target = '/var/lib/postgresql/bench';

const sh = (script: string, ...args: readonly string[]) =>
  execFileSync('bash', ['-o', 'pipefail', '-ec', script, 'bash', ...args], {encoding: 'utf8'}).trim();

/** Ways by name; $1 is the archive, $2 the container, $3 the directory in it. */
const ways: Readonly<Record<string, string>> = {
  'docker exec, decompressed inside of the container':
    'docker exec -i -u postgres "$2" sh -c \'zstd -dc | tar -x -o -f - -C "$1"\' sh "$3" < "$1"',
  'docker exec, decompressed on the runner':
    'zstd -dc "$1" | docker exec -i -u postgres "$2" tar -x -o -f - -C "$3"',
  'docker cp, decompressed on the runner': 'zstd -dc "$1" | docker cp - "$2:$3"',
};

const directory = mkdtempSync(join(tmpdir(), 'bench-container-'));
const container = sh('docker run --detach --rm --entrypoint sleep "$1" infinity 2>/dev/null', image);
try {
  const data = join(directory, 'data');
  mkdirSync(data);
  for (let one = 0; one < megabytes; one += 1) {
    appendFileSync(join(data, String(one % 100)), randomBytes(2 ** 19).toString('hex'));
  }
  const archive = join(directory, 'base.tar.zst');
  sh('tar -c -C "$1" . | zstd -2 -T0 -q > "$2"', data, archive);

  const seconds = new Map(Object.keys(ways).map((name) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, script] of Object.entries(ways)) {
      sh('docker exec "$1" install -d -o postgres "$2"', container, target);
      const begin = performance.now();
      sh(script, archive, container, target);
      seconds.get(name)?.push((performance.now() - begin) / 1000);
      sh('docker exec "$1" rm -rf "$2"', container, target);
    }
  }
  process.stdout.write(`| ${megabytes} MB, medians of ${rounds} | seconds |\n| --- | --- |\n`);
  for (const [name, times] of seconds) {
    const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
    process.stdout.write(`| ${name} | ${median.toFixed(2)} |\n`);
  }
} finally {
  sh('docker rm --force --volumes "$1"', container);
  rmSync(directory, {recursive: true});
}
