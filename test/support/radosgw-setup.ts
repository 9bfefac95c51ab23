import type {TestProject} from 'vitest/node';
import {hasCeph, type ObjectStore, startObjectStore} from './radosgw.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Undefined where Ceph is not installed. */
    objectStore: ObjectStore | undefined;
  }
}

/** Starts Ceph once for all files of a run that need it, which takes a while; vitest calls this. */
export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  if (!hasCeph()) {
    project.provide('objectStore', undefined);
    return undefined;
  }
  const {stop, ...store} = await startObjectStore();
  project.provide('objectStore', store);
  return stop;
}
