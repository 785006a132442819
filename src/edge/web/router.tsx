/** Paths of the page: each can be pasted into an incident channel and shows the same thing. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

export function go(path: string): void {
  history.pushState(null, '', path);
  dispatchEvent(new PopStateEvent('popstate'));
}

export function usePath(): { readonly path: string; readonly query: URLSearchParams } {
  const [place, setPlace] = useState(location.pathname + location.search);
  useEffect(() => {
    const moved = (): void => setPlace(location.pathname + location.search);
    addEventListener('popstate', moved);
    return () => removeEventListener('popstate', moved);
  }, []);
  const [path = '/', search = ''] = place.split('?');
  return { path, query: new URLSearchParams(search) };
}

/** The same path with some of its query changed; an empty value takes a parameter away. */
export function withQuery(path: string, query: URLSearchParams, change: Readonly<Record<string, string>>): string {
  const next = new URLSearchParams(query);
  for (const [key, value] of Object.entries(change)) {
    if (value === '') next.delete(key);
    else next.set(key, value);
  }
  return next.size === 0 ? path : `${path}?${next.toString()}`;
}

interface LinkProps {
  readonly href: string;
  readonly children: ComponentChildren;
  readonly class?: string;
  readonly title?: string;
  readonly 'aria-current'?: 'page' | 'true' | 'false';
  readonly 'aria-label'?: string;
  readonly style?: Readonly<Record<string, string | number>>;
}

export function Link(props: LinkProps): JSX.Element {
  return (
    <a
      {...props}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        go(props.href);
      }}
    >
      {props.children}
    </a>
  );
}
