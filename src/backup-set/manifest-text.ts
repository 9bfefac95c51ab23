import {damaged} from './digest.js';
import {type Decryption, withoutKeys} from './encryption/decryption.js';
import {encryptedName} from './encryption/names.js';
import {type BackupSource, openStored} from './source.js';

/** The name of the manifest of every backup. */
export const manifestName = 'backup_manifest';

/** Some 150 bytes tell of one file, so that this is some 2.5 million files; a text of JavaScript holds 512 MiB. */
export const manifestLimitBytes = 400 * 2 ** 20;

/** The name of the manifest among those of a backup's files, encrypted or not. Throws a UserError for two of them. */
export function manifestNameIn(names: readonly string[]): string | undefined {
  const [name, other] = [manifestName, encryptedName(manifestName)].filter((one) => names.includes(one));
  if (name !== undefined && other !== undefined) throw damaged(other, `${name} is there too`);
  return name;
}

/**
 * The text of the `backup_manifest` among a backup's files, or undefined where there is none. Throws a UserError
 * when it is no file, cannot be decrypted, or is so large that it cannot be one.
 */
export async function readManifestText(
  source: BackupSource,
  decryption: Decryption = withoutKeys,
): Promise<string | undefined> {
  const name = manifestNameIn(await source.list().catch(() => []));
  if (name === undefined) return undefined;
  const file = await openStored(source, name);
  refuseLargeManifest(file.sizeBytes);
  const pieces: Buffer[] = [];
  for await (const piece of decryption.open(name, file.read())) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString('utf8');
}

/** Throws a UserError when a manifest has so many bytes that it cannot be one. */
export function refuseLargeManifest(bytes: number): void {
  if (bytes > manifestLimitBytes)
    throw damaged(
      manifestName,
      `it has ${bytes} bytes or more, and no manifest has more than ${manifestLimitBytes}`,
    );
}
