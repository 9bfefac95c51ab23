/** The modes that tell of a backup, and so write a report that is kept beside it. */
export const reportModes = ['backup', 'restore', 'verify'] as const;

/** Text of a report's files by their names. */
export type ReportFiles = Readonly<Record<string, string>>;

/** The names of a report's files: `<backup-name>.<mode>.report.html` for people, `….json` for programs. */
export function reportNames(
  backupName: string,
  mode: (typeof reportModes)[number],
): {readonly html: string; readonly json: string} {
  const name = `${backupName}.${mode}.report`;
  return {html: `${name}.html`, json: `${name}.json`};
}

/** All files of reports that may be beside a backup. */
export function allReportNames(backupName: string): readonly string[] {
  return reportModes.flatMap((mode) => Object.values(reportNames(backupName, mode)));
}
