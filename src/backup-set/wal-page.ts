/** Bytes of a page of WAL unless PostgreSQL was built with others (XLOG_BLCKSZ). */
export const walPageBytes = 8192;

/** XLOG_PAGE_MAGIC by major version (xlog_internal.h of 13 to 18); a magic number is of one version alone. */
export const walMagics: Readonly<Record<number, number>> = {
  13: 0xd106,
  14: 0xd10d,
  15: 0xd110,
  16: 0xd113,
  17: 0xd116,
  18: 0xd118,
};

/** The header of a page of WAL (xlog_internal.h, XLogPageHeaderData). */
export interface WalPageHeader {
  readonly magic: number;
  /** Written on a machine that puts the high byte of a number first. */
  readonly isBigEndian: boolean;
  /** Has bits that no version knows. */
  readonly isStrange: boolean;
  /** The page begins with the rest of a record. */
  readonly isContinued: boolean;
  /** That rest was lost, and another record stands in its place. */
  readonly isOverwritten: boolean;
  readonly timeline: number;
  /** Where the page stands in the WAL. */
  readonly position: number;
  /** Bytes that are left of the record that an earlier page began. */
  readonly leftBytes: number;
  readonly headerBytes: number;
  /** What the first page of a segment tells besides (XLogLongPageHeaderData). */
  readonly segment?: {
    readonly systemIdentifier: string;
    readonly segmentBytes: number;
    readonly pageBytes: number;
  };
}

/**
 * The bits of xlp_info (xlog_internal.h of 13 to 18). The server sets `removable` on the pages that it begins while no
 * backup runs, and so on most pages of a standby's backup; nothing here depends on it.
 */
const flags = {continued: 0x1, long: 0x2, removable: 0x4, overwritten: 0x8} as const;
const allFlags = Object.values(flags).reduce((all, flag) => all | flag, 0);

/** The longest header, which the first page of a segment has. */
export const longHeaderBytes = 40;

/** Whether it is a magic number of WAL: XLOG_PAGE_MAGIC is 0xD106 in 13 and 0xD118 in 18. */
export const isPageMagic = (magic: number) => magic >> 8 === 0xd1;

/** Whether PostgreSQL can be built with pages of that size (configure, --with-wal-blocksize: 1 to 64 kB). */
export const isPageSize = (bytes: number) =>
  Number.isInteger(Math.log2(bytes)) && bytes >= 1024 && bytes <= 65_536;

/** Reads the header of a page, whatever is in it, in either byte order; at least `longHeaderBytes` must be there. */
export function readPageHeader(page: Buffer): WalPageHeader {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  const isLittle = isPageMagic(view.getUint16(0, true)) || !isPageMagic(view.getUint16(0));
  const number = (at: number) => view.getUint32(at, isLittle);
  const info = view.getUint16(2, isLittle);
  const isLong = (info & flags.long) !== 0;
  return {
    magic: view.getUint16(0, isLittle),
    isBigEndian: !isLittle,
    isStrange: (info & ~allFlags) !== 0,
    isContinued: (info & flags.continued) !== 0,
    isOverwritten: (info & flags.overwritten) !== 0,
    timeline: number(4),
    position: Number(view.getBigUint64(8, isLittle)),
    leftBytes: number(16),
    headerBytes: isLong ? longHeaderBytes : 24,
    ...(isLong && {
      segment: {
        systemIdentifier: view.getBigUint64(24, isLittle).toString(),
        segmentBytes: number(32),
        pageBytes: number(36),
      },
    }),
  };
}

/** A position in the WAL; exact up to 8 PiB, which no cluster has written. */
export function readPosition(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * 0x100000000 + bytes.readUInt32LE(at);
}

/** A position as PostgreSQL writes it. */
export function showPosition(position: number): string {
  const half = (value: number) => value.toString(16).toUpperCase();
  return `${half(Math.floor(position / 0x100000000))}/${half(position % 0x100000000)}`;
}
