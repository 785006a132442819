/** Small parts that several pages are made of. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { CallError } from './api.ts';
import { Link } from './router.tsx';
import { absolute, ago } from './words.ts';

export function Ago({ ms, nowMs }: { readonly ms: number; readonly nowMs: number }): JSX.Element {
  return (
    <time dateTime={new Date(ms).toISOString()} title={absolute(ms)}>
      {ago(ms, nowMs)}
    </time>
  );
}

/** A sentence in which names of tables, statements and the like stand between backticks. */
export function Said({ text }: { readonly text: string }): JSX.Element {
  return <>{text.split('`').map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}</>;
}

export type Tone = 'neutral' | 'wrong' | 'waiting' | 'verified' | 'accent';

export function Tag({
  tone = 'neutral',
  title,
  children,
}: {
  readonly tone?: Tone;
  readonly title?: string;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <span class={`tag tag-${tone}`} title={title}>
      {children}
    </span>
  );
}

/** Says what is waited for, once it has taken long enough to be noticed. */
export function Waiting({ what, error }: { readonly what: string; readonly error?: CallError | undefined }): JSX.Element {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 200);
    return () => clearTimeout(timer);
  }, []);
  if (error !== undefined)
    return (
      <div class="page-problem">
        <Problem error={error} />
        <Link href="/">Overview</Link>
      </div>
    );
  return (
    <p class="waiting-for" role="status">
      {isLate ? `Reading ${what}…` : ''}
    </p>
  );
}

export function Problem({ error }: { readonly error: { readonly message: string; readonly rule?: string | undefined } }): JSX.Element {
  return (
    <p class="problem" role="alert">
      {error.message}
      {error.rule === undefined ? '' : ` Rule: ${error.rule}.`}
    </p>
  );
}

export function Panel({
  title,
  aside,
  children,
  class: name = '',
}: {
  readonly title: ComponentChildren;
  readonly aside?: ComponentChildren;
  readonly children: ComponentChildren;
  readonly class?: string;
}): JSX.Element {
  return (
    <section class={`panel ${name}`}>
      <header class="panel-head">
        <h2>{title}</h2>
        {aside === undefined ? null : <div class="panel-aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

/** Modal dialog with the browser's own focus trap, Escape and top layer. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    if (dialog !== null && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === element.current) onClose();
      }}
    >
      <div class="dialog-body">
        <h2>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/**
 * A list of any length in a box that scrolls: only the rows in view exist. Rows have one height, so the position of each is known
 * and nothing moves while it scrolls.
 */
export function VirtualList<T>({
  items,
  rowHeight,
  children,
  label,
  reveal,
}: {
  readonly items: readonly T[];
  readonly rowHeight: number;
  readonly children: (item: T, index: number, style: Readonly<Record<string, string | number>>) => JSX.Element;
  readonly label: string;
  /** Index that is kept in view when it changes. */
  readonly reveal?: number;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 800 });
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const measure = (): void => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener('scroll', measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', measure);
    };
  }, []);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null || reveal === undefined || reveal < 0) return;
    const top = reveal * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight) element.scrollTop = top + rowHeight - element.clientHeight;
  }, [reveal, rowHeight]);
  const overscan = 6;
  const first = Math.max(0, Math.floor(view.top / rowHeight) - overscan);
  const last = Math.min(items.length, Math.ceil((view.top + view.height) / rowHeight) + overscan);
  return (
    <div class="virtual" style={{ flexBasis: `${items.length * rowHeight + 2}px` }} ref={box} role="list" aria-label={label} tabIndex={-1}>
      <div style={{ height: `${items.length * rowHeight}px`, position: 'relative' }} role="presentation">
        {items.slice(first, last).map((item, offset) =>
          children(item, first + offset, {
            position: 'absolute',
            top: `${(first + offset) * rowHeight}px`,
            height: `${rowHeight}px`,
            left: 0,
            right: 0,
          }),
        )}
      </div>
    </div>
  );
}

export function useIsNarrow(): boolean {
  const query = '(max-width: 720px)';
  const [isNarrow, setNarrow] = useState(matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = (): void => setNarrow(media.matches);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, []);
  return isNarrow;
}

/** Keys for the whole page, silent while someone types or a dialog is open. */
export function useKeys(keys: Readonly<Record<string, () => void>>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement | null;
      if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector('dialog[open]') !== null) return;
      if (target !== null && /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
      if (
        event.key === 'Enter' &&
        target !== null &&
        /^(A|BUTTON|SUMMARY)$/.test(target.tagName) &&
        !target.classList.contains('queue-row')
      )
        return;
      const act = latest.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (act === undefined) return;
      event.preventDefault();
      act();
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, []);
}
