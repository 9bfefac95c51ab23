import {type PassedCheck, type ProofLevel, timed} from '../backup-set/proof.js';
import {CancelledError, messageOf, UserError} from '../errors.js';
import type {Finding} from '../finding.js';
import {watched} from '../log.js';
import type {RestoreRequest} from './request.js';

/** What a check proves besides itself. */
const proofOfCheck: Readonly<Record<string, ProofLevel>> = {
  dump: 'read',
  amcheck: 'checked',
  checksums: 'checked',
};

/** How far a restore has proven its backup, noted as it goes, so that one that fails tells it too. */
export class Achieved {
  readonly #reached = new Set<ProofLevel>();
  readonly #checks: PassedCheck[] = [];

  /** The rungs of the ladder of proof so far. */
  get reached(): ReadonlySet<ProofLevel> {
    return this.#reached;
  }

  /** The checks that have passed, in their order. */
  get checks(): readonly PassedCheck[] {
    return this.#checks;
  }

  /** Notes rungs. */
  reach(...levels: readonly ProofLevel[]): void {
    for (const level of levels) this.#reached.add(level);
  }

  /** Runs a check, and notes it when it passes. Throws what it throws. */
  async check(name: string, work: () => Promise<void>): Promise<void> {
    this.#checks.push(await watched(`Check ${name}`, () => timed(name, work)));
    const level = proofOfCheck[name];
    if (level !== undefined) this.reach(level);
  }
}

const afterCancellation =
  'Nothing of this restore is left. Run the step again; if it was cancelled for its time, raise timeout-minutes.';

/** Whether an error says why a restore failed: any other is a bug of ours. */
export function isFailure(error: unknown): error is UserError | CancelledError {
  return error instanceof UserError || error instanceof CancelledError;
}

/** A restore that failed or was cancelled, with what it was asked for, found beforehand, and had proven until then. */
export class UnprovenError extends UserError {
  readonly request: RestoreRequest;
  readonly findings: readonly Finding[];
  readonly achieved: Achieved;

  constructor(
    failure: UserError | CancelledError,
    {request, findings, achieved}: Pick<UnprovenError, 'request' | 'findings' | 'achieved'>,
  ) {
    super(messageOf(failure), failure instanceof CancelledError ? afterCancellation : failure.cure, {
      cause: failure,
    });
    this.name = 'UnprovenError';
    this.request = request;
    this.findings = findings;
    this.achieved = achieved;
  }
}
