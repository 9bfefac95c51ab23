import type {BackupRequest} from '../backup/request.js';
import type {RestoreRequest} from '../restore/request.js';
import {backupInputs, readBackup} from './backup.js';
import {type InputReader, inputReader} from './reader.js';
import {connectionInputsOfNoUse, readRestore, restoreInputs} from './restore.js';
import type {RunContext} from './run-context.js';
import {readStorage, type StorageRequest} from './storage.js';

/** What a step asks for, told apart by `mode`. */
export type Request = (BackupRequest | RestoreRequest) & {readonly storage: StorageRequest};

/**
 * Reads every input once. `read` returns an input's text, empty when it is not set. Throws a UserError that lists
 * every input that is wrong, or that belongs to the other mode.
 */
export function parseRequest(read: (name: string) => string, context: RunContext): Request {
  const reader = inputReader(read);
  const mode = reader.choice('mode', ['backup', 'restore'], 'backup');
  const request = mode === 'backup' ? readBackup(reader, context) : readRestore(reader, context);
  const storage = readStorage(reader, context, mode);
  refuseOthers(reader, mode, request.mode === 'restore' ? connectionInputsOfNoUse(request) : []);
  reader.finish();
  return {...request, storage};
}

function refuseOthers(reader: InputReader, mode: Request['mode'], ofNoUse: readonly string[]): void {
  const [others, theirMode] = mode === 'backup' ? [restoreInputs, 'restore'] : [backupInputs, 'backup'];
  for (const name of others) {
    if (reader.text(name) !== undefined)
      reader.reject(name, `it belongs to mode: ${theirMode}, and this is mode: ${mode}`);
  }
  for (const name of ofNoUse) {
    if (reader.text(name) !== undefined)
      reader.reject(name, `in mode: ${mode} it is used with standby: true only`);
  }
}
