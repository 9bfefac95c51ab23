import type {Claim} from '../host/claim.js';
import type {Host} from '../host/host.js';
import type {Reachable, ServiceContainer} from '../host/service.js';
import {claimService, placeInService, removeStaging, replaceData} from './in-place/in-place.js';
import {occupationOf, removeAbandoned, vacate} from './occupation.js';
import type {Proven} from './prove.js';
import {reach} from './reach.js';
import type {RestoreRequest} from './request.js';
import {claimTarget, markTarget, removeTarget, type Target} from './target.js';

/** Where a restored cluster ends up, and what that takes. */
export interface Destination {
  /** The service whose data it replaces. */
  readonly replaced?: ServiceContainer;
  /** The request with the directories that are written into. Throws a UserError where nothing may be written. */
  place(asked: RestoreRequest): Promise<RestoreRequest>;
  /** Takes the place for this restore alone, until `release`. Throws a UserError when another one was faster. */
  claim(target: Target): Promise<Held>;
  /** Brings a cluster that is proven to where it stays. Throws a UserError; then what was there before is there again. */
  finish(proven: Proven, request: RestoreRequest): Promise<Placed>;
  /** Removes what a restore that failed has written. */
  undo(target: Target): Promise<void>;
}

/** A place that a restore has for itself. */
export interface Held {
  /** Gives up the record of what a killed restore would leave: it is proven, or removed. */
  release(): Promise<void>;
}

/** A restored cluster in its place. */
export interface Placed {
  /** Where it is now. */
  readonly dataDirectory: string;
  /** Where later steps reach a server that runs on it; undefined: none does. */
  readonly reachableAt: Reachable | undefined;
  /** When it was recovered, accepted connections, and was there: `performance.now()`. */
  readonly readyAt: number;
}

/** A directory of its own, or the place of the service's data. */
export function chooseDestination(
  {inPlace}: RestoreRequest,
  {host, claim, service}: {readonly host: Host; readonly claim: Claim; readonly service?: ServiceContainer},
): Destination {
  if (service && inPlace) return insteadOf(service, claim);
  return ownDirectory(host, claim);
}

const unmarked: Held = {release: async () => undefined};

function ownDirectory(host: Host, claim: Claim): Destination {
  return {
    async place(asked) {
      if (!asked.dryRun) await removeAbandoned(occupationOf(`${asked.dataDirectory}_config`), host);
      return asked;
    },
    async claim(target) {
      await claimTarget(target, host, claim);
      // The files of a container are not the runner's: what is recorded in the place itself has to do.
      return host.endOrphans ? unmarked : markTarget(target, host, claim);
    },
    async finish({server, readyAt}, {keepRunning}) {
      await vacate(occupationOf(server.target.configDirectory), host);
      const reachableAt = keepRunning ? await reach(server) : undefined;
      return {dataDirectory: server.target.dataDirectory, reachableAt, readyAt};
    },
    undo: (target) => removeTarget(target, host),
  };
}

function insteadOf(service: ServiceContainer, claim: Claim): Destination {
  return {
    replaced: service,
    place: (asked) => placeInService(asked, service),
    async claim(target) {
      await claimService(service, {target, owner: claim.owner});
      return unmarked;
    },
    async finish({server}, request) {
      const reachableAt = await replaceData(server, {service, request});
      return {dataDirectory: service.dataDirectory, reachableAt, readyAt: performance.now()};
    },
    undo: (target) => removeStaging(service, target),
  };
}
