/** A request that the stand-in for GitHub can be told to spoil. */
export type Operation =
  | 'CreateArtifact'
  | 'FinalizeArtifact'
  | 'ListArtifacts'
  | 'GetSignedArtifactURL'
  | 'DeleteArtifact'
  | 'CreateCacheEntry'
  | 'FinalizeCacheEntryUpload'
  | 'GetCacheEntryDownloadURL'
  /** Bytes to and from blob storage. */
  | 'upload'
  | 'download'
  /** The REST API's lists, and its redirect to a download. */
  | 'rest-list'
  | 'rest-download'
  | 'rest-other';

/**
 * How a request goes wrong: an answer of 503, 500, 429 or 403, a connection that is reset before any answer, one that is
 * cut after half of the bytes, one that is answered late or never, a byte of a download that is changed, and what GitHub
 * answers to CreateArtifact when the name is taken or the storage full.
 */
export type FaultKind =
  | 'unavailable'
  | 'failing'
  | 'rate-limited'
  | 'forbidden'
  | 'reset'
  | 'cut'
  | 'slow'
  | 'hang'
  | 'corrupt'
  | 'name-taken'
  | 'quota';

/** One thing that goes wrong. */
export interface Fault {
  readonly at: Operation;
  readonly kind: FaultKind;
  /** How often; undefined: until it is cleared. */
  readonly times?: number;
  /** Only for the artifact of this name. */
  readonly artifact?: string;
}

/** A request that the stand-in got. */
export interface SeenRequest {
  readonly operation: Operation;
  /** Where the request names one. */
  readonly artifact?: string | undefined;
  /** The run that it came from, where the request's token tells; unknown for blobs and the REST API. */
  readonly runId?: number | undefined;
}

/** The faults that are set; each is used up by the requests that it spoils. */
export interface Faults {
  set(fault: Fault): void;
  clear(): void;
  /** What happens to this request, if anything. */
  next(request: SeenRequest): FaultKind | undefined;
}

/** Keeps faults in the order in which they were set. */
export function faultList(initial: readonly Fault[]): Faults {
  let faults = initial.map((fault) => ({fault, left: fault.times ?? Number.POSITIVE_INFINITY}));
  return {
    set(fault) {
      faults.push({fault, left: fault.times ?? Number.POSITIVE_INFINITY});
    },
    clear() {
      faults = [];
    },
    next({operation, artifact}) {
      const hit = faults.find(
        ({fault, left}) =>
          left > 0 && fault.at === operation && (fault.artifact === undefined || fault.artifact === artifact),
      );
      if (hit === undefined) return undefined;
      hit.left -= 1;
      return hit.fault.kind;
    },
  };
}
