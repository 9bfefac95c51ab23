import type {BackupLabel} from '../../backup-set/backup-label.js';
import {formatLsn, lsnPosition} from '../../backup-set/manifest.js';
import type {SegmentRun} from '../../backup-set/wal-run.js';
import {parseSegmentName, segmentName} from '../../backup-set/wal-segment.js';
import {UserError} from '../../errors.js';
import type {Host} from '../../host/host.js';
import {fetchWalScript} from './fetch-wal.js';
import type {ReadableWal} from './wal-gaps.js';

/** Archived WAL that recovery may read, and where the server's host has it. */
export interface ArchivedWal extends ReadableWal {
  readonly directory: string;
}

/** WAL of an archive, decompressed, as long as it is being looked at. */
export interface FetchedPiece {
  readonly directory: string;
  readonly run: SegmentRun;
}

/** What a piece takes of the disk; two segments at least, which may have 1 GB each. */
const pieceBytes = 256 * 2 ** 20;

/**
 * Brings segments into a scratch directory, a piece at a time, by the script that PostgreSQL will have run. What that
 * cannot bring ends recovery, too, and is left out. Neighbours have the names of one timeline, under which pg_waldump
 * reads across the point where recovery goes over to another.
 */
export async function* fetchedPieces(
  {host, scratchDirectory}: {readonly host: Host; readonly scratchDirectory: string},
  {directory, names, segmentSizeBytes}: ArchivedWal,
  label: BackupLabel,
): AsyncGenerator<FetchedPiece, void> {
  const most = Math.max(2, Math.floor(pieceBytes / segmentSizeBytes));
  const script = `${scratchDirectory}/fetch-wal`;
  const wal = `${scratchDirectory}/wal`;
  try {
    await host.makeDirectory(scratchDirectory);
    await host.writeText(script, fetchWalScript, {executable: true});
    for (const piece of piecesOf(names, segmentSizeBytes, most)) {
      const timeline = parseSegmentName(piece.at(-1) ?? '', segmentSizeBytes).timeline;
      const renamed = piece.map((name) => {
        const {number} = parseSegmentName(name, segmentSizeBytes);
        return [name, segmentName({timeline, number}, segmentSizeBytes)] as const;
      });
      await host.makeDirectory(wal);
      await requireSpace(host, wal, piece.length * segmentSizeBytes);
      const args = ['-c', fetchAll, 'sh', script, directory, wal, ...renamed.flat()];
      await host.run({program: 'sh', args});
      const isThere = new Set(await host.list(wal));
      const fetched = renamed.map(([, to]) => to).filter((name) => isThere.has(name));
      for (const run of runsOf(fetched, segmentSizeBytes, label)) yield {directory: wal, run};
      await host.remove(wal);
    }
  } finally {
    await host.remove(scratchDirectory);
  }
}

/** A segment that is not brought because the disk is full would not be looked at, and replayed all the same. */
async function requireSpace(host: Host, directory: string, neededBytes: number): Promise<void> {
  const freeBytes = await host.freeBytes(directory);
  if (freeBytes >= neededBytes) return;
  throw new UserError(
    `To look through wal-directory for tablespaces takes ${neededBytes} bytes in ${directory}, and ${freeBytes} are free.`,
    'Set data-directory to a larger disk, or make room there.',
  );
}

/** What the script says is said again when PostgreSQL runs it. */
const fetchAll = `script=$1 directory=$2 to=$3
shift 3
while [ $# -gt 1 ]; do
  "$script" "$directory" "$1" "$to/$2" 2> /dev/null || rm -f "$to/$2"
  shift 2
done`;

/**
 * Cuts names, which are in their order, into pieces without a gap. The last segment of a piece is also the first of
 * the next: a record may begin in one segment and end in the next.
 */
export function piecesOf(
  names: readonly string[],
  segmentSizeBytes: number,
  most: number,
): readonly (readonly string[])[] {
  const pieces: string[][] = [];
  let before: bigint | undefined;
  for (const name of names) {
    const {number} = parseSegmentName(name, segmentSizeBytes);
    const piece = pieces.at(-1);
    const last = piece?.at(-1);
    if (piece === undefined || last === undefined || before === undefined || before + 1n !== number)
      pieces.push([name]);
    else if (piece.length < most) piece.push(name);
    else pieces.push([last, name]);
    before = number;
  }
  return pieces;
}

/** Runs of neighbours among the segments of a piece; one that cannot be fetched parts them. */
function runsOf(
  names: readonly string[],
  segmentSizeBytes: number,
  label: BackupLabel,
): readonly SegmentRun[] {
  const size = BigInt(segmentSizeBytes);
  const start = lsnPosition(label.startLsn);
  return piecesOf(names, segmentSizeBytes, Number.POSITIVE_INFINITY).map((piece) => {
    const [firstName = ''] = piece;
    const {timeline, number} = parseSegmentName(firstName, segmentSizeBytes);
    const begin = number * size;
    return {
      timeline,
      firstName,
      lastName: piece.at(-1) ?? firstName,
      startLsn: formatLsn(begin < start ? start : begin),
      endLsn: formatLsn((number + BigInt(piece.length)) * size),
    };
  });
}
