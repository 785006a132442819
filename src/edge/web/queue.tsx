/** What waits for people: one line a proposal, however many rows. Everything by keyboard, nothing moves by itself. */
import type { JSX } from 'preact';
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { ProposalLine } from '../api/routes/nouns.ts';
import { CallError, type Listing, mayApprove, type Me, read } from './api.ts';
import { ApproveDialog, RejectDialog } from './decide.tsx';
import { NothingWaits } from './empty.tsx';
import { useEvents, useNow } from './live.ts';
import { Dialog, Problem, useIsNarrow, useKeys, VirtualList, Waiting } from './parts.tsx';
import { go, Link, usePath, withQuery } from './router.tsx';
import { count, number, span } from './words.ts';

/** Pages of the list that are read at most: a queue longer than this is worked from its filters. */
const maxPages = 250;
const pageLimit = 1_000;
const states = [
  { id: 'waiting', title: 'Waiting' },
  { id: 'planned', title: 'Being applied' },
  { id: 'done', title: 'Done' },
  { id: 'rejected', title: 'Rejected' },
  { id: 'stale', title: 'Stale' },
  { id: 'denied', title: 'Denied' },
] as const;

interface Loaded {
  readonly state: string;
  readonly items: readonly ProposalLine[];
  readonly isWhole: boolean;
  readonly error?: CallError;
}

export function QueuePage({ me }: { readonly me: Me }): JSX.Element {
  const { query } = usePath();
  const state = query.get('state') ?? 'waiting';
  const { loaded, fresh, gone, takeFresh } = useQueue(state);
  const nowMs = useNow();
  const isNarrow = useIsNarrow();
  const search = useRef<HTMLInputElement>(null);
  const [at, setAt] = useState(0);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [dialog, setDialog] = useState<'approve' | 'reject' | 'help' | null>(null);

  const words = query.get('q') ?? '';
  const filters = { domain: query.get('domain') ?? '', strategy: query.get('strategy') ?? '', replica: query.get('collection') ?? '' };
  const shown = useMemo(() => {
    const needle = words.toLowerCase();
    return (loaded?.items ?? [])
      .filter(
        (item) =>
          (filters.domain === '' || item.domain === filters.domain) &&
          (filters.replica === '' || item.collection === filters.replica) &&
          (filters.strategy === '' || item.strategy === filters.strategy),
      )
      .filter((item) => needle === '' || textOf(item).includes(needle));
  }, [loaded, words, filters.domain, filters.replica, filters.strategy]);
  const current = shown[Math.min(at, shown.length - 1)];
  const chosen = picked.size > 0 ? shown.filter((item) => picked.has(item.id)) : current === undefined ? [] : [current];
  const decidable = chosen.filter((item) => item.state === 'waiting' && mayApprove(me, item.domain) && !gone.has(item.id));

  const set = (change: Readonly<Record<string, string>>): void => {
    history.replaceState(null, '', withQuery('/queue', query, change));
    dispatchEvent(new PopStateEvent('popstate'));
    setAt(0);
    setPicked(new Set());
  };
  const selectClass = (): void => {
    if (current === undefined) return;
    const same = shown.filter(
      (item) => item.domain === current.domain && item.collection === current.collection && item.strategy === current.strategy,
    );
    setPicked((last) => (last.size > 0 && last.has(current.id) ? new Set() : new Set(same.map((item) => item.id))));
  };
  useKeys({
    j: () => setAt((last) => Math.min(shown.length - 1, last + 1)),
    k: () => setAt((last) => Math.max(0, last - 1)),
    ArrowDown: () => setAt((last) => Math.min(shown.length - 1, last + 1)),
    ArrowUp: () => setAt((last) => Math.max(0, last - 1)),
    Enter: () => current !== undefined && go(`/proposals/${current.id}`),
    a: () => decidable.length > 0 && setDialog('approve'),
    r: () => decidable.length > 0 && setDialog('reject'),
    e: () => current !== undefined && go(`/proposals/${current.id}?edit=1`),
    x: selectClass,
    Escape: () => setPicked(new Set()),
    '/': () => search.current?.focus(),
    '?': () => setDialog('help'),
  });

  const domains = useMemo(() => [...new Set((loaded?.items ?? []).map((item) => item.domain))].toSorted(), [loaded]);
  const collections = useMemo(() => [...new Set((loaded?.items ?? []).map((item) => item.collection))].toSorted(), [loaded]);
  const strategies = useMemo(() => [...new Set((loaded?.items ?? []).map((item) => item.strategy))].toSorted(), [loaded]);
  const mine = shown.filter((item) => mayApprove(me, item.domain) && item.author !== me.name).length;

  return (
    <div class="queue">
      <div class="toolbar">
        <nav class="tabs" aria-label="State">
          {states.map(({ id, title }) => (
            <Link
              key={id}
              href={withQuery('/queue', query, { state: id === 'waiting' ? '' : id })}
              {...(state === id ? { 'aria-current': 'page' as const } : {})}
            >
              {title}
            </Link>
          ))}
        </nav>
        <div class="filters">
          <Choice label="Domain" value={filters.domain} options={domains} onChange={(value) => set({ domain: value })} />
          <Choice label="Collection" value={filters.replica} options={collections} onChange={(value) => set({ collection: value })} />
          <Choice label="Strategy" value={filters.strategy} options={strategies} onChange={(value) => set({ strategy: value })} />
          <input
            ref={search}
            type="search"
            placeholder="Search  /"
            aria-label="Search"
            value={words}
            onInput={(event) => set({ q: event.currentTarget.value })}
            onKeyDown={(event) => (event.key === 'Escape' || event.key === 'Enter') && event.currentTarget.blur()}
          />
        </div>
      </div>
      {loaded === undefined ? <Waiting what="the queue" /> : null}
      {loaded?.error === undefined ? null : <Problem error={loaded.error} />}
      {loaded === undefined || loaded.error !== undefined ? null : (
        <p class="queue-sum" aria-live="polite">
          <strong>{number(shown.length)}</strong>{' '}
          {state === 'waiting' ? 'waiting' : (states.find(({ id }) => id === state)?.title.toLowerCase() ?? state)}
          {state === 'waiting' && shown.length > 0
            ? ` · ${mine === shown.length ? 'you may decide all of them' : `you may decide ${number(mine)}`}`
            : ''}
          {loaded.isWhole ? '' : ' · reading more…'}
          {picked.size > 0 ? ` · ${number(picked.size)} selected` : ''}
          {fresh > 0 ? (
            <button type="button" class="fresh" onClick={takeFresh}>
              {fresh} new: show
            </button>
          ) : null}
        </p>
      )}
      {loaded !== undefined && loaded.isWhole && loaded.items.length === 0 ? <NothingWaits state={state} /> : null}
      {loaded !== undefined && loaded.items.length > 0 && shown.length === 0 ? (
        <p class="empty-line">
          Nothing matches.{' '}
          <button type="button" class="link" onClick={() => set({ q: '', domain: '', collection: '', strategy: '' })}>
            Show all {number(loaded.items.length)}
          </button>
        </p>
      ) : null}
      {shown.length === 0 ? null : (
        <VirtualList items={shown} rowHeight={isNarrow ? 104 : 78} label="Proposals" reveal={at}>
          {(item, index, style) => (
            <QueueRow
              key={item.id}
              item={item}
              style={style}
              nowMs={nowMs}
              me={me}
              isCurrent={index === at}
              isPicked={picked.has(item.id)}
              isGone={gone.has(item.id)}
              onFocus={() => setAt(index)}
              total={shown.length}
              index={index}
            />
          )}
        </VirtualList>
      )}
      <footer class="keys" aria-label="Keyboard">
        <span>
          <kbd>J</kbd> <kbd>K</kbd> move
        </span>
        <span>
          <kbd>⏎</kbd> open
        </span>
        <button type="button" disabled={decidable.length === 0} onClick={() => setDialog('approve')}>
          <kbd>A</kbd> approve
        </button>
        <button type="button" disabled={decidable.length === 0} onClick={() => setDialog('reject')}>
          <kbd>R</kbd> reject
        </button>
        <button type="button" disabled={current === undefined} onClick={selectClass}>
          <kbd>X</kbd> select class
        </button>
        <span>
          <kbd>E</kbd> edit
        </span>
        <button type="button" onClick={() => setDialog('help')}>
          <kbd>?</kbd> keys
        </button>
      </footer>
      {dialog === 'approve' && decidable.length > 0 ? (
        <ApproveDialog
          proposals={decidable}
          me={me}
          onClose={() => setDialog(null)}
          onDone={() => {
            setDialog(null);
            setPicked(new Set());
          }}
        />
      ) : null}
      {dialog === 'reject' && decidable.length > 0 ? (
        <RejectDialog
          proposals={decidable}
          onClose={() => setDialog(null)}
          onDone={() => {
            setDialog(null);
            setPicked(new Set());
          }}
        />
      ) : null}
      {dialog === 'help' ? <KeyHelp onClose={() => setDialog(null)} /> : null}
    </div>
  );
}

function QueueRow({
  item,
  style,
  nowMs,
  me,
  isCurrent,
  isPicked,
  isGone,
  onFocus,
  index,
  total,
}: {
  readonly item: ProposalLine;
  readonly style: Readonly<Record<string, string | number>>;
  readonly nowMs: number;
  readonly me: Me;
  readonly isCurrent: boolean;
  readonly isPicked: boolean;
  readonly isGone: boolean;
  readonly onFocus: () => void;
  readonly index: number;
  readonly total: number;
}): JSX.Element {
  const leftMs = item.expiresAtMs - nowMs;
  const isMine = mayApprove(me, item.domain) && item.author !== me.name;
  return (
    <div
      role="listitem"
      aria-posinset={index + 1}
      aria-setsize={total}
      style={style}
      class={`queue-line${isCurrent ? ' is-current' : ''}${isPicked ? ' is-picked' : ''}${isGone ? ' is-gone' : ''}`}
    >
      <a
        class="queue-row"
        href={`/proposals/${item.id}`}
        aria-current={isCurrent ? 'true' : undefined}
        onFocus={onFocus}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey) return;
          event.preventDefault();
          go(`/proposals/${item.id}`);
        }}
      >
        <span class={`queue-mark ${item.approvalsNeeded > 1 ? 'mark-high' : ''}`} aria-hidden="true" />
        <span class="queue-domain">{item.domain}</span>
        <span class="queue-says">{item.says}</span>
        <span class="queue-under">
          {item.collection} · {item.strategy} ·{' '}
          {item.chosenBy === 'heuristic' ? 'by heuristic' : item.chosenBy === 'llm' ? 'chosen by the model' : `edited by ${item.chosenBy}`}{' '}
          · confidence {item.confidence.toFixed(2)} · {item.id}
        </span>
        <span class="queue-rows num">{count(item.rows, 'row')}</span>
        <span class="queue-needs">
          {isGone
            ? 'no longer waiting'
            : item.state !== 'waiting'
              ? (item.decidedReason ?? item.state)
              : item.approvalsNeeded > 1
                ? `needs ${item.approvalsNeeded} people`
                : isMine
                  ? 'you may approve'
                  : 'needs an approver'}
        </span>
        <span class="queue-left num" title={new Date(item.expiresAtMs).toLocaleString()}>
          {item.state === 'waiting' && !isGone ? (leftMs > 0 ? `${span(leftMs)} left` : 'expiring') : ''}
        </span>
      </a>
    </div>
  );
}

function Choice({
  label,
  value,
  options,
  onChange,
}: {
  readonly label: string;
  readonly value: string;
  readonly options: readonly string[];
  readonly onChange: (value: string) => void;
}): JSX.Element {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      <option value="">{label}: all</option>
      {options.map((option) => (
        <option key={option} value={option}>
          {option}
        </option>
      ))}
    </select>
  );
}

function KeyHelp({ onClose }: { readonly onClose: () => void }): JSX.Element {
  const keys: readonly (readonly [string, string])[] = [
    ['J K', 'next, previous'],
    ['⏎', 'open'],
    ['A', 'approve, after you have seen what'],
    ['R', 'reject, with a reason'],
    ['X', 'select all of the same collection and strategy'],
    ['E', 'edit the rows'],
    ['S', 'snooze (in a case)'],
    ['/', 'search'],
    ['Esc', 'close, or drop the selection'],
  ];
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="key-help">
        {keys.map(([key, says]) => (
          <div key={key}>
            <dt>
              {key.split(' ').map((one) => (
                <kbd key={one}>{one}</kbd>
              ))}
            </dt>
            <dd>{says}</dd>
          </div>
        ))}
      </dl>
      <div class="dialog-actions">
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

/** What search looks at; made once a line, since each key typed looks at all of them. */
const texts = new WeakMap<ProposalLine, string>();

function textOf(item: ProposalLine): string {
  const known = texts.get(item);
  if (known !== undefined) return known;
  const text = `${item.says} ${item.id} ${item.caseId} ${item.collection} ${item.digest}`.toLowerCase();
  texts.set(item, text);
  return text;
}

/**
 * The list as it was when it was asked for. What comes later is counted and shown on request; what was decided elsewhere stays in
 * its place, greyed.
 */
function useQueue(state: string): {
  readonly loaded: Loaded | undefined;
  readonly fresh: number;
  readonly gone: ReadonlySet<string>;
  readonly takeFresh: () => void;
} {
  const [loaded, setLoaded] = useState<Loaded | undefined>();
  const [turn, setTurn] = useState(0);
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  const [gone, setGone] = useState<ReadonlySet<string>>(new Set());
  const known = useRef(new Set<string>());
  useEffect(() => {
    const stop = new AbortController();
    const readAll = async (): Promise<void> => {
      let items: readonly ProposalLine[] = [];
      let cursor: string | null = '';
      for (let page = 0; cursor !== null && page < maxPages; page += 1) {
        const search: URLSearchParams = new URLSearchParams({
          view: 'line',
          state,
          limit: String(page === 0 ? 200 : pageLimit),
          ...(state === 'waiting' ? { awake: 'true' } : {}),
          ...(cursor === '' ? {} : { cursor }),
        });
        const found: Listing<ProposalLine> = await read(`/api/v1/proposals?${search.toString()}`, stop.signal);
        items = [...items, ...found.items];
        cursor = found.nextCursor;
        const isWhole = cursor === null || page === maxPages - 1;
        // Rows that one may see already stay where they are: later pages are older and go below.
        const ordered = isWhole && page === 0 ? inOrder(items, state) : items;
        if (page === 0) known.current = new Set();
        for (const item of found.items) known.current.add(item.id);
        setLoaded({ state, items: ordered, isWhole });
      }
    };
    setFresh(new Set());
    setGone(new Set());
    readAll().catch((error: unknown) => {
      if (!stop.signal.aborted)
        setLoaded({
          state,
          items: [],
          isWhole: true,
          error: error instanceof CallError ? error : new CallError(0, String(error), undefined),
        });
    });
    return () => stop.abort();
  }, [state, turn]);
  useEvents((event) => {
    if (event.kind !== 'proposal') return;
    const isHere = known.current.has(event.id);
    if (event.state === state && !isHere) setFresh((last) => new Set(last).add(event.id));
    if (event.state !== undefined && event.state !== state) {
      if (isHere) setGone((last) => new Set(last).add(event.id));
      setFresh((last) => new Set([...last].filter((id) => id !== event.id)));
    }
  });
  const takeFresh = useCallback(() => setTurn((last) => last + 1), []);
  return { loaded: loaded?.state === state ? loaded : undefined, fresh: fresh.size, gone, takeFresh };
}

/** Least time left first where people are waited for; otherwise newest first, as the list comes. */
function inOrder(items: readonly ProposalLine[], state: string): readonly ProposalLine[] {
  return state === 'waiting' ? items.toSorted((a, b) => a.expiresAtMs - b.expiresAtMs) : items;
}
