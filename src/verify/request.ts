import type {DecryptionRequest} from '../backup-set/encryption/decryption.js';
import type {RequiredAttestation} from '../provenance/require-attestation.js';

/** What a verify step asks for, every input read and checked. */
export interface VerifyRequest {
  readonly mode: 'verify';
  /** A name, a pattern with `*` and `?`, `latest`, or `latest-verified`. */
  readonly backupName: string;
  /** What an encrypted backup is opened with. */
  readonly decryption: DecryptionRequest;
  /** Whose attestation it must have; undefined: it needs none. */
  readonly requiredAttestation?: RequiredAttestation;
  readonly maxBackupAgeSeconds?: number;
  readonly dryRun: boolean;
}
