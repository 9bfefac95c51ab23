import type {BackupRequest} from '../backup/request.js';
import type {PrepareRequest} from '../prepare/request.js';
import type {RestoreRequest} from '../restore/request.js';
import type {VerifyRequest} from '../verify/request.js';
import {backupInputs, readBackup} from './backup.js';
import {connectionInputs} from './connection.js';
import {prepareInputs, readPrepare} from './prepare.js';
import {type InputReader, inputReader, readSeconds} from './reader.js';
import {connectionInputsOfNoUse, readRestore, restoreInputs} from './restore.js';
import type {RunContext} from './run-context.js';
import {endpointInputs, keepingInputs, readStorage, type StorageRequest} from './storage.js';
import {readVerify, verifyInputs} from './verify.js';

/** What a step asks for, told apart by `mode`. */
export type Request = (
  | ((BackupRequest | RestoreRequest) & {
      readonly storage: StorageRequest;
      /** Whether programs that the runner lacks may be installed there. */
      readonly install: 'auto' | 'never';
    })
  | (VerifyRequest & {readonly storage: StorageRequest})
  | PrepareRequest
) & {
  /** Seconds that the whole step may take. */
  readonly timeoutSeconds?: number;
  /** Whether a report is written, and kept beside the backup. */
  readonly report?: boolean;
};

type Mode = Request['mode'];

/** Inputs that not every mode takes, and the modes that do. */
const belonging: readonly {readonly modes: readonly Mode[]; readonly inputs: readonly string[]}[] = [
  {modes: ['backup'], inputs: [...backupInputs, ...keepingInputs]},
  {modes: ['restore'], inputs: restoreInputs.filter((name) => !isOfVerify(name))},
  {modes: ['restore', 'verify'], inputs: verifyInputs},
  {modes: ['prepare'], inputs: prepareInputs},
  {modes: ['backup', 'restore'], inputs: ['tablespace-mapping', 'slot']},
  {
    modes: ['backup', 'restore', 'verify'],
    inputs: ['backup-name', 'report', 'github-token', 'passphrase', 'decrypt-with', ...endpointInputs],
  },
  {modes: ['backup', 'restore', 'prepare'], inputs: connectionInputs},
];

/** The names of all inputs. */
export const knownInputs: readonly string[] = [
  ...['mode', 'storage', 'directory', 'container', 'pg-version', 'install', 'timeout', 'dry-run'],
  ...belonging.flatMap(({inputs}) => inputs),
];

function isOfVerify(name: string): boolean {
  return verifyInputs.some((other) => other === name);
}

/**
 * Reads every input once. `read` returns an input's text, empty when it is not set. Throws a UserError that lists
 * every input that is wrong, or that belongs to another mode.
 */
export function parseRequest(read: (name: string) => string, context: RunContext): Request {
  const reader = inputReader(read);
  const mode = reader.choice('mode', ['backup', 'restore', 'verify', 'prepare'], 'backup');
  const request = readMode(reader, context, mode);
  refuseOthers(reader, mode, request.mode === 'restore' ? connectionInputsOfNoUse(request) : []);
  const timeoutSeconds = readSeconds(reader, 'timeout');
  const report = mode !== 'prepare' && reader.flag('report', false);
  reader.finish();
  return {...request, ...(report && {report}), ...(timeoutSeconds !== undefined && {timeoutSeconds})};
}

function readMode(reader: InputReader, context: RunContext, mode: Mode): Request {
  switch (mode) {
    case 'backup':
      return {...readBackup(reader, context), ...readShared(reader, context, mode)};
    case 'restore':
      return {...readRestore(reader, context), ...readShared(reader, context, mode)};
    case 'verify':
      return {...readVerify(reader, context), storage: readStorage(reader, context, mode)};
    case 'prepare':
      return readPrepare(reader, context);
  }
}

function readShared(reader: InputReader, context: RunContext, mode: 'backup' | 'restore') {
  return {
    storage: readStorage(reader, context, mode),
    install: reader.choice('install', ['auto', 'never'], 'auto'),
  };
}

function refuseOthers(reader: InputReader, mode: Mode, ofNoUse: readonly string[]): void {
  for (const {modes, inputs} of belonging.filter((one) => !one.modes.includes(mode))) {
    for (const name of inputs) {
      if (reader.text(name) !== undefined)
        reader.reject(name, `it belongs to mode: ${modes.join(' or ')}, and this is mode: ${mode}`);
    }
  }
  for (const name of ofNoUse) {
    if (reader.text(name) !== undefined)
      reader.reject(name, `in mode: ${mode} it is used with standby: true only`);
  }
}
