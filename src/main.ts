import {once} from 'node:events';
import {setTimeout as sleep} from 'node:timers/promises';
import {getInput, setFailed} from '@actions/core';
import {backup} from './backup/backup.js';
import {CancelledError, describe} from './errors.js';
import {runner, serverRunner} from './host/local.js';
import {parseRequest, type Request} from './inputs/inputs.js';
import {type RunContext, readRunContext} from './inputs/run-context.js';
import type {StorageRequest} from './inputs/storage.js';
import {mask} from './log.js';
import {report} from './report/report.js';
import {restore} from './restore/restore.js';
import {artifactStore} from './store/artifact.js';
import {directoryStore} from './store/directory.js';
import type {Store} from './store/store.js';

/** Aborted when GitHub cancels the run: SIGINT, 7.5 s later SIGTERM, to this process alone. */
function cancellation(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => controller.abort(new CancelledError(name)));
  }
  // The artifact client reads files in a stream that nobody listens to: its errors arrive here and nowhere else.
  process.on('uncaughtException', (error) => controller.abort(error));
  return controller.signal;
}

function chooseStore(storage: StorageRequest, signal: AbortSignal): Store {
  if (storage.kind === 'directory') return directoryStore(storage.directory);
  const [owner = '', name = ''] = (process.env.GITHUB_REPOSITORY ?? '').split('/');
  const serverUrl = process.env.GITHUB_SERVER_URL ?? 'https://github.com';
  const runId = Number(process.env.GITHUB_RUN_ID ?? 0);
  return artifactStore({...storage, thisRun: {serverUrl, repository: {owner, name}, runId}, signal});
}

function readRequest(context: RunContext): Request {
  // Secrets are masked before the first line of the log, and so before anything can complain of an input.
  for (const name of ['password', 'connection-string', 'github-token'])
    mask(getInput(name, {trimWhitespace: false}));
  mask(process.env.PGPASSWORD ?? '');
  const read = (name: string) => getInput(name, {trimWhitespace: name !== 'password'});
  const request = parseRequest(read, context);
  const connection = request.mode === 'backup' ? request.connection : request.primary;
  mask(connection?.password ?? '');
  return request;
}

async function run(signal: AbortSignal): Promise<void> {
  const context = readRunContext(process.env);
  const {temporaryDirectory} = context;
  const request = readRequest(context);
  const store = chooseStore(request.storage, signal);
  switch (request.mode) {
    case 'backup':
      return report(await backup(request, {host: runner(signal), store, temporaryDirectory}));
    case 'restore': {
      const host = await serverRunner(signal);
      return report(await restore(request, {host, runner: runner(signal), store, temporaryDirectory}));
    }
    default:
      request satisfies never;
  }
}

/** GitHub kills the process 10 s after SIGINT: what has not ended by itself until then must not hold up the report. */
async function graceAfter(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort');
  await sleep(6000);
  throw signal.reason;
}

const signal = cancellation();
try {
  await Promise.race([run(signal), graceAfter(signal)]);
  signal.throwIfAborted();
} catch (error) {
  setFailed(describe(error));
}
// A socket that an upload left hanging would keep the process alive for minutes.
process.exit();
