import {randomUUID} from 'node:crypto';
import {PassThrough} from 'node:stream';
import {setTimeout as sleep} from 'node:timers/promises';
import {messageOf, UserError} from '../errors.js';
import type {Container} from './container-program.js';
import {openShells} from './container-shell.js';
import {CommandError} from './host.js';
import {runProcess} from './process.js';

/** A container beside another one. */
export interface Sidecar {
  readonly container: Container;
  /** Ends and removes it. */
  close(): Promise<void>;
}

/**
 * Starts a container of the same image, in the network of another one, with processes of its own: for a program
 * whose children may die badly, as pg_basebackup's WAL receiver does when pg_basebackup fails, and would be taken
 * for a crash by a postmaster that is the first process (see `exec`). It ends with its input, and so with this
 * process, however that ends.
 */
export async function openSidecar(container: Container): Promise<Sidecar> {
  const {docker, signal, facts} = container;
  const name = `pg-basebackup-action-${randomUUID()}`;
  const input = new PassThrough();
  const options = [
    '--interactive',
    '--rm',
    `--name=${name}`,
    `--network=container:${facts.id}`,
    '--user=0',
    `--label=pg-basebackup-action.beside=${facts.id}`,
  ];
  const args = ['run', ...options, '--entrypoint=cat', facts.imageId];
  let ended: unknown;
  const running = runProcess(
    {program: 'docker', args},
    {stdin: input, cleanup: true},
    {signal, end: () => input.end()},
  ).catch((error: unknown) => {
    ended = error;
  });
  const beside = {...facts, id: name};
  const shells = openShells(beside);
  const close = async () => {
    await shells.close();
    input.end();
    await running;
  };
  try {
    while (!(await answers(container, name))) {
      if (ended !== undefined)
        throw new UserError(
          `A container beside ${facts.name} did not start: ${messageOf(ended)}`,
          'Mend what Docker says (often its disk is full), or install the client on the runner in an earlier step.',
          {cause: ended},
        );
      signal.throwIfAborted();
      await sleep(50);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {container: {docker, signal, runner: container.runner, facts: beside, shells}, close};
}

async function answers({docker}: Container, name: string): Promise<boolean> {
  try {
    await docker.run(['exec', name, 'true']);
    return true;
  } catch (error) {
    if (error instanceof CommandError) return false;
    throw error;
  }
}
