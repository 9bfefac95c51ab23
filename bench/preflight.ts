import {rmSync} from 'node:fs';
import {parseArgs} from 'node:util';
import {createCluster} from '../test/support/cluster.js';
import {backupInputs} from '../test/support/steps.js';
import {makeWorkspace} from '../test/support/workspace.js';
import {interleave, medianSeconds, timeAction} from './measure.js';

// What the preflight of a backup takes on a local server: a step with `dry-run: true`, which asks the server, looks for
// the client, judges, plans and reports, less the start of Node with the same dist/index.js, which every step has to
// pay for. That start is measured as the end of a job that has nothing to do.

const {values: options} = parseArgs({options: {rounds: {type: 'string', default: '15'}}});
const rounds = Number(options.rounds);
/** The target, in seconds. */
const most = 0.3;
const [dry, empty] = ['dry-run: true', 'an empty start of dist/index.js'];

const home = makeWorkspace();
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
process.once('exit', () => rmSync(home.root, {recursive: true, force: true}));
// With a password, as most have: two logins by SCRAM are a part of it.
const cluster = await createCluster({password: 'right'});
try {
  const inputs = backupInputs(cluster, {password: 'right', 'dry-run': 'true'});
  const samples = await interleave(
    [
      {name: dry, run: () => timeAction(inputs, {workspace: home})},
      {name: empty, run: () => timeAction({}, {workspace: home, env: {'STATE_is-post': 'true'}})},
    ],
    rounds,
  );
  const [whole, start] = [medianSeconds(samples.get(dry)), medianSeconds(samples.get(empty))];
  const preflight = whole - start;
  const row = (what: string, seconds: number) => `| ${what} | ${seconds.toFixed(3)} s |\n`;
  process.stdout.write(
    `\nMedians of ${rounds}.\n\n| what | time |\n| --- | --- |\n` +
      row(dry, whole) +
      row(empty, start) +
      row('preflight alone', preflight) +
      `\nTarget: at most ${most} s.\n`,
  );
  // Not exit(): the cluster is still to be removed.
  if (preflight > most) process.exitCode = 1;
} finally {
  await cluster.remove();
  await home.remove();
}
