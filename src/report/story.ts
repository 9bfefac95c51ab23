import type {BackupResult} from '../backup/backup.js';
import type {CatalogEntry} from '../backup-set/catalog.js';
import type {Journal} from '../journal.js';
import type {PrepareResult} from '../prepare/prepare.js';
import type {RestoreResult} from '../restore/restore.js';
import type {VerifyResult} from '../verify/verify.js';

/** What a step of any mode leads to. */
export type Result = BackupResult | RestoreResult | VerifyResult | PrepareResult;

/** What there is to tell besides the result. */
export interface Story {
  readonly journal: Journal;
  /** Backups of the same store; empty where they are not known. */
  readonly history: readonly CatalogEntry[];
}
