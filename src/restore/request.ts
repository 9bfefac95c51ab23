import type {Connection} from '../postgres/connection.js';

/** What a restore step asks for, every input read and checked. */
export interface RestoreRequest {
  readonly mode: 'restore';
  /** A name, a pattern with `*` and `?`, or `latest`. */
  readonly backupName: string;
  readonly pgVersion: number | 'auto';
  /** Absolute. */
  readonly dataDirectory: string;
  /** Path on the source to path here; unmapped tablespaces go to `<dataDirectory>_tablespaces/<oid>`. */
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  readonly recovery: RecoveryRequest;
  /** The primary that the restored server follows; undefined: it becomes a primary of its own. */
  readonly primary?: Connection;
  /** Lines of postgresql.conf that win over ours. */
  readonly postgresqlConf: readonly string[];
  readonly isolate: boolean;
  readonly listenPort: number;
  readonly startTimeoutSeconds: number;
  readonly checks: readonly Check[];
  readonly checkSql: readonly string[];
  readonly checkDatabase: string;
  /** The role that checks run as; undefined: the backup's bootstrap superuser, else `postgres`. */
  readonly user?: string;
  readonly maxBackupAgeSeconds?: number;
  readonly keepRunning: boolean;
  readonly dryRun: boolean;
}

/** What a restored server is examined with, besides `check-sql`. */
export type Check = 'manifest' | 'dump' | 'checksums' | 'amcheck';

/** How far recovery goes, and where archived WAL comes from; without a target to the end of what there is. */
export interface RecoveryRequest {
  readonly target?: {readonly kind: 'time' | 'lsn' | 'xid' | 'name' | 'immediate'; readonly value: string};
  readonly inclusive: boolean;
  /** `latest`, `current` or a number. */
  readonly timeline: string;
  readonly action: 'promote' | 'pause';
  /** A directory of WAL segments and history files, plain or compressed. */
  readonly walDirectory?: string;
  /** The user's own command, with `%f` and `%p`. */
  readonly restoreCommand?: string;
}
