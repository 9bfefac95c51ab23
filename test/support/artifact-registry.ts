/** A run of a workflow. */
export interface RunOfRepository {
  readonly owner: string;
  readonly repository: string;
  readonly runId: number;
}

/** An artifact whose upload is finished. */
export interface StoredArtifact {
  readonly id: number;
  readonly name: string;
  readonly run: RunOfRepository;
  readonly mimeType: string;
  readonly sizeBytes: number;
  /** `sha256:<hex>` */
  readonly digest: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly expired: boolean;
  readonly fromFork: boolean;
  /** Its name in the blob storage. */
  readonly blob: string;
}

/** An artifact from CreateArtifact on. */
export interface Entry {
  readonly id: number;
  readonly name: string;
  readonly run: RunOfRepository;
  readonly mimeType: string;
  readonly blob: string;
  readonly expiresAt: Date;
  stored?: StoredArtifact;
}

/** The artifacts of all runs, and the tokens of the runs. */
export interface Registry {
  /** A runtime token for a run, of the shape that the artifact client decodes. */
  admit(run: RunOfRepository): string;
  /** The run that an `Authorization` header belongs to. */
  runOf(authorization: string | undefined): RunOfRepository | undefined;
  find(run: RunOfRepository, name: string): Entry | undefined;
  create(
    run: RunOfRepository,
    artifact: {readonly name: string; readonly mimeType: string; readonly expiresAt?: Date},
  ): Entry;
  finalize(
    entry: Entry,
    facts: Omit<StoredArtifact, 'id' | 'name' | 'run' | 'mimeType' | 'blob' | 'expiresAt'>,
  ): StoredArtifact;
  remove(entry: Entry): void;
  expire(name: string): void;
  clear(): void;
  stored(): readonly StoredArtifact[];
  nameOfBlob(blob: string): string | undefined;
  nameOfId(id: number): string | undefined;
}

const dayMilliseconds = 86_400_000;

/** An empty registry. */
export function artifactRegistry(): Registry {
  const runs = new Map<string, RunOfRepository>();
  let entries: Entry[] = [];
  let lastId = 1000;
  return {
    admit(run) {
      const token = runtimeToken(run);
      runs.set(`Bearer ${token}`, run);
      return token;
    },
    runOf: (authorization) => runs.get(authorization ?? ''),
    // GitHub takes names that differ only in case for the same.
    find: (run, name) =>
      entries.find((entry) => isSameRun(entry.run, run) && entry.name.toLowerCase() === name.toLowerCase()),
    create(run, {name, mimeType, expiresAt = new Date(Date.now() + 90 * dayMilliseconds)}) {
      lastId += 1;
      const entry: Entry = {id: lastId, name, run, mimeType, expiresAt, blob: `artifact-${lastId}`};
      entries.push(entry);
      return entry;
    },
    finalize(entry, facts) {
      const {id, name, run, mimeType, blob, expiresAt} = entry;
      entry.stored = {id, name, run, mimeType, blob, expiresAt, ...facts};
      return entry.stored;
    },
    remove(entry) {
      entries = entries.filter((other) => other !== entry);
    },
    expire(name) {
      for (const entry of entries) {
        if (entry.name === name && entry.stored !== undefined)
          entry.stored = {...entry.stored, expired: true};
      }
    },
    clear() {
      entries = [];
    },
    stored: () => entries.flatMap(({stored}) => stored ?? []),
    nameOfBlob: (blob) => entries.find((entry) => entry.blob === blob)?.name,
    nameOfId: (id) => entries.find((entry) => entry.id === id)?.name,
  };
}

/** Whether two values mean the same run. */
export function isSameRun(one: RunOfRepository, other: RunOfRepository): boolean {
  return one.runId === other.runId && one.owner === other.owner && one.repository === other.repository;
}

/** The run's name inside GitHub's services, which clients must repeat in every request. */
export function backendId({owner, repository, runId}: RunOfRepository): string {
  return `run-${owner}-${repository}-${runId}`;
}

/** An unsigned JSON web token: the client reads its claim `scp` and checks nothing. */
function runtimeToken(run: RunOfRepository): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const scp = `Actions.GenericRead:00000000 Actions.Results:${backendId(run)}:job-1`;
  return `${encode({alg: 'none'})}.${encode({scp})}.${Buffer.from('unsigned').toString('base64url')}`;
}
