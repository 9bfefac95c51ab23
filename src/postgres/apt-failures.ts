import {UserError} from '../errors.js';

/** A failure by what apt-get, dpkg or we ourselves say of it. */
interface Cause {
  readonly pattern: RegExp;
  readonly reason: string;
  readonly cure: string;
}

/** In the order in which they are looked for: what is told first is often a consequence. Texts of apt 2.4 to 3.0. */
const causes: readonly Cause[] = [
  {
    pattern: /Could not get lock|Unable to (acquire|lock)|held by process/,
    reason: 'another program is installing packages',
    cure: 'Run the step again when that is done, or keep it from starting in an earlier step: sudo systemctl stop apt-daily.service apt-daily-upgrade.service unattended-upgrades.service',
  },
  {
    pattern: /dpkg was interrupted/,
    reason: 'an earlier installation was interrupted',
    cure: 'In an earlier step: sudo dpkg --configure -a',
  },
  {
    pattern: /No space left on device|have enough free space/,
    reason: 'the disk is full',
    cure: 'Free space in an earlier step, or use a larger runner.',
  },
  {
    pattern: /NO_PUBKEY|EXPKEYSIG|is not signed|couldn't be verified|Certificate verification failed/,
    reason: 'a package source is not to be trusted',
    cure: 'Put the keys of the runner’s package sources in order, or remove the source: ls /etc/apt/sources.list.d',
  },
  {
    pattern:
      /resolving|could not resolve|resolve host|Could not connect|unreachable|timed out|Unable to connect|Cannot initiate the connection|Connection failed|Failed to fetch/i,
    reason: 'the package sources cannot be reached',
    cure: 'Let the runner reach its package sources (apt-get update), or use a runner whose image has the programs.',
  },
  {
    pattern: /unmet dependencies|held broken packages/,
    reason: 'it does not fit what else is installed',
    cure: 'Put the packages of the runner in order in an earlier step: sudo apt-get --fix-broken install --yes',
  },
];

/** What of the output has a cure, for docs/troubleshooting.md to be held to. */
export const knownAptMessages: readonly RegExp[] = causes.map(({pattern}) => pattern);

/** Why a package is not there after all: from the output of apt-get, or in words of our own. */
export function aptFailure(name: string, output: string, options?: ErrorOptions): UserError {
  const lines = output
    .split('\n')
    .map((line) => line.replace(/^[EWN]: /, '').trim())
    .filter(Boolean);
  const byHand = `By hand, in an earlier step: sudo apt-get update && sudo apt-get install --yes ${name}`;
  for (const {pattern, reason, cure} of causes) {
    const line = lines.find((one) => pattern.test(one));
    if (line !== undefined)
      return new UserError(
        `${name} cannot be installed: ${reason} (${line}).`,
        `${cure}\n${byHand}`,
        options,
      );
  }
  const said = lines.at(-1) ?? 'apt-get does not say why';
  return new UserError(`${name} cannot be installed: ${said.replace(/\.$/, '')}.`, byHand, options);
}
