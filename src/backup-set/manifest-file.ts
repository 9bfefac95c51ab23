import {type ChecksumAlgorithm, checksumBytes} from './checksum.js';
import {damaged} from './digest.js';
import {shownName} from './tar.js';

/** A file as a `backup_manifest` lists it. */
export interface ManifestFile {
  /** Relative to the data directory; its bytes, one character each (latin1), as a tar archive has it. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly algorithm: ChecksumAlgorithm;
  /** Lower-case hexadecimal; empty with the algorithm NONE. */
  readonly checksum: string;
  /** As PostgreSQL wrote it: `2026-11-22 08:00:00 GMT`. */
  readonly lastModified?: string;
}

const wrong = (reason: string) => damaged('backup_manifest', reason);

const fileFields = ['Path', 'Encoded-Path', 'Size', 'Last-Modified', 'Checksum-Algorithm', 'Checksum'];

/** Reads an item of `Files`. Throws a UserError that says what is wrong with it. */
export function readManifestFile(value: unknown): ManifestFile {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong('an item of its Files is not an object');
  const fields = value as Partial<Record<string, unknown>>;
  const strange = Object.keys(fields).find((name) => !fileFields.includes(name));
  if (strange !== undefined) throw wrong(`a file has a field ${JSON.stringify(strange)}, which none has`);
  const path = readPath(fields);
  const shown = JSON.stringify(shownName(path));
  const {Size: sizeBytes, 'Last-Modified': lastModified} = fields;
  if (sizeBytes === undefined) throw wrong(`file ${shown} lacks Size`);
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    throw wrong(`the Size of file ${shown} is not a whole number`);
  return {
    path,
    sizeBytes,
    ...readChecksum(fields, shown),
    ...(typeof lastModified === 'string' && {lastModified}),
  };
}

/** A name that is not UTF-8 stands there in hexadecimal (backup_manifest.c, AddFileToBackupManifest). */
function readPath({Path: path, 'Encoded-Path': encoded}: Partial<Record<string, unknown>>): string {
  if (path !== undefined && encoded !== undefined) throw wrong('a file has both Path and Encoded-Path');
  if (path === undefined && encoded === undefined) throw wrong('a file lacks Path');
  if (encoded === undefined) {
    if (typeof path !== 'string' || path === '') throw wrong('the Path of a file is not a text');
    return Buffer.from(path, 'utf8').toString('latin1');
  }
  if (typeof encoded !== 'string' || !/^([0-9a-f]{2})+$/i.test(encoded))
    throw wrong('the Encoded-Path of a file is not hexadecimal');
  return Buffer.from(encoded, 'hex').toString('latin1');
}

function readChecksum(
  {'Checksum-Algorithm': named, Checksum: checksum}: Partial<Record<string, unknown>>,
  shown: string,
): {algorithm: ChecksumAlgorithm; checksum: string} {
  if (named === undefined && checksum !== undefined)
    throw wrong(`file ${shown} has a Checksum and no Checksum-Algorithm`);
  const algorithm = String(named ?? 'NONE').toUpperCase();
  if (!isAlgorithm(algorithm))
    throw wrong(`file ${shown} has the Checksum-Algorithm ${JSON.stringify(named)}, which is not known`);
  const text = String(checksum ?? '');
  if (!/^[0-9a-f]*$/i.test(text) || text.length !== 2 * checksumBytes[algorithm])
    throw wrong(`file ${shown} has the Checksum ${JSON.stringify(text)}, which is no ${algorithm}`);
  return {algorithm, checksum: text.toLowerCase()};
}

const isAlgorithm = (name: string): name is ChecksumAlgorithm => Object.hasOwn(checksumBytes, name);
