/** What a running server says of itself in postmaster.pid (pidfile.h, PostgreSQL 13 to 18). */
export interface PidFile {
  /** Seconds since 1970. */
  readonly startedAt: number;
  /** Whether it accepts connections, for writing or as a standby. */
  readonly isReady: boolean;
}

/** Reads a postmaster.pid, which may be half written. */
export function parsePidFile(text: string): PidFile {
  const lines = text.split('\n').map((line) => line.trim());
  return {startedAt: Number(lines[2] ?? 0), isReady: ['ready', 'standby'].includes(lines[7] ?? '')};
}
