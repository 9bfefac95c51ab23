import type {BackupFile} from './metadata.js';

/** The name that part `number` of a stored file has, from 1 on: `base.tar.zst.part0001`. */
export function partName(fileName: string, number: number): string {
  return `${fileName}.part${String(number).padStart(4, '0')}`;
}

/** A piece of a file as it is stored: the file itself, or one of its parts. */
export interface StoredPiece {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Where it begins in the file. */
  readonly offset: number;
}

/** The pieces of a file, in their order. */
export function piecesOf({name, sizeBytes, sha256, parts}: BackupFile): readonly StoredPiece[] {
  if (parts === undefined) return [{name, sizeBytes, sha256, offset: 0}];
  let offset = 0;
  return parts.map((part, index) => {
    const piece = {name: partName(name, index + 1), ...part, offset};
    offset += part.sizeBytes;
    return piece;
  });
}
