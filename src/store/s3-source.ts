import type {BackupSource} from '../backup-set/source.js';
import type {Bucket} from './s3-client.js';
import {RangeMemory, readObject, type StoredObject} from './s3-download.js';

/** More than four archives at once do not come faster, and each takes memory. */
const readsAtOnce = 4;

/**
 * The files of a backup in a bucket, read as they are needed and kept on no disk. Reading one throws a UserError when
 * the store does not give it, or when it was replaced since it was listed.
 */
export function bucketSource(
  bucket: Bucket,
  location: string,
  objects: readonly StoredObject[],
): BackupSource {
  const memory = new RangeMemory();
  const byName = new Map(objects.map((object) => [object.fileName, object]));
  return {
    location,
    readsAtOnce,
    list: async () => [...byName.keys()],
    async find(name) {
      const object = byName.get(name);
      if (object === undefined) return undefined;
      return {name, sizeBytes: object.sizeBytes, read: () => readObject(bucket, object, memory)};
    },
  };
}
