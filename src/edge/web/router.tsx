/** Paths of the page: each can be pasted into an incident channel and shows the same thing. */
import type { AnchorHTMLAttributes, ComponentChildren, JSX } from 'preact';
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

export function Link({
  href,
  children,
  ...rest
}: { readonly href: string; readonly children: ComponentChildren } & Omit<AnchorHTMLAttributes<HTMLAnchorElement>, 'href'>): JSX.Element {
  return (
    <a
      {...rest}
      href={href}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        go(href);
      }}
    >
      {children}
    </a>
  );
}
