import {once} from 'node:events';
import {setTimeout as sleep} from 'node:timers/promises';
import {getInput, getState, saveState, setFailed} from '@actions/core';
import {backup} from './backup/backup.js';
import type {BackupRequest} from './backup/request.js';
import {CancelledError, describe, UserError} from './errors.js';
import {type Claim, openClaim} from './host/claim.js';
import {explainDisk, explainStray} from './host/disk-failure.js';
import type {Host} from './host/host.js';
import {type Places, removeLeftovers} from './host/leftovers.js';
import {runner, serverRunner} from './host/local.js';
import {openContainer, type ServiceContainer} from './host/service.js';
import {knownInputs, parseRequest, type Request} from './inputs/inputs.js';
import {misspeltInputs} from './inputs/misspelt.js';
import {requireSystem} from './inputs/operating-system.js';
import {type RunContext, readRunContext} from './inputs/run-context.js';
import {hasFailed} from './journal.js';
import {mask, warning} from './log.js';
import {accountPackage, aptInstaller, type Installer} from './postgres/install.js';
import type {Vantage} from './postgres/programs.js';
import {fromInside, fromRunner} from './postgres/vantage.js';
import {localAdministrator, remoteAdministrator} from './prepare/administrator.js';
import type {PrepareSurroundings} from './prepare/prepare.js';
import type {PrepareRequest} from './prepare/request.js';
import {report, reportFailure} from './report/report.js';
import {endKept, type KeptServer, keptServer} from './restore/kept.js';
import {restore} from './restore/restore.js';
import {openStorage} from './storage.js';
import {recordingDamage} from './store/damage.js';
import {recordProof} from './store/record-proof.js';
import {verify} from './verify/verify.js';

/** Aborted when GitHub cancels the run: SIGINT, 7.5 s later SIGTERM, to this process alone. */
function cancellation(): AbortController {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => controller.abort(new CancelledError(name)));
  }
  // The artifact client reads files in a stream that nobody listens to: its errors arrive here and nowhere else.
  const {RUNNER_TEMP = ''} = process.env;
  process.on('uncaughtException', (error) => {
    // Downloads that a step gave up when it failed lose their files.
    if (!hasFailed()) controller.abort(explainStray(error, RUNNER_TEMP));
  });
  return controller;
}

const secretInputs = [
  'password',
  'admin-password',
  'connection-string',
  'github-token',
  'passphrase',
  'decrypt-with',
] as const;

function readRequest(context: RunContext): Request {
  // Secrets are masked before the first line of the log, and so before anything can complain of an input.
  for (const name of secretInputs) mask(getInput(name, {trimWhitespace: false}));
  mask(process.env.PGPASSWORD ?? '');
  for (const {given, meant} of misspeltInputs(process.env, knownInputs))
    warning(`${given} is no input of this action, and is ignored. Did you mean ${meant}?`);
  const read = (name: string) => getInput(name, {trimWhitespace: !/password$|^passphrase$/.test(name)});
  const request = parseRequest(read, context);
  mask(passwordOf(request) ?? '');
  return request;
}

/** Ends the step as a cancellation does when its time is over. */
function limit(controller: AbortController, seconds: number | undefined): void {
  if (seconds === undefined) return;
  const reason = new UserError(
    `The step took longer than its timeout (${seconds} s).`,
    'Raise timeout, or look at the log above for what took so long.',
  );
  setTimeout(() => controller.abort(reason), seconds * 1000).unref();
}

/** At the end of the job, in a process of its own: ends the server that a step of the job kept running. */
async function runPost(state: string, signal: AbortSignal): Promise<void> {
  const {temporaryDirectory} = readRunContext(process.env);
  // The step itself may have been killed.
  await removeLeftovers({temporaryDirectory, directories: [], paths: []});
  if (state === '') return;
  const {container, ...kept} = JSON.parse(state) as KeptServer;
  try {
    const service = container
      ? await openContainer(container, {runner: runner(signal, temporaryDirectory), signal})
      : undefined;
    await endKept(kept, service?.host ?? (await serverRunner(signal, temporaryDirectory)));
    await service?.close();
  } catch (error) {
    // The job has done its work; a container that is gone took its server along.
    warning(`The restored server was not stopped: ${describe(error)}`);
  }
}

function passwordOf(request: Request): string | undefined {
  if (request.mode === 'verify') return undefined;
  return (request.mode === 'restore' ? request.primary : request.connection)?.password;
}

async function run(controller: AbortController): Promise<void> {
  const {signal} = controller;
  saveState(postState, 'true');
  const context = readRunContext(process.env);
  const {temporaryDirectory} = context;
  const request = readRequest(context);
  limit(controller, request.timeoutSeconds);
  requireSystem(request, context.operatingSystem);
  if (!request.dryRun) await removeLeftovers(placesOf(request, temporaryDirectory));
  const claim = await openClaim(temporaryDirectory, context.runName);
  try {
    await tell(request, {signal, claim, temporaryDirectory, context});
  } finally {
    await claim.close();
  }
}

/** What every story works with. */
interface Surroundings {
  readonly signal: AbortSignal;
  readonly claim: Claim;
  readonly temporaryDirectory: string;
  readonly context: RunContext;
}

/** Where a run that was killed may have left what is in the way of this one. */
function placesOf(request: Request, temporaryDirectory: string): Places {
  const directories = request.mode === 'backup' ? [request.directory] : [];
  const paths = request.mode === 'restore' && !request.container ? [request.dataDirectory] : [];
  return {temporaryDirectory, directories, paths};
}

async function tell(request: Request, surroundings: Surroundings): Promise<void> {
  const {signal, claim, temporaryDirectory} = surroundings;
  const here = runner(signal, claim.directory);
  const reporting = {reportDirectory: request.report ? temporaryDirectory : undefined};
  if (request.mode === 'verify') {
    const store = await openStorage(request.storage, {signal, scratchDirectory: claim.directory});
    const {directory: scratchDirectory} = claim;
    const recording = {store, request, witness: surroundings.context, signal};
    const result = await recordingDamage(recording, () =>
      verify(request, {runner: here, store, scratchDirectory, signal}),
    );
    if (!result.dryRun) await recordProof(store, result, surroundings.context);
    return report(result, {...reporting, store});
  }
  const service = request.container
    ? await openContainer(request.container, {runner: here, signal})
    : undefined;
  try {
    await tellOn(request, {here, service, ...surroundings});
  } finally {
    await service?.close();
  }
}

async function tellOn(
  request: Exclude<Request, {mode: 'verify'}>,
  {here, service, ...surroundings}: Surroundings & {here: Host; service: ServiceContainer | undefined},
): Promise<void> {
  const {signal, claim, temporaryDirectory} = surroundings;
  const reporting = {reportDirectory: request.report ? temporaryDirectory : undefined};
  const installing =
    request.mode !== 'prepare' && request.install === 'auto'
      ? {installer: aptInstaller(here, temporaryDirectory)}
      : {};
  switch (request.mode) {
    case 'backup': {
      const store = await openStorage(request.storage, {signal, scratchDirectory: claim.directory});
      const vantages = await vantagesOf(request, here, service);
      const pause = (seconds: number) =>
        sleep(seconds * 1000, undefined, {signal}).catch(() => signal.throwIfAborted());
      const all = {runner: here, vantages, store, claim, pause, signal, ...installing};
      return report(await backup(request, all), {...reporting, store});
    }
    case 'restore': {
      const store = await openStorage(request.storage, {signal, scratchDirectory: claim.directory});
      const open = () => serverRunner(signal, claim.directory);
      const host = service?.host ?? (await openServerRunner(open, {here, ...request, ...installing}));
      const all = {host, runner: here, store, claim, ...(service ? {service} : installing)};
      const recording = {store, request, witness: surroundings.context, signal};
      const result = await recordingDamage(recording, () => restore(request, all));
      const kept = await keptServer(result);
      if (kept) saveState(keptState, JSON.stringify(kept));
      if (!result.dryRun)
        await recordProof(
          store,
          {...result, serverVersion: result.server.programs.version},
          surroundings.context,
        );
      return report(result, {...reporting, store});
    }
    case 'prepare': {
      const {prepare} = await import('./prepare/prepare.js');
      return report(await prepare(...placePreparation(request, service)));
    }
    default:
      request satisfies never;
  }
}

/** Where the runner's own account cannot start a server, PostgreSQL's packages bring one that can. */
async function openServerRunner(
  open: () => Promise<Host>,
  {here, installer, dryRun}: {here: Host; installer?: Installer; dryRun: boolean},
): Promise<Host> {
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof UserError) || installer === undefined) throw error;
  }
  // Nothing is started.
  if (dryRun) return here;
  await installer.install(accountPackage);
  return open();
}

/** The runner first: its client has all cores and needs no copy; then the container of the service. */
async function vantagesOf(
  {connection}: BackupRequest,
  here: Host,
  service: ServiceContainer | undefined,
): Promise<readonly [Vantage, ...Vantage[]]> {
  if (service === undefined) return [{host: here, connection}];
  const fromHere = fromRunner(connection, service);
  return [
    {host: here, connection: fromHere},
    {host: service.host, connection: await fromInside(fromHere, service)},
  ];
}

/** In a container its local superuser makes the role, elsewhere an administrator over the network. */
function placePreparation(
  request: PrepareRequest,
  service: ServiceContainer | undefined,
): [PrepareRequest, PrepareSurroundings] {
  if (service === undefined) return [request, {openAdministrator: () => remoteAdministrator(request)}];
  const {user = service.superuser, password} = request.admin;
  const env = {
    PGUSER: user,
    PGPORT: String(service.serverPort),
    ...(service.socketDirectory !== undefined && {PGHOST: service.socketDirectory}),
    PGDATABASE: 'postgres',
    ...(password !== undefined && {PGPASSWORD: password}),
  };
  const connection = {...request.connection, ...fromRunner(request.connection, service)};
  const administrator = localAdministrator({host: service.host, program: 'psql', env});
  return [{...request, connection}, {openAdministrator: async () => administrator}];
}

/** GitHub kills the process 10 s after SIGINT: what has not ended by itself until then must not hold up the report. */
async function graceAfter(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort');
  await sleep(6000);
  throw signal.reason;
}

/** The states that a step leaves to its own end at the end of the job, where GitHub starts this file once more. */
const [postState, keptState] = ['is-post', 'kept-server'] as const;

const controller = cancellation();
const {signal} = controller;
try {
  const work = getState(postState) === '' ? run(controller) : runPost(getState(keptState), signal);
  await Promise.race([work, graceAfter(signal)]);
  signal.throwIfAborted();
} catch (thrown) {
  const error = explainDisk(thrown);
  setFailed(describe(error));
  // A full disk takes no summary either, and the failure is told.
  await reportFailure(error, getInput('mode')).catch((why: unknown) =>
    warning(`No summary: ${describe(why)}`),
  );
}
// A socket that an upload left hanging would keep the process alive for minutes.
process.exit();
