import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {run} from '../support/command.js';
import {watchProcesses} from '../support/processes.js';
import {failure, runAction, startAction, succeeded} from '../support/runner.js';
import {askRestored, backUp, backupDirectory, backupInputs, restoreAndKeepRunning} from '../support/steps.js';
import {listAll, workspace} from '../support/workspace.js';

describeWithPostgres('a backup', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await source.pgbench('bank');
    return () => source.remove();
  });

  test('has the label that the user gave', async () => {
    const home = workspace();
    await backUp(source, home, {label: `before o'Brien's migration "7"`, compress: 'none'});
    const label = await run('tar', ['-xOf', join(backupDirectory(home), 'base.tar'), 'backup_label']);
    expect(label).toContain(`LABEL: before o'Brien's migration "7"\n`);
  });

  test('has a label that names the workflow, the run and its attempt', async () => {
    const home = workspace();
    await backUp(source, home, {compress: 'none'});
    const label = await run('tar', ['-xOf', join(backupDirectory(home), 'base.tar'), 'backup_label']);
    expect(label).toMatch(/^LABEL: .*Nightly backup.*4242.*1$/m);
  });

  test('has the manifest checksums that the user chose', async () => {
    const home = workspace();
    await backUp(source, home, {'manifest-checksums': 'sha256'});
    const manifest = readFileSync(join(backupDirectory(home), 'backup_manifest'), 'utf8');
    expect(manifest).toContain('"Checksum-Algorithm": "SHA256"');
    await restoreAndKeepRunning(home);
  });

  test('is a full one, and that is told, where the server is too old for an incremental one', async () => {
    const home = workspace();
    const {warnings, outputs, summary} = await backUp(source, home, {incremental: 'true'});
    const told =
      /Incremental: a full backup is taken instead of an incremental one: the server is PostgreSQL 1[3-6], and 17 is the first/;
    expect(warnings.join('\n')).toMatch(told);
    expect(outputs).not.toHaveProperty('parent-backup');
    expect(summary).toContain('Leave incremental out for this server');
  });

  test('streams through the slot that the user gave, and leaves it there', async () => {
    await source.sql("select pg_create_physical_replication_slot('nightly')");
    const home = workspace();
    await backUp(source, home, {slot: 'nightly'});
    const asked = 'select slot_name, active, restart_lsn is not null from pg_replication_slots';
    expect(await source.sql(asked)).toBe('nightly|f|t');
    await source.sql("select pg_drop_replication_slot('nightly')");
  });

  test('that writes recovery settings still restores as a server of its own', async () => {
    const home = workspace();
    await backUp(source, home, {'write-recovery-conf': 'true', compress: 'none'});
    const listing = await run('tar', ['-tf', join(backupDirectory(home), 'base.tar')]);
    expect(listing).toContain('standby.signal');
    const restored = await restoreAndKeepRunning(home);
    expect(await askRestored(restored, 'select pg_is_in_recovery()')).toBe('f');
    expect(await askRestored(restored, 'show primary_conninfo')).toBe('');
  });

  test('tells the server which run it belongs to', async () => {
    const home = workspace();
    const action = startAction(backupInputs(source, {'max-rate': '4M'}), {workspace: home});
    const names = "select application_name from pg_stat_activity where backend_type = 'walsender'";
    await action.until(
      async () => (await source.sql(names)).includes('4242'),
      'a sender of this run is seen',
    );
    succeeded(await action.result);
  });

  test('runs pg_basebackup with long options and never waits for a password', async () => {
    const home = workspace();
    const action = startAction(backupInputs(source), {workspace: home});
    const watch = watchProcesses(action.pid, home.root);
    succeeded(await action.result);
    const seen = (await watch.stop()).find(
      ([program = '', first]) => program.endsWith('pg_basebackup') && first !== '--version',
    );
    expect(seen).toContain('--no-password');
    expect(seen?.slice(1).filter((arg) => !arg.startsWith('--'))).toEqual([]);
  });

  test('shows its progress with percent, bytes and speed', async () => {
    const home = workspace();
    const result = await backUp(source, home, {'max-rate': '8M'});
    expect(result.stdout).toMatch(/\d+ ?%.*\d+(\.\d+)? ?(MB|MiB|GB|kB).*\/s/);
    expect(result.stdout).not.toContain('\r');
  });

  test('that is only planned changes nothing', async () => {
    const home = workspace();
    const result = await backUp(source, home, {'dry-run': 'true'});
    expect(result.stdout).toContain('pg_basebackup');
    expect(listAll(home.directory)).toEqual([]);
    expect(listAll(home.temp)).toEqual([]);
  });

  test('whose restore is only planned starts nothing and writes nothing', async () => {
    const home = workspace();
    await backUp(source, home);
    const inputs = {mode: 'restore', storage: 'directory', 'backup-name': 'nightly', 'dry-run': 'true'};
    succeeded(await runAction(inputs, {workspace: home}));
    expect(listAll(home.temp)).toEqual([]);
  });

  test('that is too old is refused by a restore', async () => {
    const home = workspace();
    await backUp(source, home);
    const path = join(home.directory, 'backups', 'nightly.json');
    await run('sed', [
      '-i',
      's/"finishedAt": "[0-9]*/"finishedAt": "2020/; s/"startedAt": "[0-9]*/"startedAt": "2020/',
      path,
    ]);
    const inputs = {mode: 'restore', storage: 'directory', 'backup-name': 'nightly', 'max-backup-age': '26h'};
    expect(failure(await runAction(inputs, {workspace: home}))).toMatch(/26h|max-backup-age/);
    expect(existsSync(join(home.temp, 'pgdata'))).toBe(false);
  });

  test('of a role that may not take it is refused with the statement that allows it', async () => {
    await source.sql('create role "read only" login');
    const home = workspace();
    const error = failure(await runAction(backupInputs(source, {user: 'read only'}), {workspace: home}));
    expect(error).toContain('ALTER ROLE "read only" REPLICATION');
    expect(listAll(home.directory)).toEqual([]);
  });

  test('of a role that may only replicate succeeds', async () => {
    await source.sql('create role replicator login replication');
    const home = workspace();
    await backUp(source, home, {user: 'replicator'});
    const restored = await restoreAndKeepRunning(home, {user: source.superuser});
    expect(await askRestored(restored, 'select 1')).toBe('1');
  });
});
