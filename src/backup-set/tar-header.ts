import {damaged} from './digest.js';

/** What an archive says of one of its members. */
export interface TarMember {
  /** Its bytes, one character each (latin1): names in a data directory need not be UTF-8. */
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'symbolic-link' | 'other';
  /** Bytes of its content; 0 for what has none. */
  readonly sizeBytes: number;
}

/** An archive is a row of blocks. */
export const tarBlockBytes = 512;

/** A longer name than this is an attack on memory: PostgreSQL's own have 100 bytes at most. */
export const mostExtensionBytes = 1 << 20;

/** What headers of their own say of the member that follows. */
export interface Overrides {
  readonly name?: string;
  readonly sizeBytes?: number;
}

/**
 * Reads a header (POSIX.1-2017, pax, "ustar Interchange Format", and GNU's variant). Throws a UserError that names the
 * archive and `previous`, the member before it.
 */
export function readTarHeader(
  archive: string,
  block: Buffer,
  previous: string,
): {readonly type: string; readonly name: string; readonly sizeBytes: number} {
  const magic = block.toString('latin1', 257, 263);
  if (!/^ustar[\0 ]$/.test(magic) || sumOf(block) !== readNumber(block.subarray(148, 156)))
    throw damaged(archive, `what follows ${previous} is not the header of a tar member`);
  const sizeBytes = readNumber(block.subarray(124, 136));
  if (!Number.isSafeInteger(sizeBytes))
    throw damaged(archive, `the member that follows ${previous} has no size`);
  // GNU's format has times where POSIX has the first part of a long name.
  const prefix = magic === 'ustar\0' ? readText(block.subarray(345, 500)) : '';
  const name = readText(block.subarray(0, 100));
  return {
    type: String.fromCharCode(block[156] ?? 0),
    name: prefix === '' ? name : `${prefix}/${name}`,
    sizeBytes,
  };
}

/** The sum of a header's bytes, its own field taken for blanks. */
function sumOf(block: Buffer): number {
  let sum = 8 * 32;
  for (let at = 0; at < tarBlockBytes; at += 1) if (at < 148 || at >= 156) sum += block[at] ?? 0;
  return sum;
}

/** Octal digits, or, for what does not fit, a binary number behind a first bit that is set (GNU tar, star). */
function readNumber(field: Buffer): number {
  const [first = 0, ...rest] = field;
  if ((first & 0x80) !== 0) return rest.reduce((value, byte) => value * 256 + byte, first & 0x7f);
  const digits = /^ *([0-7]*)[\0 ]*$/.exec(field.toString('latin1'))?.[1];
  return digits === undefined ? Number.NaN : Number.parseInt(digits || '0', 8);
}

function readText(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end === -1 ? field.length : end);
}

/** Whether a header only says something of the next one: GNU's long name and long link, pax's two. */
export const isExtension = (type: string) => 'LKxg'.includes(type);

/** Links, devices and directories have none, whatever size they tell. */
export const hasContent = (type: string) => !'123456'.includes(type);

/** What a member is, by its type and its name. */
export function kindOf(type: string, name: string): TarMember['kind'] {
  if (type === '5') return 'directory';
  if (type === '2') return 'symbolic-link';
  if (type !== '0' && type !== '\0') return 'other';
  // How the oldest tars told a directory.
  return name.endsWith('/') ? 'directory' : 'file';
}

/** Reads the content of an extension. Throws a UserError that names the archive. */
export function readExtension(archive: string, type: string, content: Buffer): Overrides {
  if (type === 'L') return {name: readText(content)};
  if (type !== 'x') return {};
  const {path, size} = readPax(archive, content);
  return {...(path !== undefined && {name: path}), ...(size !== undefined && {sizeBytes: Number(size)})};
}

/** Records of the form `<length> <keyword>=<value>\n`, the length in decimal and of the whole record. */
function readPax(archive: string, content: Buffer): Record<string, string> {
  const values: Record<string, string> = {};
  for (let at = 0; at < content.length; ) {
    const record = /^(\d{1,7}) ([^=]+)=/.exec(content.toString('latin1', at, at + 512));
    const length = Number(record?.[1]);
    if (!record?.[2] || length <= record[0].length || at + length > content.length)
      throw damaged(archive, 'a pax header is not of the form that POSIX tells');
    values[record[2]] = content.toString('latin1', at + record[0].length, at + length - 1);
    at += length;
  }
  if (values.size !== undefined && !/^\d{1,15}$/.test(values.size))
    throw damaged(archive, 'a pax header has a size that is no number');
  return values;
}

/** A name for people: UTF-8 where it is that, without what could break a line. */
export function shownName(name: string): string {
  return Buffer.from(name, 'latin1')
    .toString('utf8')
    .replaceAll(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
