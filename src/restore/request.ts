import type {DecryptionRequest} from '../backup-set/encryption/decryption.js';
import type {Connection} from '../postgres/connection.js';
import type {RequiredAttestation} from '../provenance/require-attestation.js';

/** What a restore step asks for, every input read and checked. */
export interface RestoreRequest {
  readonly mode: 'restore';
  /** A name, a pattern with `*` and `?`, `latest`, or `latest-verified`. */
  readonly backupName: string;
  /** What an encrypted backup is opened with. */
  readonly decryption: DecryptionRequest;
  /** Whose attestation it must have; undefined: it needs none. */
  readonly requiredAttestation?: RequiredAttestation;
  readonly pgVersion: number | 'auto';
  /** Absolute. */
  readonly dataDirectory: string;
  /** Path on the source to path here. */
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  /** Where unmapped tablespaces go, by oid; undefined: `<dataDirectory>_tablespaces`. */
  readonly tablespacesDirectory?: string;
  /** Id or name of the container that it is restored in. */
  readonly container?: string;
  readonly recovery: RecoveryRequest;
  /** The primary that the restored server follows; undefined: it becomes a primary of its own. */
  readonly primary?: Connection;
  /** The physical replication slot of the primary that it streams from. */
  readonly slot?: string;
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
  /** Whether the restored data replace those of the service container's own server. */
  readonly inPlace: boolean;
  readonly dryRun: boolean;
}

/** What a restored server is examined with, besides `check-sql`. */
export type Check = 'manifest' | 'dump' | 'checksums' | 'amcheck';

/** Where recovery stops. */
export interface RecoveryTarget {
  readonly kind: 'time' | 'lsn' | 'xid' | 'name' | 'immediate';
  /** As the input has it: a time with its zone, an LSN, a transaction id, a restore point, `immediate`. */
  readonly value: string;
}

/** How far recovery goes, and where archived WAL comes from; without a target to the end of what there is. */
export interface RecoveryRequest {
  readonly target?: RecoveryTarget;
  readonly inclusive: boolean;
  /** `latest`, `current` or a number. */
  readonly timeline: string;
  readonly action: 'promote' | 'pause';
  /** A directory of WAL segments and history files, plain or compressed. */
  readonly walDirectory?: string;
  /** The user's own command, with `%f` and `%p`. */
  readonly restoreCommand?: string;
}
