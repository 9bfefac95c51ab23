import type {BackupResult} from '../backup/backup.js';
import {formatCompression} from '../backup/compression.js';
import {ladder, type ProofLevel} from '../restore/proof.js';
import type {Restored, RestoreResult} from '../restore/restore.js';

/** GitHub drops a whole summary over 1 MiB; a plain backup may have more files than fit. */
const mostFiles = 200;

/** The job summary of a step, as GitHub's Markdown. */
export function summarize(result: BackupResult | RestoreResult): string {
  const text = result.mode === 'backup' ? summarizeBackup(result) : summarizeRestore(result);
  return `${text.join('\n')}\n`;
}

function summarizeBackup(result: BackupResult): readonly string[] {
  const {server, programs, request, compression} = result.plan;
  const source = [
    ['Server', `PostgreSQL ${server.version}${server.isStandby ? ', standby' : ''}`],
    ['System identifier', server.systemIdentifier],
    ['Client', programs.version],
    ['Format', `${request.format}, WAL ${request.walMethod}, compression ${formatCompression(compression)}`],
  ] as const;
  if (result.dryRun) {
    return [
      `### Backup plan: ${code(request.name)}`,
      '',
      'Dry run: nothing was changed.',
      '',
      ...table(['', ''], source),
    ];
  }
  const {metadata, stored} = result;
  const seconds = metadata.durationSeconds;
  return [
    `### Backup ${code(metadata.name)} is stored`,
    '',
    `${size(metadata.dataSizeBytes)} backed up as ${size(metadata.sizeBytes)} in ${seconds.toFixed(1)} s (${(metadata.dataSizeBytes / seconds / 1e6).toFixed(0)} MB/s).`,
    metadata.selfContained ? '' : '\n**It holds no WAL and restores only together with an archive.**',
    ...table(
      ['', ''],
      [
        [
          'Stored',
          stored.artifactUrl ? `[${plain(stored.location)}](${stored.artifactUrl})` : plain(stored.location),
        ],
        ...source,
        ['WAL', `${metadata.startLsn} to ${metadata.endLsn}, timeline ${metadata.timeline}`],
        ['Finished', metadata.finishedAt],
        ['Label', plain(metadata.label)],
        ...metadata.tablespaces.map(
          ({oid, path, sizeBytes}) =>
            [
              `Tablespace ${oid}`,
              `${code(path)}${sizeBytes === null ? '' : `, ${size(sizeBytes)}`}`,
            ] as const,
        ),
      ],
    ),
    ...metadata.warnings.map((text) => `\n> [!WARNING]\n> ${plain(text)}`),
    '',
    ...details(
      `Files (${metadata.files.length})`,
      table(
        ['File', 'Size', 'SHA-256'],
        metadata.files
          .slice(0, mostFiles)
          .map((file) => [code(file.name), size(file.sizeBytes), code(file.sha256)]),
      ),
    ),
  ];
}

function summarizeRestore(result: RestoreResult): readonly string[] {
  if (result.dryRun) {
    const {backup, target} = result;
    return [
      `### Restore plan: ${code(backup.name)}`,
      '',
      `Dry run: nothing was changed. From ${plain(backup.location)} into ${code(target.dataDirectory)}.`,
    ];
  }
  const {backup, control, recovery, manifest, server} = result;
  return [
    `### Backup ${code(backup.name)} restores`,
    '',
    `Ready after ${result.restoreSeconds.toFixed(1)} s${result.backupAgeSeconds === undefined ? '' : `; the backup is ${age(result.backupAgeSeconds)} old`}.`,
    '',
    ...table(
      ['', 'Proof', ''],
      ladder.map((level) => [result.reached.has(level) ? '✅' : '➖', level, meaning[level]]),
    ),
    ...table(
      ['', ''],
      [
        ['From', plain(backup.location)],
        ['Server', server.programs.version],
        ['System identifier', control.systemIdentifier],
        ['Recovered to', `${recovery.replayedLsn}, timeline ${control.timeline}`],
        ['WAL of the backup', manifest ? `${manifest.startLsn} to ${manifest.endLsn}` : 'not known'],
        ['Data directory', code(server.target.dataDirectory)],
        ...(result.request.keepRunning ? [['Runs at', code(`127.0.0.1:${server.port}`)] as const] : []),
      ],
    ),
    ...checkTable(result),
  ];
}

const meaning: Readonly<Record<ProofLevel, string>> = {
  transferred: 'size and SHA-256 of every file are those recorded at backup time',
  'manifest-verified': 'pg_verifybackup finds every file as backup_manifest lists it',
  started: 'PostgreSQL starts on it',
  consistent: 'it is consistent and accepts connections',
  recovered: 'recovery ended at the end of the WAL or the target asked for',
  read: 'pg_dump read every table of every database',
  checked: 'page checksums or amcheck found no damage',
};

function checkTable({checks}: Restored): readonly string[] {
  return checks.length === 0
    ? []
    : table(
        ['Check', 'Seconds'],
        checks.map(({name, seconds}) => [name, seconds.toFixed(1)]),
      );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return ['', line(head), line(head.map(() => '---')), ...rows.map(line), ''];
}

function details(title: string, lines: readonly string[]): readonly string[] {
  return [`<details><summary>${title}</summary>`, ...lines, '</details>'];
}

const age = (seconds: number) =>
  seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} hours`;
const size = (bytes: number) =>
  bytes < 1e6
    ? `${(bytes / 1e3).toFixed(1)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(2)} GB`;
/** Names come from users and servers: nothing in them may become Markdown or HTML. */
const plain = (text: string) =>
  text
    .replaceAll(/[\\`*_{}[\]<>|#&!~]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replaceAll(/[\r\n]+/g, ' ');
/** A code span; text that would end one is written as HTML. */
const code = (text: string) => (/^[\w./:@+= -]+$/.test(text) ? `\`${text}\`` : `<code>${plain(text)}</code>`);
