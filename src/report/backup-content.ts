import type {BackupResult} from '../backup/backup.js';
import {formatCompression} from '../backup/compression.js';
import {describeKeys} from '../backup/encrypt.js';
import {describeParent} from '../backup/parent.js';
import type {Metadata} from '../backup-set/metadata.js';
import {type Block, type Content, factsOf, paragraph, type Text, tableOf} from './content.js';
import {findingTable, splitFindings} from './finding-table.js';
import {pruneBlocks} from './prune-blocks.js';
import {sharesOf} from './shares.js';
import type {Story} from './story.js';
import {throughputOf, timelineOf} from './timeline.js';
import {lastRestore, trendOf} from './trend.js';
import {seconds, size} from './units.js';

type Backed = Extract<BackupResult, {dryRun: false}>;

/** What there is to tell of a backup, or of the plan of one. */
export function backupContent(result: BackupResult, story: Story): Content {
  return result.dryRun ? planContent(result) : storedContent(result, story);
}

function sourceRows({server, client, request, compression, parent}: BackupResult['plan']) {
  return [
    ['Server', `PostgreSQL ${server.version}${server.isStandby ? ', standby' : ''}`],
    ['System identifier', server.systemIdentifier],
    ['Client', `${client.programs.version} on ${client.host.name}`],
    ['Format', `${request.format}, WAL ${request.walMethod}, compression ${formatCompression(compression)}`],
    ...(parent ? [['Incremental', describeParent(parent)] as const] : []),
  ] as const;
}

function planContent({plan, findings, pruned}: Extract<BackupResult, {dryRun: true}>): Content {
  return {
    mark: undefined,
    title: ['Backup plan: ', {code: plan.request.name}],
    blocks: [
      paragraph('Dry run: nothing was changed.'),
      ...factsOf(sourceRows(plan)),
      ...findingTable(findings),
      ...pruneBlocks(pruned, 'would go'),
    ],
  };
}

function storedContent(result: Backed, {journal, history}: Story): Content {
  const {metadata, plan, findings, pruned} = result;
  const newest = {...metadata, backupSeconds: metadata.durationSeconds, proof: 'not yet'};
  const {name, finishedAt, sizeBytes, backupSeconds, proof, systemIdentifier} = newest;
  const {urgent, notes} = splitFindings(findings);
  return {
    mark: '✅',
    title: ['Backup ', {code: name}, ' is stored'],
    blocks: [
      ...verdictOf(metadata, history),
      paragraph(
        `${size(metadata.dataSizeBytes)} backed up as ${size(sizeBytes)} in ${seconds(backupSeconds)} (${(metadata.dataSizeBytes / backupSeconds / 1e6).toFixed(0)} MB/s).`,
      ),
      ...(metadata.selfContained
        ? []
        : [paragraph({strong: 'It holds no WAL and restores only together with an archive.'})]),
      ...metadata.warnings.map((text): Block => ({kind: 'quote', mark: 'WARNING', text})),
      ...urgent,
      ...timelineOf(journal),
      ...throughputOf(journal),
      ...sharesOf(metadata),
      ...trendOf({name, finishedAt, sizeBytes, backupSeconds, proof, systemIdentifier}, history),
      ...notes,
      ...factsOf([...storedRows(result), ...sourceRows(plan), ...backupRows(metadata)]),
      ...pruneBlocks(pruned, 'gone'),
      ...fileTable(metadata),
    ],
  };
}

/** Nothing proves a backup but its restore, so that none is called safe before. */
function verdictOf({selfContained, systemIdentifier}: Metadata, history: Story['history']): readonly Block[] {
  const last = lastRestore(history, systemIdentifier);
  return tableOf(
    ['Safe?', 'Proven', 'Age', 'A restore takes'],
    [
      [
        selfContained ? '🟡 Stored whole' : '🟡 Stored, but without WAL',
        'nothing yet: only mode: restore proves it',
        'new',
        last ? [`about ${seconds(last.seconds)}, as of `, {code: last.name}] : 'not known yet',
      ],
    ],
  );
}

function storedRows({stored, attestation, metadata}: Backed): readonly (readonly [string, Text])[] {
  const {location, artifactUrl} = stored;
  return [
    ['Stored', artifactUrl ? {link: location, url: artifactUrl} : location],
    ...(attestation ? [['Attested', {link: `${metadata.name}.json`, url: attestation.url}] as const] : []),
  ];
}

function backupRows(metadata: Metadata): readonly (readonly [string, Text])[] {
  return [
    ['WAL', `${metadata.startLsn} to ${metadata.endLsn}, timeline ${metadata.timeline}`],
    ['Finished', metadata.finishedAt],
    metadata.encryption
      ? ['Encrypted', `with age, for ${describeKeys(metadata.encryption)}`]
      : ['Label', metadata.label],
    ...metadata.tablespaces.map(
      ({oid, path, sizeBytes}) =>
        [`Tablespace ${oid}`, [{code: path}, sizeBytes === null ? '' : `, ${size(sizeBytes)}`]] as const,
    ),
  ];
}

function fileTable({files}: Metadata): readonly Block[] {
  const rows = files.map((file) => [{code: file.name}, size(file.sizeBytes), {code: file.sha256}]);
  return tableOf(['File', 'Size', 'SHA-256'], rows, `Files (${files.length})`);
}
