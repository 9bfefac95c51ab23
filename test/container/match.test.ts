import {readFileSync, rmSync, writeFileSync} from 'node:fs';
import {expect, test} from 'vitest';
import {backedUpService} from '../support/backed-up.js';
import {describeWithEngine, docker} from '../support/container.js';
import {failure, runAction, succeeded} from '../support/runner.js';
import {images, service} from '../support/service.js';
import {backUpService, checksumOfService, serviceRestoreInputs, traces} from '../support/service-steps.js';
import {backupDirectory} from '../support/steps.js';
import {type Workspace, workspace} from '../support/workspace.js';

/** Changes what the metadata of the backup `nightly` tell of the source. */
function tell(home: Workspace, change: (metadata: Record<string, unknown>) => object): void {
  const path = `${backupDirectory(home)}.json`;
  const metadata = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({...metadata, ...change(metadata)}));
}

describeWithEngine('what a container lacks', () => {
  test('a locale: named with its database and the command that adds it, which helps', async () => {
    const home = workspace();
    const source = await service(images['17-trixie']);
    const add = ['localedef', '-i', 'de_DE', '-f', 'UTF-8', 'de_DE.UTF-8'];
    await source.exec(add, {user: 'root'});
    // The server knows the locales that there were when it was started.
    await docker(['restart', source.id]);
    await source.ready();
    await source.sql(`create database "Straße" template template0 locale 'de_DE.UTF-8'`);
    await backUpService(source, home);

    const other = await service(images['17-trixie']);
    const before = await traces(other);
    const result = await runAction(serviceRestoreInputs(other), {workspace: home});
    const message = failure(result);
    expect(message).toMatch(/Database "Straße" has the locale de_DE\.UTF-8, which container \S+ lacks/);
    expect(message).toContain(add.join(' '));
    expect(result.stdout).not.toContain('Extract');
    expect(await traces(other)).toEqual(before);

    await other.exec(add, {user: 'root'});
    succeeded(await runAction(serviceRestoreInputs(other, {checks: 'dump'}), {workspace: home}));
  });

  test('the C library of the source: a warning, where that sorts otherwise', async () => {
    const home = workspace();
    const source = await service(images['17-trixie']);
    await source.sql(`create database shop template template0 locale 'en_US.UTF-8'`);
    await backUpService(source, home);
    // It has no getconf to tell of glibc, and with this file it looks like Alpine's.
    const other = await service(images['17-busybox']);
    await other.exec(['touch', '/lib/ld-musl-x86_64.so.1'], {user: 'root'});
    await other.exec(['rm', '-f', '/usr/bin/locale'], {user: 'root'});
    const result = succeeded(await runAction(serviceRestoreInputs(other), {workspace: home}));
    expect(result.warnings.join()).toMatch(
      /Text in .*"shop".* was sorted by glibc 2\.\d+, .* has Alpine’s \(musl\)/,
    );

    tell(home, ({collations}) => ({
      libcVersion: null,
      collations: (collations as object[]).map((one) => ({...one, version: null})),
    }));
    const glibc = await runAction(serviceRestoreInputs(source), {workspace: home});
    expect(succeeded(glibc).warnings.join()).toMatch(/such as Alpine’s, and container \S+ has glibc 2/);
  });

  test('a locale of a backup without metadata: named by the server itself', async () => {
    const home = workspace();
    const source = await service(images['17-trixie']);
    await source.exec(['localedef', '-i', 'de_DE', '-f', 'UTF-8', 'de_DE.UTF-8'], {user: 'root'});
    await docker(['restart', source.id]);
    await source.ready();
    await source.sql(`create database shop template template0 locale 'de_DE.UTF-8'`);
    await backUpService(source, home);
    rmSync(`${backupDirectory(home)}.json`);
    const other = await service(images['17-trixie']);
    const message = failure(await runAction(serviceRestoreInputs(other), {workspace: home}));
    expect(message).toMatch(/lets nobody into database "shop".*locale/s);
    expect(message).toContain('localedef');
  });

  test('the C library of the source: a warning that names the image that fits', async () => {
    const home = workspace();
    const own = await backedUpService(home, images['15-bookworm']);
    tell(home, ({collations}) => ({
      libcVersion: '2.31',
      collations: (collations as object[]).map((collation) => ({...collation, version: '2.31'})),
    }));
    const {warnings} = succeeded(await runAction(serviceRestoreInputs(own), {workspace: home}));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/"shop".* was sorted by glibc 2\.31, and container \S+ has glibc 2\.36/);
    expect(warnings[0]).toContain('postgres:15-bullseye');
  });

  test('the ICU of the source: a warning that names database, versions and statements', async () => {
    const home = workspace();
    const source = await service(images['17-trixie']);
    await source.sql(
      `create database shop template template0 locale_provider icu icu_locale 'en' locale 'C'`,
    );
    // As an older ICU would have left it.
    await source.sql(`update pg_database set datcollversion = '1.1' where datname = 'shop'`);
    await backUpService(source, home);
    const {warnings} = succeeded(await runAction(serviceRestoreInputs(source), {workspace: home}));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /^Text in "shop" was sorted by ICU collations of version 1\.1, and container \S+ has \d/,
    );
    expect(warnings[0]).toContain(
      'REINDEX DATABASE "shop"; ALTER DATABASE "shop" REFRESH COLLATION VERSION;',
    );
  });

  test('an extension’s library: a warning that names database, library and image', async () => {
    const home = workspace();
    const source = await service(images['17-trixie']);
    const libraries = '/usr/lib/postgresql/17/lib';
    await source.exec(['cp', `${libraries}/pg_trgm.so`, `${libraries}/postgis-3.so`]);
    await source.sql(
      `create function area(text, text) returns real language c as '$libdir/postgis-3', 'similarity'`,
    );
    await backUpService(source, home);
    const other = await service(images['17-trixie']);
    const {warnings} = succeeded(await runAction(serviceRestoreInputs(other), {workspace: home}));
    expect(warnings).toEqual([
      expect.stringMatching(/^Database "postgres" uses \$libdir\/postgis-3, which container \S+ lacks/),
    ]);
    expect(warnings[0]).toContain('postgis/postgis:17-');
  });

  test('a preloaded library: refused without isolation, before anything is copied', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    tell(home, () => ({preloadLibraries: ['pg_stat_statements', 'timescaledb']}));
    const refused = await runAction(serviceRestoreInputs(own, {isolate: 'false'}), {workspace: home});
    expect(failure(refused)).toMatch(/preloads timescaledb .*which container \S+ lacks/);
    expect(failure(refused)).toContain('timescale/timescaledb:latest-pg15');
    expect(refused.stdout).not.toContain('Extract');
    succeeded(await runAction(serviceRestoreInputs(own), {workspace: home}));
  });

  test('an entry of shared_preload_libraries: a warning with the setting, which helps', async () => {
    const home = workspace();
    const source = await service(images['17-trixie'], {
      command: ['postgres', '-c', 'shared_preload_libraries=pg_stat_statements'],
    });
    await source.sql('create extension pg_stat_statements');
    await backUpService(source, home);
    const other = await service(images['17-trixie']);
    const inPlace = serviceRestoreInputs(other, {'in-place': 'true'});
    const {warnings} = succeeded(await runAction(inPlace, {workspace: home}));
    const setting = "shared_preload_libraries = 'pg_stat_statements'";
    expect(warnings).toEqual([
      expect.stringMatching(/^Libraries: The source preloads pg_stat_statements, and the service does not/),
    ]);
    expect(warnings[0]).toContain(`postgresql-conf: ${setting}`);
    const cured = {...inPlace, 'postgresql-conf': setting};
    expect(succeeded(await runAction(cured, {workspace: home})).warnings).toEqual([]);
    expect(await other.sql('select count(*) > 0 from pg_stat_statements')).toBe('t');
  });

  test('a library that the user asks for: the server’s own word, and the image', async () => {
    const home = workspace();
    const own = await backedUpService(home);
    const inputs = {'postgresql-conf': "shared_preload_libraries = 'timescaledb'"};
    const message = failure(await runAction(serviceRestoreInputs(own, inputs), {workspace: home}));
    expect(message).toContain('FATAL: could not access file "timescaledb"');
    expect(message).toContain('timescale/timescaledb:latest-pg15');
    expect(await traces(own)).toEqual([]);
  });

  test('nothing: no warning', async () => {
    const home = workspace();
    const own = await backedUpService(home, images['18-forky']);
    await own.sql('create extension pg_trgm', 'shop');
    const before = await checksumOfService(own);
    const {warnings} = succeeded(
      await runAction(serviceRestoreInputs(own, {'in-place': 'true'}), {workspace: home}),
    );
    expect(warnings).toEqual([]);
    expect(await checksumOfService(own)).toBe(before);
  });
});
