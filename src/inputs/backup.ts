import {resolve} from 'node:path';
import type {BackupRequest, Compression} from '../backup/request.js';
import {defaultBackupName, nameAt, problemOfName} from '../backup-set/naming.js';
import {readConnection} from './connection.js';
import {encryptionInputs, readEncryption, readParentKeys} from './encryption.js';
import {incrementalInputs, readIncremental} from './incremental.js';
import {attestInput, readAttestation} from './provenance.js';
import {type InputReader, readContainer, readMapping, readSeconds} from './reader.js';
import {readRetention} from './retention.js';
import type {RunContext} from './run-context.js';

/** The inputs that belong to backup mode alone. */
export const backupInputs = [
  'format',
  'wal-method',
  'checkpoint',
  'compress',
  'label',
  'max-rate',
  'stall-timeout',
  'write-recovery-conf',
  'manifest-checksums',
  'retention-days',
  'artifact-part-size',
  'keep-last',
  'keep-daily',
  'keep-weekly',
  'keep-monthly',
  'keep-names',
  ...incrementalInputs,
  ...encryptionInputs,
  attestInput,
] as const;

/** Reads the inputs of backup mode. */
export function readBackup(reader: InputReader, context: RunContext): BackupRequest {
  const format = reader.choice('format', ['tar', 'plain'], 'tar');
  const compress = readCompression(reader, format);
  const maxRate = readRate(reader);
  const slot = readSlot(reader);
  const walMethod = reader.choice('wal-method', ['stream', 'fetch', 'none'], 'stream');
  if (slot !== undefined && walMethod !== 'stream')
    reader.reject('slot', 'a slot is used with wal-method: stream only');
  const container = readContainer(reader);
  const incremental = readIncremental(reader);
  const retention = readRetention(reader);
  const encryption = readEncryption(reader);
  const isIncremental = incremental !== undefined;
  const attestation = readAttestation(reader, context);
  const tablespaceMapping = readMapping(reader, 'tablespace-mapping');
  if (tablespaceMapping.size > 0 && format === 'tar') {
    reader.reject(
      'tablespace-mapping',
      'in backup mode it belongs to format: plain (a tar backup is mapped when it is restored)',
    );
  }
  if (format === 'plain' && reader.text('artifact-part-size') !== undefined)
    reader.reject('artifact-part-size', 'a plain backup is packed when it is whole: use format: tar');
  return {
    mode: 'backup',
    connection: readConnection(reader, context, container),
    name: readName(reader, context),
    directory: resolve(context.workspace, reader.text('directory') ?? 'backups'),
    ...(container !== undefined && {container}),
    pgVersion: readMajor(reader),
    format,
    walMethod,
    checkpoint: reader.choice('checkpoint', ['fast', 'spread'], 'fast'),
    compress,
    ...(encryption && {encryption}),
    allowPublicPlaintext: reader.flag('allow-public-plaintext', false),
    label: readLabel(reader, context),
    ...(maxRate !== undefined && {maxRate}),
    ...(slot !== undefined && {slot}),
    stallTimeoutSeconds: readSeconds(reader, 'stall-timeout') ?? 600,
    writeRecoveryConf: reader.flag('write-recovery-conf', false),
    manifestChecksums: reader.choice(
      'manifest-checksums',
      ['crc32c', 'sha224', 'sha256', 'sha384', 'sha512', 'none'],
      'crc32c',
    ),
    tablespaceMapping,
    ...(attestation && {attestation}),
    ...(incremental && {incremental}),
    decryption: readParentKeys(reader, context, {encryption, isIncremental}),
    ...(retention && {retention}),
    dryRun: reader.flag('dry-run', false),
  };
}

/** The major version that PostgreSQL's programs must have, or `auto`. */
export function readMajor(reader: InputReader): number | 'auto' {
  const value = reader.matching('pg-version', /^(auto|1[3-9]|2\d)$/, 'auto or a major version from 13 on');
  return value === undefined || value === 'auto' ? 'auto' : Number(value);
}

/** The name of a replication slot, as PostgreSQL allows it (slot.c, ReplicationSlotValidateName). */
export function readSlot(reader: InputReader): string | undefined {
  return reader.matching('slot', /^[a-z0-9_]{1,63}$/, 'the name of a replication slot (a-z, 0-9 and _)');
}

/** pg_basebackup takes kilobytes per second without a unit (pg_basebackup.c, parse_max_rate). */
function readRate(reader: InputReader): string | undefined {
  const allowed = 'a rate from 32k to 1024M (kilobytes or megabytes per second)';
  const text = reader.matching('max-rate', /^\d+(\.\d+)?[kM]?$/, allowed);
  const kilobytes = Number.parseFloat(text ?? '32') * (text?.endsWith('M') ? 1024 : 1);
  if (kilobytes < 32 || kilobytes > 1024 * 1024)
    reader.reject('max-rate', `${JSON.stringify(text)} is not ${allowed}`);
  return text;
}

function readName(reader: InputReader, {now}: RunContext): string {
  const pattern = reader.text('backup-name') ?? defaultBackupName;
  const name = nameAt(pattern, now);
  const problem = problemOfName(name);
  if (problem !== undefined) reader.reject('backup-name', `${JSON.stringify(pattern)} ${problem}`);
  return name;
}

function readLabel(reader: InputReader, {defaultLabel}: RunContext): string {
  const label = reader.text('label') ?? defaultLabel;
  if (/\p{Cc}/u.test(label))
    reader.reject(
      'label',
      `${JSON.stringify(label)} must not contain a line break or another control character`,
    );
  // MAXPGPATH, which the server allows a label (basebackup.c).
  if (Buffer.byteLength(label) > 1023) reader.reject('label', 'it is longer than 1023 bytes');
  return label;
}

const compressionPattern = /^(?:(client|server)-)?(none|gzip|lz4|zstd)(?::(.+))?$/;

function readCompression(reader: InputReader, format: 'tar' | 'plain'): Compression | 'auto' {
  const text = reader.text('compress') ?? 'auto';
  if (text === 'auto') return 'auto';
  const match = compressionPattern.exec(text);
  const [, where, method, detail] = match ?? [];
  const isDetail =
    detail === undefined ||
    /^(\d+|(level=\d+|workers=\d+|long(=(on|off|true|false|yes|no|1|0))?)(,(level=\d+|workers=\d+|long(=(on|off|true|false|yes|no|1|0))?))*)$/.test(
      detail,
    );
  if (!match || !isDetail || (method === 'none' && (where ?? detail) !== undefined)) {
    reader.reject(
      'compress',
      `${JSON.stringify(text)} is not auto, none, or [client-|server-](gzip|lz4|zstd)[:detail], such as gzip:6 or client-zstd:level=3,workers=4`,
    );
    return 'auto';
  }
  if (format === 'plain' && method !== 'none' && where !== 'server') {
    reader.reject(
      'compress',
      `${JSON.stringify(text)} compresses in the client, and only format: tar can be compressed there (use none or server-…)`,
    );
  }
  return {
    method: method as Compression['method'],
    ...(where !== undefined && {where: where as 'client' | 'server'}),
    ...(detail !== undefined && {detail}),
  };
}
