import type {FullEvery} from '../backup-set/chain.js';
import type {DecryptionRequest} from '../backup-set/encryption/decryption.js';
import type {EncryptionRequest} from '../backup-set/encryption/recipients.js';
import type {NameKind} from '../backup-set/naming.js';
import type {KeepRules} from '../backup-set/retention.js';
import type {Connection} from '../postgres/connection.js';
import type {AttestationRequest} from '../provenance/attest.js';

/** What a backup step asks for, every input read and checked. */
export interface BackupRequest {
  readonly mode: 'backup';
  readonly connection: Connection;
  /** Id or name of the container whose server is backed up. */
  readonly container?: string;
  /** strftime codes filled in. */
  readonly name: string;
  /** Absolute; the backup becomes `<directory>/<name>`. */
  readonly directory: string;
  readonly pgVersion: number | 'auto';
  readonly format: 'tar' | 'plain';
  readonly walMethod: 'stream' | 'fetch' | 'none';
  readonly checkpoint: 'fast' | 'spread';
  readonly compress: Compression | 'auto';
  /** Whom the backup is encrypted for; undefined: it is not. */
  readonly encryption?: EncryptionRequest;
  /** Whether a backup that is not encrypted may become an artifact of a public repository. */
  readonly allowPublicPlaintext: boolean;
  readonly label: string;
  /** As pg_basebackup takes it: `32M`, kilobytes without a unit. */
  readonly maxRate?: string;
  /** A permanent replication slot that exists; without it pg_basebackup makes a temporary one. */
  readonly slot?: string;
  /** Seconds without any data after which pg_basebackup is ended. */
  readonly stallTimeoutSeconds: number;
  readonly writeRecoveryConf: boolean;
  readonly manifestChecksums: string;
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  /** What its attestation is made with; undefined: it gets none. */
  readonly attestation?: AttestationRequest;
  /** When a full backup is due among incremental ones; undefined: every backup is a full one. */
  readonly incremental?: FullEvery;
  /** What the manifest is opened with that an incremental backup builds on. */
  readonly decryption: DecryptionRequest;
  /** Which older backups are removed after this one; undefined: none. */
  readonly retention?: RetentionRequest;
  readonly dryRun: boolean;
}

/** Which backups stay, and which ones it is about. */
export interface RetentionRequest {
  readonly rules: KeepRules;
  readonly kind: NameKind;
}

/** How pg_basebackup compresses, in the parts of `[client-|server-]method[:detail]`. */
export interface Compression {
  readonly method: 'none' | 'gzip' | 'lz4' | 'zstd';
  /** Undefined where the user left it to pg_basebackup, which then compresses in the client. */
  readonly where?: 'client' | 'server';
  /** `6` or `level=3,workers=4` */
  readonly detail?: string;
}
