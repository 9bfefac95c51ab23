import {makeTemplate, templateVariable} from './data-directory.js';
import {binDirectory} from './postgres-programs.js';

/** Runs initdb once for all plain clusters of a run, each of which is a copy; vitest calls this for each project. */
export async function setup(): Promise<(() => void) | undefined> {
  if (binDirectory() === undefined || process.env[templateVariable] !== undefined) return undefined;
  const {dataDirectory, remove} = await makeTemplate();
  process.env[templateVariable] = dataDirectory;
  return () => {
    delete process.env[templateVariable];
    remove();
  };
}
