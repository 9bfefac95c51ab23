import {describeSigner} from '../provenance/verified-attestation.js';
import type {Verified, VerifyResult} from '../verify/verify.js';
import {type Block, type Content, factsOf, paragraph, type Text, tableOf} from './content.js';
import {ladderTable, rungOf} from './ladder-table.js';
import {sharesOf} from './shares.js';
import type {Story} from './story.js';
import {timelineOf} from './timeline.js';
import {lastRestore} from './trend.js';
import {age, seconds, size} from './units.js';

/** What there is to tell of a verification, or of the plan of one. */
export function verifyContent(result: VerifyResult, story: Story): Content {
  const {backup} = result;
  if (!result.dryRun) return verifiedContent(result, story);
  return {
    mark: undefined,
    title: ['Verification plan: ', {code: backup.name}],
    blocks: [paragraph(`Dry run: nothing was read but the metadata of ${backup.location}.`)],
  };
}

function verifiedContent(result: Verified, {journal, history}: Story): Content {
  const {backup, checked, backupAgeSeconds} = result;
  const hasWal = checked.walSegments > 0;
  const old = backupAgeSeconds === undefined ? '' : `; the backup is ${age(backupAgeSeconds)} old`;
  return {
    mark: '✅',
    title: ['Backup ', {code: backup.name}, ' is as it was taken'],
    blocks: [
      ...verdictOf(result, history),
      paragraph(`Read in ${seconds(checked.seconds)}, without a restore${old}.`),
      ...(hasWal ? [] : [paragraph({strong: withoutWal})]),
      ...timelineOf(journal),
      ...ladderTable(
        result.reached,
        `every file is as backup_manifest lists it${hasWal ? ', and the WAL can be read' : ''}`,
      ),
      ...sharesOf(backup.metadata),
      ...factsOf(verifiedRows(result)),
    ],
  };
}

const withoutWal = 'It holds no WAL, and restores only together with an archive, which was not verified.';

/** A backup that is whole may still not start. */
function verdictOf(
  {reached, backupAgeSeconds, checked, backup}: Verified,
  history: Story['history'],
): readonly Block[] {
  const last = lastRestore(history, backup.metadata?.systemIdentifier);
  return tableOf(
    ['Safe?', 'Proven', 'Age', 'A restore takes'],
    [
      [
        checked.walSegments > 0 ? '🟡 Whole; no server was started on it' : '🟡 Whole, but without WAL',
        rungOf(reached),
        backupAgeSeconds === undefined ? 'not known' : age(backupAgeSeconds),
        last
          ? [`about ${seconds(last.seconds)}, as of `, {code: last.name}]
          : 'not known: mode: restore tells',
      ],
    ],
  );
}

function verifiedRows({
  backup,
  manifest,
  checked,
  parents,
  signer,
}: Verified): readonly (readonly [string, Text])[] {
  const {startLsn, endLsn, timeline} = manifest;
  return [
    ['From', backup.location],
    ...(signer ? [['Attested', describeSigner(signer)] as const] : []),
    ...(parents.length > 0 ? [['Builds on', `${parents.join(', ')}, verified too`] as const] : []),
    ['Server', backup.metadata ? `PostgreSQL ${backup.metadata.serverVersion}` : 'not known'],
    ['System identifier', checked.systemIdentifier ?? 'not known'],
    ['Files of the cluster', `${checked.files}, ${size(checked.bytes)}`],
    ['Read from storage', size(checked.storedBytes)],
    [
      'WAL',
      checked.walSegments === 0
        ? {strong: 'none: it restores only together with an archive'}
        : `${checked.walSegments} segments, ${checked.walRecords} records, ${startLsn} to ${endLsn}, timeline ${timeline}`,
    ],
  ];
}
