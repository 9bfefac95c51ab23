import type {Finding} from '../../finding.js';
import type {Host} from '../../host/host.js';
import type {Programs} from '../../postgres/programs.js';
import {missingLibraries} from '../match.js';
import type {RestoreRequest} from '../request.js';
import {judgeChecks} from './judge.js';

/** The checks that were asked for and cannot run on a host with these programs. */
export async function surveyChecks(
  request: RestoreRequest,
  host: Host,
  programs: Programs,
): Promise<readonly Finding[]> {
  const {major, directory, isToBeInstalled} = programs;
  if (isToBeInstalled) return judgeChecks({request, host, major});
  const names = await host.list(directory);
  const asksAmcheck = request.checks.includes('amcheck');
  const lacksAmcheck = asksAmcheck && (await missingLibraries(host, programs, ['amcheck'])).length > 0;
  return judgeChecks({request, host, major, there: {directory, names, lacksAmcheck}});
}
