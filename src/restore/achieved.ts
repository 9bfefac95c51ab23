import {type PassedCheck, type ProofLevel, timed} from '../backup-set/proof.js';
import {messageOf, UserError} from '../errors.js';
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

/** A restore that failed, with what it was asked for, found beforehand, and had proven until then. */
export class UnprovenError extends UserError {
  readonly request: RestoreRequest;
  readonly findings: readonly Finding[];
  readonly achieved: Achieved;

  constructor(
    failure: UserError,
    {request, findings, achieved}: Pick<UnprovenError, 'request' | 'findings' | 'achieved'>,
  ) {
    super(messageOf(failure), failure.cure, {cause: failure});
    this.name = 'UnprovenError';
    this.request = request;
    this.findings = findings;
    this.achieved = achieved;
  }
}
