import type {Finding} from '../finding.js';
import type {Situation} from './judge.js';
import {streamedBytes} from './window.js';

/** Whether the backup fits: compressed, nobody knows its size beforehand; not compressed, it has to. */
export function judgeSpace(situation: Situation): readonly Finding[] {
  const {dataBytes} = situation.readiness;
  if (dataBytes === null) return [];
  const disk = situation.isStreamed ? judgeWindow(situation, dataBytes) : judgeDisk(situation, dataBytes);
  const storage = judgeStorage(situation, dataBytes);
  return [...(disk ? [disk] : []), ...(storage ? [storage] : [])];
}

function judgeWindow(situation: Situation, dataBytes: number): Finding | undefined {
  const {request, freeBytes, storeDiskBytes} = situation;
  // What is not there cannot lie on the disk.
  const neededBytes = streamedBytes + Math.min(storeDiskBytes, dataBytes);
  if (freeBytes >= neededBytes) return undefined;
  const parts = storeDiskBytes > 0 ? ', set artifact-part-size lower' : '';
  return {
    level: freeBytes < streamedBytes ? 'error' : levelOf(situation),
    subject: 'Disk',
    observed: `${showSize(freeBytes)} are free in ${request.directory}, and ${showSize(neededBytes)} are needed by what is on its way to the storage`,
    cure: `Set directory to a larger disk${parts}, or free space in an earlier step.`,
  };
}

function judgeDisk(situation: Situation, dataBytes: number): Finding | undefined {
  const {request, freeBytes} = situation;
  // While an archive is encrypted it is there twice.
  const isTwice = isAsItIs(situation) && request.encryption !== undefined;
  if (freeBytes >= (isTwice ? 2 * dataBytes : dataBytes)) return undefined;
  return {
    // Nothing becomes as small as that.
    level: freeBytes < dataBytes / 100 ? 'error' : levelOf(situation),
    subject: 'Disk',
    observed: `${showSize(freeBytes)} are free in ${request.directory}, and the databases have ${showSize(dataBytes)} before compression${isTwice ? ', which are there twice while they are encrypted' : ''}`,
    cure: 'Set directory to a larger disk, use a larger runner, or free space in an earlier step.',
  };
}

function judgeStorage(situation: Situation, dataBytes: number): Finding | undefined {
  const {largestFileBytes = Number.POSITIVE_INFINITY} = situation;
  if (dataBytes <= largestFileBytes) return undefined;
  return {
    level: levelOf(situation),
    subject: 'Storage',
    observed: `the databases have ${showSize(dataBytes)} before compression, and the storage takes ${showSize(largestFileBytes)} at most as one file`,
    cure: cureOfLargeFile(situation),
  };
}

function cureOfLargeFile({isStreamed, storeDiskBytes}: Situation): string {
  const larger = isStreamed && storeDiskBytes > 0 ? 'Set artifact-part-size higher, compress' : 'Compress';
  return `${larger}, or spread the cluster over tablespaces, each of which is a file of its own; storage: directory has no such limit.`;
}

const levelOf = (situation: Situation) =>
  isAsItIs(situation) || situation.request.format === 'plain' ? 'error' : 'warning';

const isAsItIs = ({request: {format, compress}}: Situation) =>
  format === 'tar' && compress !== 'auto' && compress.method === 'none';

/** For people: `12 MB`, `1.5 GB`. */
export const showSize = (bytes: number) =>
  bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
