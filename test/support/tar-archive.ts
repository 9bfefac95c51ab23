import {readFileSync, writeFileSync} from 'node:fs';

/** A member of a tar archive: where its header starts, how long it is, and where the next one starts. */
export interface Member {
  readonly name: string;
  readonly start: number;
  readonly size: number;
  readonly next: number;
}

/** Every member of an uncompressed archive. */
export function membersOf(archive: Buffer): readonly Member[] {
  const members: Member[] = [];
  for (let start = 0; start < archive.length; ) {
    const field = (from: number, to: number) =>
      archive.toString('latin1', start + from, start + to).replace(/\0.*$/s, '');
    const size = Number.parseInt(field(124, 136), 8) || 0;
    const next = start + 512 + Math.ceil(size / 512) * 512;
    if (field(0, 100) !== '') members.push({name: field(0, 100), start, size, next});
    start = next;
  }
  return members;
}

/** Finds a member by its header. `tar --delete` of Debian 12 loses members that nobody asked it to delete. */
export function findMember(archive: Buffer, name: string): Member {
  const member = membersOf(archive).find((one) => one.name === name);
  if (member === undefined) throw new Error(`There is no ${name} in the archive.`);
  return member;
}

/** Changes an uncompressed archive's bytes. */
export function editArchive(path: string, edit: (archive: Buffer) => Buffer): void {
  writeFileSync(path, edit(readFileSync(path)));
}

/** Puts bytes in the place of a member, header and all; without them it is gone. */
export function replaceMember(path: string, name: string, bytes: Buffer = Buffer.alloc(0)): void {
  editArchive(path, (archive) => {
    const {start, next} = findMember(archive, name);
    return Buffer.concat([archive.subarray(0, start), bytes, archive.subarray(next)]);
  });
}

/** Changes the content of a file in an archive. */
export function editMember(path: string, name: string, edit: (content: Buffer) => Buffer): void {
  const archive = readFileSync(path);
  const {start, size} = findMember(archive, name);
  const content = edit(Buffer.from(archive.subarray(start + 512, start + 512 + size)));
  replaceMember(path, name, memberOf({name, content}));
}

/** Adds members behind the last one. */
export function addMembers(path: string, ...members: readonly NewMember[]): void {
  editArchive(path, (archive) => {
    const end = membersOf(archive).at(-1)?.next ?? 0;
    return Buffer.concat([archive.subarray(0, end), ...members.map(memberOf), archive.subarray(end)]);
  });
}

/** A member that a test writes itself, whatever tar would say to it. */
export interface NewMember {
  readonly name: string;
  readonly content?: Buffer;
  /** `0` a file, `1` a hard link, `2` a symbolic one, `3` a device, `5` a directory, `6` a FIFO (POSIX, ustar). */
  readonly type?: string;
  readonly linkName?: string;
  readonly mode?: number;
  /** A file with no data and that size, which takes no room (type `S` of GNU's own format, up to 8 GiB). */
  readonly sparseBytes?: number;
}

function memberOf({
  name,
  content = Buffer.alloc(0),
  type = '0',
  linkName = '',
  mode = 0o600,
  sparseBytes,
}: NewMember): Buffer {
  const header = Buffer.alloc(512);
  const octal = (value: number, at: number, width: number) =>
    header.write(value.toString(8).padStart(width - 1, '0'), at);
  header.write(name, 0, 100);
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(content.length, 124, 12);
  octal(1_700_000_000, 136, 12);
  header.write(type, 156);
  header.write(linkName, 157, 100);
  header.write('ustar\0' + '00', 257);
  octal(1, 329, 8);
  octal(3, 337, 8);
  if (sparseBytes !== undefined) {
    header.fill(0, 257, 512);
    header.write('S', 156);
    header.write('ustar  \0', 257);
    octal(sparseBytes, 386, 12);
    octal(0, 398, 12);
    octal(sparseBytes, 483, 12);
  }
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  return Buffer.concat([header, content, padding]);
}
