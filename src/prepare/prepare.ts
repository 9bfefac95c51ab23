import {messageOf, UserError} from '../errors.js';
import {info, warning} from '../log.js';
import type {Administrator} from './administrator.js';
import {addToHbaFile} from './hba-file.js';
import {cureOfRights, type PreparePlan, planPreparation, showPlan} from './plan.js';
import {type Proof, prove} from './prove.js';
import type {PrepareRequest} from './request.js';

/** What a preparation works with. */
export interface PrepareSurroundings {
  /** Somebody who may make roles; the preparation closes what it opens. */
  readonly openAdministrator: () => Promise<Administrator>;
}

/** What was done and proven, or, of a dry run, the plan alone. */
export type PrepareResult =
  | {readonly mode: 'prepare'; readonly dryRun: true; readonly plan: PreparePlan}
  | {readonly mode: 'prepare'; readonly dryRun: false; readonly plan: PreparePlan; readonly proof: Proof};

/**
 * Makes a replication role, has pg_hba.conf let it in, and proves it by a replication connection as that role. What
 * is there already is left as it is. Throws a UserError with the cure for whatever stops it.
 */
export async function prepare(
  request: PrepareRequest,
  {openAdministrator}: PrepareSurroundings,
): Promise<PrepareResult> {
  const administrator = await openAdministrator();
  try {
    const plan = await planPreparation(request, administrator);
    await showPlan(plan, administrator.host !== undefined);
    if (request.dryRun) return {mode: 'prepare', dryRun: true, plan};

    await changeRole(plan, administrator);
    const isEdited = await editHbaFile(plan, administrator);
    const proof = await prove(plan, isEdited);
    for (const text of proof.warnings) warning(text);
    return {mode: 'prepare', dryRun: false, plan, proof};
  } finally {
    await administrator.close();
  }
}

async function changeRole(
  {statements, shown, server, role}: PreparePlan,
  administrator: Administrator,
): Promise<void> {
  if (statements.length === 0) return;
  await administrator.change(statements).catch((cause: unknown) => {
    throw new UserError(
      `The role could not be prepared by ${administrator.name}: ${messageOf(cause)}`,
      cureOfRights(server, role, shown),
      {cause},
    );
  });
}

/** Where the file is within reach and lacks something. */
async function editHbaFile({lines, server}: PreparePlan, administrator: Administrator): Promise<boolean> {
  const {host} = administrator;
  if (!host || lines.length === 0 || server.hbaFile === undefined) return false;
  await addToHbaFile({...administrator, host}, server.hbaFile, lines);
  info(`Added to ${server.hbaFile}: ${lines.join('; ')}`);
  return true;
}
