import {execFileSync} from 'node:child_process';
import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {run} from './command.js';
import {docker} from './container.js';
import {createService, images, type Service, type ServiceImage, service} from './service.js';
import {backUpService, fillShop} from './service-steps.js';
import {makeWorkspace, type Workspace} from './workspace.js';

/**
 * A service of an image, filled and prepared, and its backup in a workspace; the default's is taken by the runner's
 * client. Made once for all tests of a file: each gets a copy of the volume and of the backup.
 */
export async function backedUpService(
  home: Workspace,
  of: ServiceImage = images['15-bookworm'],
): Promise<Service> {
  const made = kept.get(of.name) ?? keep(of);
  kept.set(of.name, made);
  const {backup, volume} = await made;
  execFileSync('cp', ['--archive', `${backup.directory}/.`, home.directory]);
  return service(of, {volume});
}

/** A backup, and the volume that it was taken of. */
interface Kept {
  readonly backup: Workspace;
  /** A tar archive. */
  readonly volume: string;
}

const kept = new Map<string, Promise<Kept>>();

async function keep(of: ServiceImage): Promise<Kept> {
  const backup = makeWorkspace();
  process.once('exit', () => rmSync(backup.root, {recursive: true, force: true}));
  const source = await createService(of);
  await fillShop(source);
  await backUpService(source, backup);
  await docker(['stop', source.id]);
  const volume = join(backup.root, 'volume.tar');
  await run('sh', ['-c', 'docker cp --archive "$1" - >"$2"', 'sh', `${source.id}:${of.volume}`, volume]);
  await source.remove();
  return {backup, volume};
}
