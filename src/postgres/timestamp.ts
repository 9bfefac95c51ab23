const form =
  /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)? ?(Z|UTC|GMT|([+-])(\d{2})(?::?(\d{2})|:(\d{2}):(\d{2}))?)$/;

/**
 * Reads a time with its zone, as PostgreSQL writes it or as ISO 8601 has it, into microseconds since 1970; undefined
 * when it is none. All that is accepted here PostgreSQL takes in SQL, too, and understands the same (datetime.c).
 */
export function parseTimestamp(text: string): number | undefined {
  const match = form.exec(text);
  if (!match) return undefined;
  const number = (index: number) => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [1, 2, 3, 4, 5, 6].map(number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const [zoneHours, zoneMinutes, zoneSeconds] = [number(10), number(11) || number(12), number(13)];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const isDay = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && year > 0;
  // 15:59:59 is the farthest that PostgreSQL lets a zone be (timestamp.h, MAX_TZDISP_HOUR).
  const isZone = zoneHours <= 15 && zoneMinutes <= 59 && zoneSeconds <= 59;
  if (!isDay || hour > 23 || minute > 59 || second > 59 || !isZone) return undefined;
  const offsetSeconds = (zoneHours * 3600 + zoneMinutes * 60 + zoneSeconds) * (match[9] === '-' ? -1 : 1);
  const seconds = date.getTime() / 1000 + hour * 3600 + minute * 60 + second - offsetSeconds;
  return seconds * 1_000_000 + Number((match[7] ?? '').padEnd(6, '0'));
}

/** Microseconds since 1970 as a text in UTC that PostgreSQL takes: `2026-11-22 08:00:00+00`. */
export function formatTimestamp(microseconds: number): string {
  const seconds = Math.floor(microseconds / 1_000_000);
  const fraction = microseconds - seconds * 1_000_000;
  const text = new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
  return `${text}${fraction === 0 ? '' : `.${String(fraction).padStart(6, '0')}`}+00`;
}
