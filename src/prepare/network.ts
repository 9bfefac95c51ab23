import {isIPv4, isIPv6} from 'node:net';

/** The addresses that agree with `address` in the bits of `mask`. */
export interface Network {
  readonly bits: 32 | 128;
  readonly address: bigint;
  readonly mask: bigint;
}

/**
 * Reads `192.0.2.0/24`, `192.0.2.7`, `2001:db8::/32`, or an address and its netmask apart, as `pg_hba_file_rules`
 * has them. Undefined when it is none of these.
 */
export function parseNetwork(text: string, netmask?: string): Network | undefined {
  const [host = '', prefix, ...more] = text.split('/');
  const address = parseAddress(host);
  if (!address || more.length > 0) return undefined;
  const {bits} = address;
  if (netmask !== undefined) {
    const mask = parseAddress(netmask);
    return mask?.bits === bits ? {...address, mask: mask.address} : undefined;
  }
  const length = prefix === undefined ? bits : Number(prefix);
  if (prefix !== undefined && !(/^\d{1,3}$/.test(prefix) && length <= bits)) return undefined;
  return {...address, mask: ((1n << BigInt(length)) - 1n) << BigInt(bits - length)};
}

/** Whether every address of a network is in another one. */
export function contains(outer: Network, inner: Network): boolean {
  return (
    outer.bits === inner.bits &&
    (inner.mask & outer.mask) === outer.mask &&
    (inner.address & outer.mask) === (outer.address & outer.mask)
  );
}

/** Whether two networks have an address in common. */
export function overlap(one: Network, other: Network): boolean {
  return one.bits === other.bits && ((one.address ^ other.address) & one.mask & other.mask) === 0n;
}

function parseAddress(text: string): {bits: 32 | 128; address: bigint} | undefined {
  if (isIPv4(text)) {
    const address = text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
    return {bits: 32, address};
  }
  // A zone (`fe80::1%eth0`) names an interface of the machine and is no part of the address.
  const [unzoned = ''] = text.split('%');
  return isIPv6(unzoned) ? {bits: 128, address: parseIPv6(unzoned)} : undefined;
}

function parseIPv6(text: string): bigint {
  // A URL spells addresses one way only: in hexadecimal, also `::ffff:192.0.2.7`.
  const [left = '', right] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const groups = (part: string) => part.split(':').filter((group) => group !== '');
  const [first, last] = [groups(left), groups(right ?? '')];
  const zeros = new Array<string>(8 - first.length - last.length).fill('0');
  return [...first, ...zeros, ...last].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}
