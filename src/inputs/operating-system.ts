import {UserError} from '../errors.js';
import type {Request} from './inputs.js';

/** Refuses, with a UserError, what cannot be done on the operating system of the runner (`RUNNER_OS`). */
export function requireSystem(request: Request, operatingSystem: string): void {
  if (operatingSystem === 'Linux') return;
  const {mode} = request;
  const container = request.mode === 'verify' ? undefined : request.container;
  const refused =
    operatingSystem === 'macOS'
      ? container !== undefined
        ? 'container'
        : mode === 'restore'
          ? 'mode: restore'
          : undefined
      : 'this action';
  if (refused === undefined) return;
  throw new UserError(
    `The runner is ${operatingSystem}, and ${refused} needs one with Linux.`,
    `Set runs-on: ubuntu-24.04 for the job${mode === 'restore' ? '' : '; the server itself may run anywhere'}.`,
  );
}
