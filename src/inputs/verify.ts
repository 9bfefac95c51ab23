import type {VerifyRequest} from '../verify/request.js';
import {readDecryption} from './encryption.js';
import {readRequiredAttestation, requireAttestationInput} from './provenance.js';
import {type InputReader, readContainer, readSeconds} from './reader.js';
import {readWantedName} from './restore.js';
import type {RunContext} from './run-context.js';

/** The inputs of restore mode that verify mode takes, too. */
export const verifyInputs = ['run-id', 'repository', 'max-backup-age', requireAttestationInput] as const;

/** Reads the inputs of verify mode. */
export function readVerify(reader: InputReader, context: RunContext): VerifyRequest {
  const maxBackupAgeSeconds = readSeconds(reader, 'max-backup-age');
  const requiredAttestation = readRequiredAttestation(reader, context);
  if (readContainer(reader) !== undefined)
    reader.reject(
      'container',
      'mode: verify reads the files of a backup on the runner: write none, or leave it out',
    );
  return {
    mode: 'verify',
    backupName: readWantedName(reader),
    decryption: readDecryption(reader, context),
    ...(requiredAttestation && {requiredAttestation}),
    ...(maxBackupAgeSeconds !== undefined && {maxBackupAgeSeconds}),
    dryRun: reader.flag('dry-run', false),
  };
}
