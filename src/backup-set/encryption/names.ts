const suffix = '.age';

/** The name of a file once it is encrypted: `base.tar.zst.age`. */
export function encryptedName(name: string): string {
  return `${name}${suffix}`;
}

/** Whether a file is encrypted, as its name tells. */
export function isEncrypted(name: string): boolean {
  return name.endsWith(suffix);
}
