/**
 * A failure that the user can do something about: what happened, and the cure as text to paste.
 * A plain `Error` is a bug of ours.
 */
export class UserError extends Error {
  readonly cure: string;

  constructor(message: string, cure: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UserError';
    this.cure = cure;
  }
}

/** A failure that may be gone when the same is tried again a little later: a lost connection, a server that restarts. */
export class PassingError extends UserError {}

/** The run was cancelled (GitHub sends SIGINT, then SIGTERM 7.5 s later). */
export class CancelledError extends Error {
  constructor(signalName: string) {
    super(`Cancelled by ${signalName}.`);
    this.name = 'CancelledError';
  }
}

/** The message of anything thrown, with the messages of its causes that say something new. */
export function messageOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  // pg throws an AggregateError with an empty message when every address of a host refuses.
  const own =
    thrown.message || (thrown instanceof AggregateError ? thrown.errors.map(messageOf).join('; ') : '');
  const cause = thrown.cause === undefined ? '' : messageOf(thrown.cause);
  return cause === '' || own.includes(cause) ? own : `${own}\nCause: ${cause}`;
}

/** What the step's one `::error` says: the failure, then the cure. */
export function describe(thrown: unknown): string {
  const message = messageOf(thrown) || 'An error without a message was thrown.';
  return thrown instanceof UserError ? `${message}\n${thrown.cure}` : message;
}
