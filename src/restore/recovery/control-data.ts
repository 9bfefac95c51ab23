import type {Host} from '../../host/host.js';
import {type Programs, pathOf} from '../../postgres/programs.js';

/** What we use of `pg_controldata`'s output. */
export interface ControlData {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly dataChecksums: boolean;
  /** Settings that recovery must not undercut, and `track_commit_timestamp`: name to value. */
  readonly settings: Readonly<Record<string, string>>;
}

const settingNames = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_xacts',
  'max_locks_per_xact',
  'track_commit_timestamp',
];

/** Reads the output of `pg_controldata` with LC_MESSAGES=C (pg_controldata.c, PostgreSQL 13 to 18). */
export function parseControlData(text: string): ControlData {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) values.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  const value = (name: string) => {
    const found = values.get(name);
    if (found === undefined) throw new Error(`pg_controldata printed no "${name}"`);
    return found;
  };
  return {
    systemIdentifier: value('Database system identifier'),
    timeline: Number(value("Latest checkpoint's TimeLineID")),
    dataChecksums: value('Data page checksum version') !== '0',
    settings: Object.fromEntries(
      settingNames.map((name) => [
        name.replace('prepared_xacts', 'prepared_transactions').replace('per_xact', 'per_transaction'),
        value(`${name} setting`),
      ]),
    ),
  };
}

/** What `pg_controldata` says of a data directory. */
export async function readControlData(
  host: Host,
  programs: Programs,
  dataDirectory: string,
): Promise<ControlData> {
  const {stdout} = await host.run({program: pathOf(programs, 'pg_controldata'), args: [dataDirectory]});
  return parseControlData(stdout);
}
