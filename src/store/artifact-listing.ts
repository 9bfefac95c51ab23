import type {FindOptions} from '@actions/artifact';

/** A repository of GitHub. */
export interface Repository {
  readonly owner: string;
  readonly name: string;
}

/** An artifact as it is listed. */
export interface ListedArtifact {
  readonly name: string;
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly isExpired: boolean;
}

/** The artifacts of one run. */
export interface RunArtifacts {
  /** For people: `artifacts of run 42`. */
  readonly location: string;
  readonly artifacts: readonly ListedArtifact[];
  /** Undefined for this run, whose artifacts need no token. */
  readonly findBy?: NonNullable<FindOptions['findBy']>;
}
