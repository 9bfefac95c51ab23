import type {Journal, Sample} from '../journal.js';
import type {Throughput, Timeline} from './content.js';

/** What took less is not seen in a picture. */
const shortestSeconds = 0.05;

/** The phases of a step; nothing where none took its time. */
export function timelineOf({phases}: Journal): readonly Timeline[] {
  const shown = phases.filter(({seconds, failed}) => failed || seconds >= shortestSeconds);
  return shown.length === 0 ? [] : [{kind: 'timeline', phases: shown}];
}

const mostStretches = 24;
const fewestSamples = 4;

/**
 * How fast data arrived, from what pg_basebackup told about once a second; nothing where it told too little for a
 * picture.
 */
export function throughputOf({samples}: Journal): readonly Throughput[] {
  const moving = samples.slice(Math.max(0, samples.findIndex(({doneBytes}) => doneBytes > 0) - 1));
  const [first, last] = [moving[0], moving.at(-1)];
  if (!first || !last || moving.length < fewestSamples) return [];
  const seconds = (last.at - first.at) / 1000;
  const stretches = Math.min(mostStretches, Math.floor(seconds));
  if (stretches < 2 || last.doneBytes === 0) return [];
  const bytesAt = (index: number) =>
    interpolate(moving, first.at + (index * (last.at - first.at)) / stretches);
  const bytesPerSecond = Array.from(
    {length: stretches},
    (_, index) => ((bytesAt(index + 1) - bytesAt(index)) * stretches) / seconds,
  );
  return [{kind: 'throughput', seconds, bytesPerSecond}];
}

function interpolate(samples: readonly Sample[], at: number): number {
  const index = samples.findIndex((sample) => sample.at >= at);
  const [before, after] = [samples[index - 1], samples[index]];
  if (after === undefined) return samples.at(-1)?.doneBytes ?? 0;
  if (before === undefined || after.at === before.at) return after.doneBytes;
  const part = (at - before.at) / (after.at - before.at);
  return before.doneBytes + part * (after.doneBytes - before.doneBytes);
}
