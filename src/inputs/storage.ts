import {resolve} from 'node:path';
import type {InputReader} from './reader.js';
import type {RunContext} from './run-context.js';

/** Where backups are kept, and which run's artifacts are meant. */
export type StorageRequest =
  | {readonly kind: 'directory'; readonly directory: string}
  | {
      readonly kind: 'artifact';
      readonly retentionDays?: number;
      readonly runId?: number | 'latest';
      readonly repository?: {readonly owner: string; readonly name: string};
      readonly token?: string;
    };

/** Reads the inputs that say where backups are kept. */
export function readStorage(
  reader: InputReader,
  {workspace}: RunContext,
  mode: 'backup' | 'restore',
): StorageRequest {
  const kind = reader.choice('storage', ['artifact', 'directory'], 'artifact');
  const directory = resolve(workspace, reader.text('directory') ?? 'backups');
  const artifact = {
    kind: 'artifact',
    ...(mode === 'backup' ? readRetention(reader) : readWhere(reader)),
  } as const;
  if (kind === 'artifact') return artifact;
  for (const name of ['retention-days', 'run-id', 'repository', 'github-token']) {
    if (reader.text(name) !== undefined) reader.reject(name, 'it is used with storage: artifact only');
  }
  return {kind, directory};
}

function readRetention(reader: InputReader): {retentionDays?: number} {
  const retentionDays = reader.integer('retention-days', {min: 1, max: 400});
  return retentionDays === undefined ? {} : {retentionDays};
}

function readWhere(reader: InputReader): Partial<Extract<StorageRequest, {kind: 'artifact'}>> {
  const runId = reader.matching('run-id', /^(latest|\d{1,15})$/, 'latest or the number of a run');
  const repository = reader.matching('repository', /^[\w.-]+\/[\w.-]+$/, 'owner/name');
  const token = reader.text('github-token');
  if (runId !== undefined && token === undefined) {
    reader.reject(
      'github-token',
      'it is not set, and run-id needs it: ${{ github.token }}, with permissions: actions: read',
    );
  }
  if (repository !== undefined && runId === undefined) {
    reader.reject('run-id', 'it is not set, and repository needs it: latest or the number of a run');
  }
  const [owner = '', name = ''] = repository?.split('/') ?? [];
  return {
    ...(runId !== undefined && {runId: runId === 'latest' ? runId : Number(runId)}),
    ...(repository !== undefined && {repository: {owner, name}}),
    ...(token !== undefined && {token}),
  };
}
