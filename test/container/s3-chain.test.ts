import {beforeAll, expect, test} from 'vitest';
import {describeWithEngine} from '../support/container.js';
import {createJob, type Job} from '../support/job.js';
import {type ObjectStore, startObjectStore} from '../support/radosgw.js';
import {type ActionResult, runAction, succeeded} from '../support/runner.js';
import {credentialsOf, describeWithCeph, makeBucket, type TestBucket} from '../support/s3-bucket.js';
import {createService, images, type Service} from '../support/service.js';
import {
  checksumOfRestored,
  checksumOfService,
  fillShop,
  prepareInputs,
  replicator,
  serviceRestoreInputs,
} from '../support/service-steps.js';
import type {Inputs} from '../support/steps.js';
import {listAll, makeWorkspace, type Workspace} from '../support/workspace.js';

const names = ['full', 'one', 'two'] as const;

describeWithEngine('a chain of incremental backups in an object store', () => {
  describeWithCeph('each of which is stored while it is taken', () => {
    let home: Workspace;
    let source: Service;
    /** Has the programs of 17, which this machine may lack: an older pg_basebackup takes no incremental backup. */
    let job: Job;
    let store: ObjectStore;
    let bucket: TestBucket;
    let sum: string;
    const results = new Map<string, ActionResult>();

    const place = (): Inputs => ({storage: `s3://${bucket.name}/shop`, 's3-endpoint': store.origin});
    const fromRunner = (inputs: Inputs) =>
      runAction({...inputs, ...place()}, {workspace: home, env: credentialsOf(store)});

    beforeAll(async () => {
      const made: {remove(): Promise<unknown>}[] = [];
      const removeAll = async () => {
        for (const one of made.reverse()) await one.remove();
      };
      try {
        home = makeWorkspace();
        made.push(home);
        const running = await startObjectStore();
        made.push({remove: () => running.stop()});
        store = running;
        bucket = await makeBucket(store);
        source = await createService(images['17-trixie'], {command: ['postgres', '-c', 'summarize_wal=on']});
        made.push(source);
        const env = credentialsOf(store);
        const {image} = images['17-trixie'];
        job = await createJob(image, {workspace: home, beside: source, network: 'host', env});
        made.push(job);
        succeeded(await runAction(prepareInputs(source), {workspace: home}));
        await fillShop(source);
        await source.exec(['install', '-d', '-o', 'postgres', '/var/lib/postgresql/fast']);
        await source.sql("create tablespace fast location '/var/lib/postgresql/fast'");
        await source.sql('create table far tablespace fast as select generate_series(1, 1000) n', 'shop');
        for (const [step, name] of names.entries()) {
          await source.sql(
            `update orders set note = 'step ${step}' where id % 500 = ${step}; insert into far values (-${step})`,
            'shop',
          );
          sum = await checksumOfService(source);
          const {host, port} = source.inputs;
          results.set(
            name,
            await job.run({
              mode: 'backup',
              'backup-name': name,
              host: host ?? '',
              port: port ?? '',
              ...replicator,
              incremental: 'true',
              ...place(),
            }),
          );
        }
      } catch (error) {
        await removeAll();
        throw error;
      }
      return removeAll;
      // Ceph starts, a service, a job, and three backups are taken.
    }, 300_000);

    test('goes on with small ones that name their parent, and leaves nothing else', async () => {
      const sizes = names.map((name, index) => {
        const {outputs, stdout, warnings} = succeeded(results.get(name) ?? expect.fail());
        expect(stdout).toContain('Into:   the storage, while it is taken');
        expect(outputs['parent-backup']).toBe(names[index - 1]);
        expect(warnings.some((text) => text.startsWith('Incremental'))).toBe(index === 0);
        return Number(outputs['size-bytes']);
      });
      expect(Math.max(...sizes.slice(1))).toBeLessThan(sizes[0] ?? 0);
      expect(await bucket.uploads()).toEqual([]);
      expect((await bucket.keys()).filter((key) => !/^shop\/(full|one|two)(\.json$|\/)/.test(key))).toEqual(
        [],
      );
      expect(listAll(home.directory).filter((path) => path !== 'backups')).toEqual([]);
      expect(listAll(home.temp)).toEqual([]);
    });

    test('is verified as a whole, from the bucket', async () => {
      const {outputs, stdout} = succeeded(await fromRunner({mode: 'verify', 'backup-name': 'latest'}));
      expect(outputs).toMatchObject({'backup-name': 'two', proof: 'manifest-verified'});
      expect(stdout).toContain('full <- one <- two');
    });

    test('becomes the cluster that it was taken of, from the bucket', async () => {
      const restored = succeeded(
        await fromRunner(
          serviceRestoreInputs(source, {
            'backup-name': 'two',
            'keep-running': 'true',
            'tablespace-mapping': '/var/lib/postgresql/fast=/var/lib/postgresql/elsewhere',
          }),
        ),
      );
      expect(restored.outputs.proof).toBe('recovered');
      expect(await checksumOfRestored(restored)).toBe(sum);
      expect(await source.files('/var/lib/postgresql/elsewhere')).not.toEqual([]);
    });
  });
});
