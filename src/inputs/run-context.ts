/** What the run itself tells, besides its inputs. */
export interface RunContext {
  /** `GITHUB_WORKSPACE` */
  readonly workspace: string;
  /** `RUNNER_TEMP` */
  readonly temporaryDirectory: string;
  /** `RUNNER_OS`: `Linux`, `macOS` or `Windows`. */
  readonly operatingSystem: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly now: Date;
  /** The page of the run; undefined outside of GitHub Actions. */
  readonly runUrl?: string;
  /** The ref that the action is used at, such as `v1`; undefined for one of the repository itself. */
  readonly actionRef?: string;
  /** Names the run in `pg_stat_activity`. */
  readonly applicationName: string;
  /** Names the run for people: `run 4242, attempt 1`. */
  readonly runName: string;
  /** Names the run in `backup_label`. */
  readonly defaultLabel: string;
}

const systems: Partial<Record<NodeJS.Platform, string>> = {darwin: 'macOS', win32: 'Windows'};

/** Reads GitHub's variables (GitHub Docs, "Default environment variables"). */
export function readRunContext(environment: NodeJS.ProcessEnv): RunContext {
  const {
    GITHUB_WORKFLOW: workflow = 'local',
    GITHUB_RUN_ID: run = '0',
    GITHUB_RUN_ATTEMPT: attempt = '1',
    GITHUB_SERVER_URL: server,
    GITHUB_REPOSITORY: repository,
    GITHUB_ACTION_REF: actionRef,
  } = environment;
  const runName = `run ${run}, attempt ${attempt}`;
  return {
    workspace: environment.GITHUB_WORKSPACE ?? process.cwd(),
    temporaryDirectory: environment.RUNNER_TEMP ?? '/tmp',
    operatingSystem: environment.RUNNER_OS ?? systems[process.platform] ?? 'Linux',
    environment,
    now: new Date(),
    ...(server && repository && {runUrl: `${server}/${repository}/actions/runs/${run}/attempts/${attempt}`}),
    ...(actionRef && {actionRef}),
    applicationName: `pg-basebackup-action ${run}-${attempt}`,
    runName,
    defaultLabel: `${workflow.replaceAll(/\p{Cc}/gu, ' ')}, ${runName}`,
  };
}
