import type {Connection} from '../postgres/connection.js';

/** What a backup step asks for, every input read and checked. */
export interface BackupRequest {
  readonly mode: 'backup';
  readonly connection: Connection;
  /** strftime codes filled in. */
  readonly name: string;
  /** Absolute; the backup becomes `<directory>/<name>`. */
  readonly directory: string;
  readonly pgVersion: number | 'auto';
  readonly format: 'tar' | 'plain';
  readonly walMethod: 'stream' | 'fetch' | 'none';
  readonly checkpoint: 'fast' | 'spread';
  readonly compress: Compression | 'auto';
  readonly label: string;
  /** As pg_basebackup takes it: `32M`, kilobytes without a unit. */
  readonly maxRate?: string;
  /** A permanent replication slot that exists; without it pg_basebackup makes a temporary one. */
  readonly slot?: string;
  readonly writeRecoveryConf: boolean;
  readonly manifestChecksums: string;
  readonly tablespaceMapping: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
}

/** How pg_basebackup compresses, in the parts of `[client-|server-]method[:detail]`. */
export interface Compression {
  readonly method: 'none' | 'gzip' | 'lz4' | 'zstd';
  /** Undefined where the user left it to pg_basebackup, which then compresses in the client. */
  readonly where?: 'client' | 'server';
  /** `6` or `level=3,workers=4` */
  readonly detail?: string;
}
