import type {Metadata} from '../backup-set/metadata.js';
import {outputsOf} from './outputs.js';
import {sharesOf} from './shares.js';
import type {Result, Story} from './story.js';

type Done = Exclude<Extract<Result, {dryRun: false}>, {mode: 'prepare'}>;

/**
 * A report for programs, as JSON: `outputs` as later steps get them, `phases` and `throughput` with times in
 * milliseconds since 1970, sizes in bytes, and what else the page for people tells.
 */
export function jsonOf(result: Done, {journal, history}: Story): string {
  const metadata = metadataOf(result);
  const value = {
    schemaVersion: 1,
    mode: result.mode,
    writtenAt: new Date().toISOString(),
    outputs: outputsOf(result),
    reached: 'reached' in result ? [...result.reached] : [],
    checks: 'checks' in result ? result.checks : [],
    findings: ('findings' in result ? result.findings : []).map(({level, subject, observed, cure}) => ({
      ...{level, subject, observed, cure},
    })),
    phases: journal.phases,
    throughput: journal.samples,
    sizes: sharesOf(metadata).map(({title, items}) => ({title, items})),
    files: metadata?.files ?? [],
    history: history.map(({name, finishedAt, sizeBytes, durationSeconds, proof, damage}) => ({
      ...{name, finishedAt, sizeBytes, durationSeconds},
      ...{restoreSeconds: proof?.restoreSeconds, proof: proof?.proof, damage: damage?.damage},
    })),
  };
  return `${JSON.stringify(value, null, 2)}\n`;
}

function metadataOf(result: Done): Metadata | undefined {
  return result.mode === 'backup' ? result.metadata : result.backup.metadata;
}
