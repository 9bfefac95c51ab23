/** A length of time for people: `0.4 s`, `12 min 5 s`, `3 h 2 min`. */
export function seconds(length: number): string {
  if (length < 99.95) return `${length.toFixed(1)} s`;
  const whole = Math.round(length);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

/** How long ago something was, for people. */
export function age(length: number): string {
  if (length < 120) return `${Math.round(length)} s`;
  if (length < 7200) return `${Math.ceil(length / 60)} min`;
  return length < 3 * 86_400 ? `${(length / 3600).toFixed(1)} hours` : `${Math.floor(length / 86_400)} days`;
}

/** A number of bytes for people. */
export function size(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** A part of a whole: `12.3 %`. */
export function percent(part: number, whole: number): string {
  return `${whole === 0 ? '0.0' : ((100 * part) / whole).toFixed(1)} %`;
}

/** A text of at most so many characters, which tells when it was cut. */
export function clipped(text: string, mostCharacters: number): string {
  return text.length <= mostCharacters
    ? text
    : `${text.slice(0, mostCharacters)} … (${text.length - mostCharacters} more characters)`;
}

/** The unit in which the largest of several sizes is best told, and how many bytes it has. */
export function unitFor(bytes: number): {readonly name: string; readonly bytes: number} {
  if (bytes < 1e6) return {name: 'kB', bytes: 1e3};
  return bytes < 1e9 ? {name: 'MB', bytes: 1e6} : {name: 'GB', bytes: 1e9};
}
