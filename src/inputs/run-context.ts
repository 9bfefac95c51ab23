/** What the run itself tells, besides its inputs. */
export interface RunContext {
  /** `GITHUB_WORKSPACE` */
  readonly workspace: string;
  /** `RUNNER_TEMP` */
  readonly temporaryDirectory: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly now: Date;
  /** Names the run in `pg_stat_activity`. */
  readonly applicationName: string;
  /** Names the run in `backup_label`. */
  readonly defaultLabel: string;
}

/** Reads GitHub's variables (GitHub Docs, "Default environment variables"). */
export function readRunContext(environment: NodeJS.ProcessEnv): RunContext {
  const {
    GITHUB_WORKFLOW: workflow = 'local',
    GITHUB_RUN_ID: run = '0',
    GITHUB_RUN_ATTEMPT: attempt = '1',
  } = environment;
  return {
    workspace: environment.GITHUB_WORKSPACE ?? process.cwd(),
    temporaryDirectory: environment.RUNNER_TEMP ?? '/tmp',
    environment,
    now: new Date(),
    applicationName: `pg-basebackup-action ${run}-${attempt}`,
    defaultLabel: `${workflow.replaceAll(/\p{Cc}/gu, ' ')}, run ${run}, attempt ${attempt}`,
  };
}
