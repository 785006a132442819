import { render } from 'preact';
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { AnomaliesPage, AnomalyPage } from './anomalies.tsx';
import { CallError, type Me, read, send } from './api.ts';
import { AuditPage } from './audit.tsx';
import { CasePage } from './case.tsx';
import { DebtPage } from './debt.tsx';
import { ForecastsPage } from './forecasts.tsx';
import { IngestPage } from './ingest.tsx';
import { connect, useConnection, useResource } from './live.ts';
import { LoginPage } from './login.tsx';
import { OverviewPage, type OverviewData } from './overview.tsx';
import { Empty } from './empty.tsx';
import { PoliciesPage } from './policies.tsx';
import { ProposalPage } from './proposal.tsx';
import { QueuePage } from './queue.tsx';
import { Link, usePath } from './router.tsx';

const pages = [
  { path: '/', title: 'Overview' },
  { path: '/queue', title: 'Queue' },
  { path: '/anomalies', title: 'Anomalies' },
  { path: '/forecasts', title: 'Forecasts' },
  { path: '/debt', title: 'Debt' },
  { path: '/policies', title: 'Policies' },
  { path: '/ingest', title: 'Ingest' },
  { path: '/audit', title: 'Audit' },
] as const;

function App(): JSX.Element {
  const [me, setMe] = useState<Me | null | undefined>(undefined);
  const [error, setError] = useState<CallError | null>(null);
  const identify = (): void => {
    read<Me>('/api/v1/me').then(
      (caller) => {
        connect();
        setMe(caller);
      },
      (failure: unknown) => (failure instanceof CallError && failure.status === 401 ? setMe(null) : setError(failure as CallError)),
    );
  };
  useEffect(identify, []);
  if (error !== null)
    return (
      <main class="page">
        <p class="problem" role="alert">
          {error.message}
        </p>
      </main>
    );
  if (me === undefined) return <main class="page" />;
  if (me === null) return <LoginPage onDone={identify} />;
  return <Shell me={me} onLogout={() => void send('/api/v1/logout', {}).then(() => setMe(null))} />;
}

function Shell({ me, onLogout }: { readonly me: Me; readonly onLogout: () => void }): JSX.Element {
  const { path } = usePath();
  const { data: overview } = useResource<OverviewData>('/api/v1/overview', ['proposal', 'repair', 'scan', 'domain', 'divergence']);
  const isConnected = useConnection();
  const waiting = overview?.proposals.filter((count) => count.state === 'waiting').reduce((sum, count) => sum + count.count, 0);
  const section = `/${path.split('/')[1] ?? ''}`.replace('/proposals', '/queue').replace('/cases', '/queue');
  const title = pages.find((page) => page.path === section)?.title ?? 'Homeostat';
  const isFirst = useRef(true);
  useEffect(() => {
    // Keys act on the page that was just opened, not on the link that led to it; readers hear the new page.
    if (!isFirst.current) document.getElementById('main')?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [path]);
  useEffect(() => {
    document.title = `${waiting === undefined || waiting === 0 ? '' : `(${waiting}) `}${title} · Homeostat`;
  }, [title, waiting]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="top">
        <Link href="/" class="brand" aria-label="Homeostat, overview">
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
            <circle cx="10" cy="10" r="8" fill="none" stroke="currentColor" stroke-width="2" />
            <path d="M4 10h3l1.6-3.4 2.8 6.8L13 10h3" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" />
          </svg>
          <span>Homeostat</span>
        </Link>
        <nav class="nav" aria-label="Pages">
          {pages.map((page) => (
            <Link key={page.path} href={page.path} {...(page.path === section ? { 'aria-current': 'page' as const } : {})}>
              {page.title}
              {page.path === '/queue' && waiting !== undefined && waiting > 0 ? <span class="badge">{waiting}</span> : null}
            </Link>
          ))}
        </nav>
        <div class="top-right">
          <Regions overview={overview} />
          <ThemeButton />
          <details class="me">
            <summary>{me.name}</summary>
            <div class="menu">
              <p class="muted">
                {me.role}
                {me.domains === undefined ? ', all domains' : `, ${me.domains.join(', ')}`}
              </p>
              <button type="button" onClick={onLogout}>
                Sign out
              </button>
            </div>
          </details>
        </div>
      </header>
      {isConnected ? null : (
        <p class="offline" role="status">
          No live updates: the service does not answer. What you see may be old; it reconnects by itself.
        </p>
      )}
      <main class="page" id="main" tabIndex={-1}>
        <Route me={me} overview={overview} />
      </main>
    </>
  );
}

function Route({ me, overview }: { readonly me: Me; readonly overview: OverviewData | undefined }): JSX.Element {
  const { path, query } = usePath();
  const [, section = '', rawId] = path.split('/');
  const id = rawId === undefined || rawId === '' ? undefined : decodeURIComponent(rawId);
  switch (section) {
    case '':
      return <OverviewPage overview={overview} me={me} />;
    case 'queue':
      return <QueuePage me={me} />;
    case 'proposals':
      return id === undefined ? <QueuePage me={me} /> : <ProposalPage key={id} id={id} me={me} isEditing={query.get('edit') === '1'} />;
    case 'cases':
      return <CasePage key={id ?? ''} id={id ?? ''} />;
    case 'anomalies':
      return id === undefined ? <AnomaliesPage /> : <AnomalyPage key={id} fingerprint={id} />;
    case 'forecasts':
      return <ForecastsPage me={me} />;
    case 'debt':
      return <DebtPage />;
    case 'policies':
      return <PoliciesPage overview={overview} me={me} />;
    case 'ingest':
      return <IngestPage />;
    case 'audit':
      return <AuditPage />;
    default:
      return (
        <Empty title="There is no such page">
          <p>
            <Link href="/">To the overview</Link>
          </p>
        </Empty>
      );
  }
}

/** One dot a region: whether its replicas answer. */
function Regions({ overview }: { readonly overview: OverviewData | undefined }): JSX.Element | null {
  if (overview === undefined) return null;
  const replicas = overview.collections.flatMap((collection) => collection.replicas);
  const regions = [...new Set(replicas.map((replica) => replica.region))].toSorted();
  return (
    <Link href="/" class="regions" aria-label="Replicas by region">
      {regions.map((region) => {
        const here = replicas.filter((replica) => replica.region === region && replica.state !== null);
        const down = here.filter((replica) => replica.state?.isUp === false).length;
        const state = here.length === 0 ? 'unknown' : down === 0 ? 'up' : 'down';
        return (
          <span
            key={region}
            class={`region region-${state}`}
            title={here.length === 0 ? `${region}: not asked yet` : `${region}: ${here.length - down} of ${here.length} replicas answer`}
          >
            {region}
          </span>
        );
      })}
    </Link>
  );
}

function ThemeButton(): JSX.Element {
  const [theme, setTheme] = useState(localStorage.getItem('theme') ?? '');
  useEffect(() => {
    if (theme === '') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    localStorage.setItem('theme', theme);
  }, [theme]);
  const isDark = theme === 'dark' || (theme === '' && matchMedia('(prefers-color-scheme: dark)').matches);
  return (
    <button
      type="button"
      class="icon"
      aria-label={isDark ? 'Light colours' : 'Dark colours'}
      title={isDark ? 'Light colours' : 'Dark colours'}
      onClick={() => setTheme(isDark ? 'light' : 'dark')}
    >
      {isDark ? '☀' : '☾'}
    </button>
  );
}

const root = document.getElementById('app');
if (root !== null) render(<App />, root);
