/** Watches over something that has to show signs of life. */
export interface Watchdog {
  /** Aborted, with the reason that `watchdog` was given, when there was none for too long. */
  readonly signal: AbortSignal;
  /** A sign of life; it also ends a rest. */
  pat(): void;
  /** Expects no sign of life until the next one. */
  rest(): void;
  close(): void;
}

/** Starts to watch. `seconds` is how long there may be no sign of life. */
export function watchdog(seconds: number, reason: () => Error): Watchdog {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const rest = () => clearTimeout(timer);
  const pat = () => {
    rest();
    timer = setTimeout(() => controller.abort(reason()), seconds * 1000);
  };
  pat();
  return {signal: controller.signal, pat, rest, close: rest};
}
