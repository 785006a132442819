/** One event stream for the whole page, and resources that follow it. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { StoreEvent } from '../../io/store/events.ts';
import { CallError, read } from './api.ts';

type Listener = (event: StoreEvent) => void;

const listeners = new Set<Listener>();
const connection = new Set<(isOpen: boolean) => void>();
const kinds: readonly StoreEvent['kind'][] = ['anomaly', 'divergence', 'case', 'proposal', 'repair', 'domain', 'suggestion', 'scan'];
let source: EventSource | undefined;

export function connect(): void {
  if (source !== undefined) return;
  source = new EventSource('/api/v1/events');
  source.addEventListener('open', () => connection.forEach((heard) => heard(true)));
  source.addEventListener('error', () => connection.forEach((heard) => heard(false)));
  for (const kind of kinds) {
    source.addEventListener(kind, (message: MessageEvent<string>) => {
      const event = JSON.parse(message.data) as StoreEvent;
      for (const listener of listeners) listener(event);
    });
  }
}

export function useEvents(listener: Listener): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const heard: Listener = (event) => latest.current(event);
    listeners.add(heard);
    return () => void listeners.delete(heard);
  }, []);
}

/** Whether events arrive; false is said on the page, since then it may be out of date. */
export function useConnection(): boolean {
  const [isOpen, setOpen] = useState(true);
  useEffect(() => {
    connection.add(setOpen);
    return () => void connection.delete(setOpen);
  }, []);
  return isOpen;
}

export interface Resource<T> {
  readonly data: T | undefined;
  readonly error: CallError | undefined;
  readonly reload: () => void;
}

/** Changes often come in bursts (a repair touches case, proposal and repair): one reload a burst. */
const settleMs = 400;
const retryMs = 3_000;

/** Reads a path and reads it again after events of these kinds; what is shown stays until the new answer is there. */
export function useResource<T>(path: string | null, after: readonly StoreEvent['kind'][] = []): Resource<T> {
  const [state, setState] = useState<{ readonly path: string | null; readonly data?: T; readonly error?: CallError }>({ path });
  const [turn, setTurn] = useState(0);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const reload = useCallback(() => setTurn((last) => last + 1), []);
  useEffect(() => {
    if (path === null) return undefined;
    const gone = new AbortController();
    let retry: ReturnType<typeof setTimeout> | undefined;
    read<T>(path, gone.signal).then(
      (data) => setState({ path, data }),
      (error: unknown) => {
        if (gone.signal.aborted) return;
        const failure = error instanceof CallError ? error : new CallError(0, String(error), undefined);
        setState((last) => (last.path === path && last.data !== undefined ? { ...last, error: failure } : { path, error: failure }));
        if (failure.status === 0 || failure.status >= 500) retry = setTimeout(reload, retryMs);
      },
    );
    return () => {
      clearTimeout(retry);
      gone.abort();
    };
  }, [path, turn, reload]);
  useEvents((event) => {
    if (!after.includes(event.kind)) return;
    clearTimeout(timer.current);
    timer.current = setTimeout(reload, settleMs);
  });
  const isCurrent = state.path === path;
  return { data: isCurrent ? state.data : undefined, error: isCurrent ? state.error : undefined, reload };
}

/** The present, once a second: relative times stay true while nothing else changes. */
export function useNow(everyMs = 1_000): number {
  const [nowMs, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return nowMs;
}
