import {readdirSync} from 'node:fs';
import {afterEach, beforeAll, describe, expect, test} from 'vitest';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {processesOf} from '../support/processes.js';
import {failure, runAction} from '../support/runner.js';
import {backUp, type Inputs, restoreInputs} from '../support/steps.js';
import {makeWorkspace} from '../support/workspace.js';

/** What makes a server refuse to start, its own words, and what the cure must tell. */
interface Refusal {
  readonly what: string;
  /** Lines of postgresql-conf. */
  readonly lines: (source: Cluster) => string;
  readonly inputs?: Inputs;
  readonly says: RegExp;
  readonly cure: RegExp;
}

const refusals: readonly Refusal[] = [
  {
    what: 'a library that is missing',
    lines: () => "shared_preload_libraries = 'no_such_library'",
    says: /FATAL: could not access file "no_such_library"/,
    cure: /postgresql-conf: shared_preload_libraries = ''/,
  },
  {
    what: 'a setting that nobody knows',
    lines: () => 'no_such_setting = 1',
    says: /unrecognized configuration parameter "no_such_setting"/,
    cure: /PostgreSQL \d+ does not know no_such_setting: correct it in postgresql-conf/,
  },
  {
    what: 'a value that is none',
    lines: () => "recovery_target_time = 'yesterday noon'",
    says: /invalid value for parameter "recovery_target_time": "yesterday noon"/,
    cure: /Give recovery_target_time a value that it takes/,
  },
  {
    what: 'a word for a switch that is none',
    lines: () => 'fsync = perhaps',
    says: /parameter "fsync" requires a Boolean value/,
    cure: /Give fsync a value that it takes/,
  },
  {
    what: 'a value out of range',
    lines: () => 'port = 70000',
    says: /70000 is outside the valid range for parameter "port"/,
    cure: /Give port a value that it takes/,
  },
  {
    what: 'a line that is none',
    lines: () => 'work_mem == 4MB',
    says: /syntax error in file ".*postgresql\.conf" line \d+, near token "="/,
    cure: /Write postgresql-conf as lines of postgresql\.conf[\s\S]*token "="/,
  },
  {
    what: 'a file to include that is missing',
    lines: () => "include '/nowhere/more.conf'",
    says: /could not open configuration file "\/nowhere\/more\.conf": No such file or directory/,
    cure: /names \/nowhere\/more\.conf, which is not there/,
  },
  {
    what: 'a certificate that is missing',
    lines: () => 'ssl = on',
    says: /FATAL: could not load server certificate file "server\.crt": No such file or directory/,
    cure: /postgresql-conf: ssl = off/,
  },
  {
    what: 'rules that are missing',
    lines: () => "hba_file = '/nowhere/hba.conf'",
    says: /FATAL: could not load \S*pg_hba\.conf; could not open (configuration )?file "\/nowhere\/hba\.conf"/,
    cure: /remove hba_file there/,
  },
  {
    what: 'a directory for its socket that is missing',
    lines: () => "unix_socket_directories = '/nowhere'",
    says: /FATAL: could not create lock file "\/nowhere\/\.s\.PGSQL\.\d+\.lock": No such file or directory/,
    cure: /Make \/nowhere in an earlier step/,
  },
  {
    what: 'more memory than there is',
    lines: () => 'huge_pages = on\nshared_buffers = 1GB',
    says: /FATAL: could not map anonymous shared memory: Cannot allocate memory/,
    cure: /shared_buffers = 32MB, and huge_pages = off/,
  },
  {
    what: 'less than recovery demands',
    lines: () => 'max_connections = 20',
    says: /FATAL: (recovery aborted because of insufficient parameter settings|hot standby is not possible)/,
    cure: /max_connections[\s\S]*Remove them from postgresql-conf/,
  },
  {
    what: 'no restore_command',
    lines: () => "restore_command = ''",
    says: /FATAL: must specify "?restore_command"? when standby mode is not enabled/,
    cure: /remove it there, and use the input restore-command/,
  },
  {
    what: 'an end at its target',
    lines: () => "recovery_target_action = 'shutdown'",
    inputs: {'recovery-target': 'immediate'},
    says: /LOG: shutdown at recovery target/,
    cure: /recovery_target_action in postgresql-conf.*remove it there/,
  },
  {
    what: 'a port that another server has',
    lines: ({port}) => `port = ${port}`,
    inputs: {'keep-running': 'true', 'listen-port': '1'},
    says: /FATAL: could not create any TCP\/IP sockets/,
    cure: /listen-port/,
  },
];

describeWithPostgres('a restored server that does not start', () => {
  const home = makeWorkspace();
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    await backUp(source, home, {compress: 'none'});
    return async () => {
      await source.remove();
      await home.remove();
    };
  });

  afterEach(() => {
    expect(readdirSync(home.temp)).toEqual([]);
    expect(processesOf(home.root)).toEqual([]);
  });

  describe('is told by its own word, with the cure, and leaves nothing, for', () => {
    test.each(refusals)('$what', async ({lines, inputs, says, cure}) => {
      const given = restoreInputs({'postgresql-conf': lines(source), ...inputs});
      const result = await runAction(given, {workspace: home});
      const message = failure(result);
      expect(message).toMatch(says);
      expect(message.slice(message.indexOf('\n'))).toMatch(cure);
      expect(result.summary).toContain('| ✅ | manifest-verified |');
      expect(result.summary).toContain('| ➖ | recovered |');
    });
  });

  test('has its log in one collapsed group', async () => {
    const inputs = restoreInputs({'postgresql-conf': "shared_preload_libraries = 'no_such_library'"});
    const {stdout} = await runAction(inputs, {workspace: home});
    const groups = stdout.split('\n').filter((line) => /^::(end)?group::/.test(line));
    expect(groups.slice(-2)).toEqual(['::group::Log of the restored server', '::endgroup::']);
    // GitHub does not nest groups.
    expect(groups.filter((_, index) => index % 2 === 0).every((line) => line.startsWith('::group::'))).toBe(
      true,
    );
  });
});
