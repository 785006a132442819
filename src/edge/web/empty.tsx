/** Empty states teach: what to copy so that the page fills. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Listing } from './api.ts';
import { type Compared, comparedWords } from './compared-words.ts';
import { type Listening, listening, parseMetrics } from './figures.ts';
import { useResource } from './live.ts';
import { Waiting } from './parts.tsx';

/** OTLP over HTTP, where nothing else was asked for. */
const usualPort = 4318;

export function Copy({ text }: { readonly text: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  return (
    <div class="copy">
      <pre>{text}</pre>
      <button
        type="button"
        onClick={() => {
          void navigator.clipboard.writeText(text).then(() => setCopied(true));
        }}
      >
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}

export function Empty({ title, children }: { readonly title: string; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function NothingWaits({ state }: { readonly state: string }): JSX.Element {
  if (state !== 'waiting') {
    return (
      <Empty title="Nothing here yet">
        <p>Proposals come here once they are {state === 'planned' ? 'approved' : state}.</p>
      </Empty>
    );
  }
  return <NothingWaitsNow />;
}

function NothingWaitsNow(): JSX.Element {
  const { data, error } = useResource<Listing<Compared>>('/api/v1/collections', ['scan', 'divergence']);
  return (
    <Empty title="Nothing waits for you">
      <p>
        {data === undefined ? (error === undefined ? '' : 'What the replicas hold is not known now. ') : `${comparedWords(data.items)} `}A
        proposal comes here when a rule wants a person to look first.
      </p>
      <p>To see it work on real databases, run the demo estate beside this service:</p>
      <Copy text="npm run demo" />
      <p>To watch your own, point exporters here and name two replicas:</p>
      <ExporterVariables />
      <FirstReplica />
    </Empty>
  );
}

/** What a service is started with: the port that is really listened on, and what the config asks for. */
export function ExporterVariables(): JSX.Element {
  const [found, setListening] = useState<Listening>();
  useEffect(() => {
    let isOver = false;
    const load = async (): Promise<void> => {
      const response = await fetch('/metrics');
      if (!response.ok) throw new Error(`metrics: ${response.status}`);
      const read = listening(parseMetrics(await response.text()));
      if (!isOver) setListening(read);
    };
    // Without metrics the usual port is the best guess.
    load().catch(() => isOver || setListening({ isTls: false, asksToken: false }));
    return () => {
      isOver = true;
    };
  }, []);
  // What somebody copies must not change a moment later: nothing is shown before it is known.
  if (found === undefined) return <Waiting what="which port listens" />;
  const { port = usualPort, isTls, asksToken } = found;
  const lines = [
    `export OTEL_EXPORTER_OTLP_ENDPOINT=${isTls ? 'https' : 'http'}://${location.hostname}:${port}`,
    'export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf',
    'export OTEL_TRACES_EXPORTER=otlp',
    ...(isTls ? ['export OTEL_EXPORTER_OTLP_CERTIFICATE=ca.pem'] : []),
    ...(asksToken ? ['export OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20$INGEST_TOKEN"'] : []),
  ];
  return <Copy text={lines.join('\n')} />;
}

export function FirstReplica(): JSX.Element {
  return (
    <Copy
      text={`# homeostat.yaml
domains:
  profiles: { consistency: eventual, stalenessMs: 30000, repair: { mode: auto } }
collections:
  profiles:
    domain: profiles
    key: [id]
    authority: eu
    replicas:
      eu: { url: "postgres://user:\${EU_PASSWORD}@eu-host/shop", table: public.profiles, role: leader }
      us: { url: "postgres://user:\${US_PASSWORD}@us-host/shop", table: public.profiles }`}
    />
  );
}
