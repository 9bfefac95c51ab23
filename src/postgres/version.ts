/** `150018` -> 15. */
export function majorOf(versionNumber: number): number {
  return Math.trunc(versionNumber / 10_000);
}

/** The major version that `--version` prints (`pg_basebackup (PostgreSQL) 15.18 (Debian …)`, `18beta1`), or undefined. */
export function majorInVersionText(text: string): number | undefined {
  const match = /\(PostgreSQL\) (\d+)/.exec(text);
  return match ? Number(match[1]) : undefined;
}
